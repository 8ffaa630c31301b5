"""What the hostile job tries: as one app's and one user's execution, all that is not theirs.

What a real attacker would have to guess (ids, keys, the role, the ports) it is simply told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ringfence.demo.attempt import Attempt, Group, Kind, Target, place
from ringfence.demo.cast import ABOUT, ADA, GRACE, WEATHER, WEATHER2, report_key
from ringfence.layout import LAYOUT_KEY, encode_id, run_record_key
from ringfence.scope import Area

TRACE = "from-the-hostile-job"
EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


def plan(target: Target) -> tuple[Attempt, ...]:
    """Every attempt, in order. The positive controls come first, and once more at the end."""
    return (
        *_own_place(target),
        *_neighbour_app(target),
        *_neighbour_user(target),
        *_logs(target),
        *_meta(target),
        *_whole_buckets(target),
        *_more_rights(target),
        *_other_doors(target),
        *_processes(target),
        *_hidden(target),
        *_still_working(target),
    )


def _own_place(target: Target) -> Iterator[Attempt]:
    group = Group("Its own place (the control: this must work)", Kind.OWN)
    app, user = place(target, Area.APP), place(target, Area.USER)
    tmp, logs = place(target, Area.TMP), place(target, Area.LOGS)
    yield group.s3("read its app's data", "GetObject", **app.at(WEATHER.source))
    yield group.s3("list its app", "ListObjectsV2", **app.listing())
    yield group.s3("store for its user", "PutObject", **user.at(TRACE), Body="mine")
    yield group.s3("copy within it", "CopyObject", **tmp.at(TRACE), CopySource=user.at(TRACE))
    yield group.s3("look at the copy", "HeadObject", **tmp.at(TRACE))
    yield group.s3("delete the copy", "DeleteObject", **tmp.at(TRACE))
    yield group.s3("write to its own log", "PutObject", **logs.at(TRACE), Body="mine")


def _neighbour_app(target: Target) -> Iterator[Attempt]:
    group = Group(f"The neighbour app, {WEATHER2.id}")
    mine = place(target, Area.USER)
    there = place(target, Area.APP, app=WEATHER2.id)
    data = there.at(WEATHER2.source)
    yield group.s3(f"read {WEATHER2.source}", "GetObject", **data)
    yield group.s3("look at its size", "HeadObject", **data)
    yield group.s3("overwrite it", "PutObject", **data, Body="gone")
    yield group.s3("delete it", "DeleteObject", **data)
    yield group.s3("copy it to its own place", "CopyObject", **mine.at(TRACE), CopySource=data)
    yield group.s3("copy its own over it", "CopyObject", **data, CopySource=mine.at(TRACE))
    yield group.s3("upload to it in parts", "CreateMultipartUpload", **data)
    yield group.s3("list it", "ListObjectsV2", **there.listing())
    alike = {"Bucket": there.bucket, "Prefix": place(target, Area.APP).prefix.removesuffix("/")}
    yield group.s3("list all that starts alike", "ListObjectsV2", **alike)


def _neighbour_user(target: Target) -> Iterator[Attempt]:
    group = Group(f"The neighbour user, {GRACE.id}")
    hers = place(target, Area.USER, user=GRACE.id)
    report = hers.at(report_key(GRACE))
    elsewhere = place(target, Area.USER, app=WEATHER2.id).at(report_key(ADA))
    yield group.s3("read her report", "GetObject", **report)
    yield group.s3("overwrite it", "PutObject", **report, Body="gone")
    yield group.s3("delete it", "DeleteObject", **report)
    yield group.s3("list her place", "ListObjectsV2", **hers.listing())
    scratch = place(target, Area.TMP, user=GRACE.id)
    yield group.s3("list her scratch space", "ListObjectsV2", **scratch.listing())
    yield group.s3("the same user's, in the other app", "GetObject", **elsewhere)


def _logs(target: Target) -> Iterator[Attempt]:
    group = Group("Logs: a run may write its own, and nothing else")
    own = place(target, Area.LOGS)
    app_logs = own.prefix.removesuffix(f"{encode_id(target.run_id, target.id_case)}/")
    run = encode_id(target.neighbour_run, target.id_case)
    theirs = {"Bucket": own.bucket, "Key": target.neighbour_log}
    forged = {"Bucket": own.bucket, "Key": f"{app_logs}{run}/{TRACE}"}
    yield group.s3("read a neighbour run's log", "GetObject", **theirs)
    yield group.s3("overwrite it", "PutObject", **theirs, Body="gone")
    yield group.s3("delete it", "DeleteObject", **theirs)
    yield group.s3("write into a neighbour run's log", "PutObject", **forged, Body="forged")
    yield group.s3(
        "list a neighbour run's log", "ListObjectsV2", Bucket=own.bucket, Prefix=f"{app_logs}{run}/"
    )
    yield group.s3("list its own log", "ListObjectsV2", **own.listing())
    yield group.s3("read its own log", "GetObject", **own.at(TRACE))
    yield group.s3("delete from its own log", "DeleteObject", **own.at(TRACE))


def _meta(target: Target) -> Iterator[Attempt]:
    group = Group("The meta bucket")
    bucket = target.buckets.meta
    record = {
        "Bucket": bucket,
        "Key": run_record_key(encode_id(target.run_id, target.id_case)),
    }
    about = place(target, Area.META)
    yield group.s3("read its own run's record", "GetObject", **record)
    yield group.s3("overwrite it", "PutObject", **record, Body="{}")
    yield group.s3("read the layout", "GetObject", Bucket=bucket, Key=LAYOUT_KEY)
    yield group.s3("list execution/", "ListObjectsV2", Bucket=bucket, Prefix="execution/")
    yield group.s3("read its own app's metadata", "GetObject", **about.at(ABOUT))
    yield group.s3("overwrite it", "PutObject", **about.at(ABOUT), Body="{}")


def _whole_buckets(target: Target) -> Iterator[Attempt]:
    group = Group("Whole buckets")
    buckets = target.buckets
    for bucket in (buckets.content, buckets.log, buckets.meta):
        yield group.s3(f"list {bucket}", "ListObjectsV2", Bucket=bucket)
    open_to_all = json.dumps(EVERYTHING)
    content = {"Bucket": buckets.content}
    yield group.s3("open it to all by policy", "PutBucketPolicy", **content, Policy=open_to_all)
    yield group.s3("open it to all by ACL", "PutBucketAcl", **content, ACL="public-read")
    yield group.s3("delete the bucket", "DeleteBucket", **content)


def _more_rights(target: Target) -> Iterator[Attempt]:
    group = Group("More rights than it has")
    session = {"RoleSessionName": TRACE}
    yield group.sts("assume the role again", "AssumeRole", RoleArn=target.role_arn, **session)
    yield group.sts(
        "the same, allowing all",
        "AssumeRole",
        RoleArn=target.role_arn,
        Policy=json.dumps(EVERYTHING, separators=(",", ":")),
        **session,
    )
    yield group.sts("the same, naming no role", "AssumeRole", **session)
    data = place(target, Area.APP).at(WEATHER.source)
    yield group.unsigned("read without any credentials", "GetObject", **data)


def _other_doors(target: Target) -> Iterator[Attempt]:
    group = Group("The engine's other doors, without a key", Kind.PORT)
    for name, address in target.doors.items():
        yield _door(target, group, name, address)


def _door(target: Target, group: Group, name: str, address: str) -> Attempt:
    """Asks for a neighbour's object in the way in which a filer without a lock would give it."""
    data = place(target, Area.APP, app=WEATHER2.id).at(WEATHER2.source)
    path = f"/buckets/{data['Bucket']}/{data['Key']}"
    return group.other(name, "GET", "door", address=address, method="GET", path=path)


def _processes(target: Target) -> Iterator[Attempt]:
    group = Group("The processes that run it", Kind.PROCESS)
    yield group.other("its parent's environment", "read", "process", name="environ")
    runner = f"/proc/{target.runner}"
    yield group.other("the runner's environment", "read", "file", path=f"{runner}/environ")
    yield group.other("the runner's memory", "read", "file", path=f"{runner}/mem")


def _hidden(target: Target) -> Iterator[Attempt]:
    group = Group("The installation's files, on the same machine", Kind.HIDDEN)
    for what, path in target.files.items():
        yield group.other(what, "read", "file", path=str(path))
    for name, address in target.hidden_doors.items():
        yield _door(target, group, name, address)


def _still_working(target: Target) -> Iterator[Attempt]:
    group = Group("Its own place, after all that", Kind.OWN)
    user = place(target, Area.USER)
    yield group.s3("read what it stored", "GetObject", **user.at(TRACE))
    yield group.s3("delete it", "DeleteObject", **user.at(TRACE))
