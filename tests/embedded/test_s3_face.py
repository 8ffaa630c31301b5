"""The one open port: what S3, STS, IAM and S3 Tables give to a fenced session and to nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.embedded.support import (
    CONTENT,
    META,
    NEIGHBOUR,
    OWN,
    PLANTED,
    Keys,
    Reply,
    RunningEngine,
    fenced,
    plain,
    s3,
    signed,
    sts,
)

pytestmark = pytest.mark.engine

ROLE = {"RoleSessionName": "again"}
ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


def assert_denied(reply: Reply, *codes: str) -> None:
    """The engine's own refusal."""
    assert reply.status == 403, reply.body
    assert reply.code in {"AccessDenied", *codes}, reply.body


def test_the_master_is_who_the_role_trusts(engine: RunningEngine) -> None:
    reply = sts(engine, engine.master, Action="GetCallerIdentity")
    assert b"<Arn>arn:aws:iam::000000000000:user/ringfence</Arn>" in reply.body
    iam = json.loads((engine.state_dir / "conf" / "iam.json").read_text())
    (role,) = iam["roles"]
    (statement,) = role["trustPolicy"]["Statement"]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::000000000000:user/ringfence"}
    assert role["roleArn"] == engine.env["RUNTIME_ROLE_ARN"]


def test_the_master_reads_and_writes_the_three_buckets(engine: RunningEngine) -> None:
    client = s3(engine)
    for name in ("META_BUCKET", "CONTENT_BUCKET", "LOG_BUCKET"):
        bucket = engine.env[name]
        client.put_object(Bucket=bucket, Key="probe/x", Body=b"1")
        assert client.list_objects_v2(Bucket=bucket, Prefix="probe/")["KeyCount"] == 1
        upload = client.create_multipart_upload(Bucket=bucket, Key="probe/y")["UploadId"]
        client.abort_multipart_upload(Bucket=bucket, Key="probe/y", UploadId=upload)
        client.delete_object(Bucket=bucket, Key="probe/x")


def test_the_master_is_no_administrator(engine: RunningEngine) -> None:
    """Its key is in the hands of the workflow engine, which needs no more than this."""
    assert_denied(signed(engine, engine.master, "PUT", "/another-bucket"))
    assert_denied(signed(engine, engine.master, "DELETE", f"/{CONTENT}"))
    assert_denied(signed(engine, engine.master, "PUT", f"/{CONTENT}?policy", body=ALL.encode()))
    assert_denied(sts(engine, engine.master, Action="AssumeRole", RoleSessionName="self"))


def test_a_missing_bucket_is_an_error(engine: RunningEngine) -> None:
    keys = json.loads((engine.state_dir / "conf" / "keys.json").read_text())
    setup = Keys(keys["setup_id"], keys["setup_secret"])
    for key in (engine.master, setup):
        reply = signed(engine, key, "PUT", "/no-such-bucket/key", body=b"x")
        assert reply.code in {"NoSuchBucket", "AccessDenied"}
        reply = signed(engine, key, "GET", "/no-such-bucket/key")
        assert reply.code in {"NoSuchBucket", "AccessDenied"}


def test_a_bucket_with_objects_in_it_cannot_be_removed(engine: RunningEngine, planted: str) -> None:
    assert planted == NEIGHBOUR
    keys = json.loads((engine.state_dir / "conf" / "keys.json").read_text())
    setup = Keys(keys["setup_id"], keys["setup_secret"])
    reply = signed(engine, setup, "DELETE", f"/{CONTENT}")
    assert reply.code in {"BucketNotEmpty", "AccessDenied"}


@pytest.mark.parametrize("policy", [None, ALL])
@pytest.mark.parametrize("with_role", [True, False])
def test_a_session_may_not_assume_the_role_again(
    engine: RunningEngine, tenant: Keys, with_role: bool, policy: str | None
) -> None:
    form = dict(ROLE)
    if with_role:
        form["RoleArn"] = engine.env["RUNTIME_ROLE_ARN"]
    if policy is not None:
        form["Policy"] = policy
    assert_denied(sts(engine, tenant, Action="AssumeRole", **form))


@pytest.mark.parametrize(
    "role",
    [
        "arn:aws:iam::000000000000:role/admin",
        "arn:aws:iam::000000000000:user/ringfence",
        "arn:aws:iam::000000000000:user/ringfence-setup",
        "arn:aws:iam::111122223333:role/ringfence-runtime",
        "arn:aws:iam::000000000000:role/RINGFENCE-RUNTIME",
        "arn:aws:sts::000000000000:assumed-role/ringfence-runtime/fenced",
        "ringfence-runtime",
        "*",
    ],
)
def test_a_session_may_assume_no_other_role(engine: RunningEngine, tenant: Keys, role: str) -> None:
    reply = sts(engine, tenant, Action="AssumeRole", RoleArn=role, **ROLE)
    assert (reply.status, reply.code) in {(403, "AccessDenied"), (400, "InvalidParameterValue")}
    assert b"SecretAccessKey" not in reply.body


def test_a_session_gets_no_other_token(engine: RunningEngine, tenant: Keys) -> None:
    assert_denied(sts(engine, tenant, Action="GetFederationToken", Name="again"))
    assert_denied(sts(engine, tenant, Action="GetFederationToken", Name="again", Policy=ALL))
    assert sts(engine, tenant, Action="GetSessionToken").status == 403


def test_a_token_is_of_no_use_with_another_key(engine: RunningEngine, tenant: Keys) -> None:
    other = fenced(engine, "apps/other/")
    target = f"/{CONTENT}/{NEIGHBOUR}"
    mixed = [
        Keys(tenant.access, tenant.secret, other.token),
        Keys(tenant.access, other.secret, tenant.token),
        Keys(tenant.access, tenant.secret),
        Keys(engine.master.access, tenant.secret, tenant.token),
        Keys(tenant.access, tenant.secret, "e30.e30.e30"),
        Keys(tenant.access, tenant.secret, _unsigned(str(tenant.token))),
    ]
    for keys in mixed:
        reply = signed(engine, keys, "GET", target)
        assert reply.status in {400, 403}
        assert PLANTED not in reply.body


def _unsigned(token: str) -> str:
    """The same token with `alg: none` and everything allowed."""
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims.pop("session_policy", None)
    claims["spol"] = ALL
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{forged}."


@pytest.mark.parametrize("action", ["AssumeRoleWithWebIdentity", "AssumeRoleWithLDAPIdentity"])
def test_nobody_gets_a_role_by_a_foreign_identity(engine: RunningEngine, action: str) -> None:
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImlzcyI6InJpbmdmZW5jZSJ9."
    form = {"WebIdentityToken": token, "LDAPUsername": "admin", "LDAPPassword": "admin"}
    for role in (engine.env["RUNTIME_ROLE_ARN"], ""):
        for place in ("body", "query"):
            fields = {"Action": action, "RoleArn": role, "RoleSessionName": "evil", **form}
            reply = _post(engine, fields, place)
            assert reply.status in {400, 403, 503}, reply.body
            assert b"SecretAccessKey" not in reply.body


def _post(engine: RunningEngine, fields: dict[str, str], place: str) -> Reply:
    from urllib.parse import urlencode

    if place == "body":
        return sts(engine, None, **fields)
    return plain(engine, "POST", f"/?{urlencode({'Version': '2011-06-15', **fields})}")


@pytest.mark.parametrize(
    "action", ["AssumeRole", "GetCallerIdentity", "GetFederationToken", "GetSessionToken"]
)
def test_nobody_gets_anything_unsigned_from_sts(engine: RunningEngine, action: str) -> None:
    fields = {"Action": action, "RoleArn": engine.env["RUNTIME_ROLE_ARN"], "Name": "evil", **ROLE}
    for place in ("body", "query"):
        reply = _post(engine, fields, place)
        assert (reply.status, reply.code) in {(403, "AccessDenied"), (400, "InvalidAction")}


IAM = (
    "ListUsers",
    "GetUser",
    "CreateUser",
    "DeleteUser",
    "UpdateUser",
    "CreateAccessKey",
    "DeleteAccessKey",
    "ListAccessKeys",
    "UpdateAccessKey",
    "CreatePolicy",
    "DeletePolicy",
    "PutUserPolicy",
    "GetUserPolicy",
    "DeleteUserPolicy",
    "ListPolicies",
    "AttachUserPolicy",
    "CreateRole",
    "PutRolePolicy",
    "UpdateAssumeRolePolicy",
    "DeleteRole",
    "ListRoles",
    "GetRole",
    "CreateGroup",
    "AddUserToGroup",
    "CreateServiceAccount",
    "CreateOpenIDConnectProvider",
    "ListOpenIDConnectProviders",
    "SetUserStatus",
)


@pytest.mark.parametrize("user", ["ringfence", "ringfence-setup", ""])
@pytest.mark.parametrize("who", ["session", "master", "nobody"])
def test_iam_is_closed(engine: RunningEngine, tenant: Keys, who: str, user: str) -> None:
    keys = {"session": tenant, "master": engine.master, "nobody": None}[who]
    for action in IAM:
        form = {"PolicyDocument": ALL, "PolicyName": "evil", "RoleName": "ringfence-runtime"}
        if user:
            form["UserName"] = user
        reply = sts(engine, keys, Action=action, **form)
        if keys and user in {"", OWN_NAME.get(who)} and action in OWN_ACCOUNT:
            assert b"Secret" not in reply.body
            continue
        expected = (400, "InvalidAction") if keys is None else (403, "AccessDenied")
        assert (reply.status, reply.code) == expected, (action, reply.body)


OWN_ACCOUNT = {"GetUser", "ListAccessKeys"}
"""What everybody may ask about himself: his name and the public half of his key."""
OWN_NAME = {"master": "ringfence"}


CONFIGURATION = (
    "acl",
    "policy",
    "policyStatus",
    "cors",
    "lifecycle",
    "versioning",
    "notification",
    "object-lock",
    "location",
    "logging",
    "requestPayment",
    "replication",
    "website",
    "tagging",
    "encryption",
    "publicAccessBlock",
    "ownershipControls",
    "accelerate",
    "analytics",
    "inventory",
    "intelligent-tiering",
    "metrics",
    "versions",
    "uploads",
)


@pytest.mark.parametrize("part", CONFIGURATION)
def test_a_session_configures_no_bucket(
    engine: RunningEngine, tenant: Keys, part: str, planted: str
) -> None:
    assert planted == NEIGHBOUR
    for bucket in (CONTENT, META):
        for method in ("GET", "PUT", "DELETE"):
            headers = {"x-amz-acl": "public-read-write"} if part == "acl" else {}
            reply = signed(engine, tenant, method, f"/{bucket}?{part}", headers=headers)
            assert reply.status == 403, (method, part, reply.body)
            assert reply.code == "AccessDenied"


TABLES = "arn:aws:s3tables:us-east-1:000000000000:bucket"


@pytest.mark.parametrize("who", ["session", "nobody"])
def test_s3_tables_gives_nothing(
    engine: RunningEngine, tenant: Keys, planted: str, who: str
) -> None:
    """A second interface on the same port, which cannot be switched off."""
    assert planted == NEIGHBOUR
    arn = f"{TABLES}/{CONTENT}"
    calls: dict[str, dict[str, object]] = {
        "CreateTableBucket": {"name": "evilbucket"},
        "GetTableBucket": {"tableBucketARN": arn},
        "DeleteTableBucket": {"tableBucketARN": arn},
        "PutTableBucketPolicy": {"tableBucketARN": arn, "resourcePolicy": ALL},
        "CreateNamespace": {"tableBucketARN": arn, "namespace": ["apps"]},
        "ListNamespaces": {"tableBucketARN": arn},
        "CreateTable": {"tableBucketARN": arn, "namespace": ["apps"], "name": "t"},
        "ListTables": {"tableBucketARN": arn},
        "DeleteTable": {"tableBucketARN": arn, "namespace": ["apps"], "name": "neighbour"},
    }
    for operation, body in calls.items():
        reply = _tables(engine, tenant if who == "session" else None, operation, body)
        assert reply.status >= 400, (operation, reply.body)
        assert PLANTED not in reply.body
        assert b"neighbour" not in reply.body
    listed = _tables(engine, tenant if who == "session" else None, "ListTableBuckets", {})
    if who == "session":
        assert (listed.status, json.loads(listed.body).get("tableBuckets") or []) == (200, [])
    else:
        assert listed.status == 403


def _tables(
    engine: RunningEngine, keys: Keys | None, operation: str, body: dict[str, object]
) -> Reply:
    headers = {
        "X-Amz-Target": f"S3Tables.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
    }
    data = json.dumps(body).encode()
    if keys is None:
        return plain(engine, "POST", "/", body=data, headers=headers)
    return signed(engine, keys, "POST", "/", body=data, headers=headers, service="s3tables")


TRUSTED = {
    "s3-identity-id": "ringfence-setup",
    "s3-is-admin": "true",
    "s3-account-id": "admin",
    "X-Amz-Account-Id": "admin",
    "X-SeaweedFS-Principal": "arn:aws:iam::000000000000:user/ringfence-setup",
    "X-SeaweedFS-Session-Token": "x",
    "X-Forwarded-For": "127.0.0.1",
    "X-Original-Url": f"/{CONTENT}/{OWN}x",
    "X-HTTP-Method-Override": "GET",
}
"""Names under which the engine's parts tell each other who is calling, and proxies do."""


def test_no_header_makes_anybody_an_administrator(
    engine: RunningEngine, tenant: Keys, planted: str
) -> None:
    for name, value in TRUSTED.items():
        for headers in ({name: value}, TRUSTED):
            for target in (f"/{CONTENT}/{planted}", f"/{CONTENT}"):
                # Some of the names are part of what the engine takes for signed.
                reply = signed(engine, tenant, "GET", target, headers=headers)
                assert_denied(reply, "SignatureDoesNotMatch")
            assert_denied(plain(engine, "GET", f"/{CONTENT}/{planted}", headers=headers))
            buckets = signed(engine, tenant, "GET", "/", headers=headers)
            assert b"<Name>" not in buckets.body


def test_a_session_cannot_rename_or_copy_the_neighbours(
    engine: RunningEngine, tenant: Keys, planted: str
) -> None:
    own = f"/{CONTENT}/{OWN}stolen"
    sources = (f"/{CONTENT}/{planted}", f"{CONTENT}/{planted}", planted, f"/{planted}")
    for source in sources:
        moved = {"x-amz-rename-source": source}
        assert_denied(signed(engine, tenant, "PUT", f"{own}?renameObject", headers=moved))
        copied = {"x-amz-copy-source": source}
        reply = signed(engine, tenant, "PUT", own, headers=copied)
        assert reply.status in {400, 403, 404}, reply.body
    assert signed(engine, tenant, "GET", own).code == "NoSuchKey"


def test_a_session_cannot_upload_by_form_elsewhere(
    engine: RunningEngine, tenant: Keys, planted: str
) -> None:
    # Keys of a session are not even looked for here.
    assert_denied(_upload_form(engine, tenant, planted), "InvalidAccessKeyId")
    assert _upload_form(engine, None, planted).status in {400, 403}


def _upload_form(engine: RunningEngine, keys: Keys | None, key: str) -> Reply:
    now = datetime.now(UTC)
    fields = {"key": key, "bucket": CONTENT}
    if keys is not None:
        day = now.strftime("%Y%m%d")
        fields |= {
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": f"{keys.access}/{day}/us-east-1/s3/aws4_request",
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            "x-amz-security-token": str(keys.token),
        }
        policy = {
            "expiration": (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "conditions": [{name: value} for name, value in fields.items()],
        }
        fields["policy"] = base64.b64encode(json.dumps(policy).encode()).decode()
        fields["x-amz-signature"] = _v4(keys.secret, day, fields["policy"])
    parts = [_part(name, value) for name, value in fields.items()]
    parts.append(_part('file"; filename="x', "overwritten"))
    body = "".join(parts) + "--edge--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    return plain(engine, "POST", f"/{CONTENT}", body=body.encode(), headers=headers)


def _part(name: str, value: str) -> str:
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def _v4(secret: str, day: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for word in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def test_public_acls_make_nothing_public(engine: RunningEngine, tenant: Keys) -> None:
    target = f"/{CONTENT}/{OWN}shown"
    for acl in ("public-read", "public-read-write", "authenticated-read"):
        signed(engine, tenant, "PUT", target, body=PLANTED, headers={"x-amz-acl": acl})
        assert_denied(plain(engine, "GET", target))
        assert signed(engine, fenced(engine, "apps/other/"), "GET", target).status == 403
    signed(engine, tenant, "DELETE", target)


def test_old_signatures_open_nothing(engine: RunningEngine, planted: str) -> None:
    for header in ("AWS AKIA:x", "AWS :", "Basic cmluZ2ZlbmNlOng=", "Bearer x", "AWS4-HMAC-SHA256"):
        reply = plain(engine, "GET", f"/{CONTENT}/{planted}", headers={"Authorization": header})
        assert reply.status in {400, 403}
        assert PLANTED not in reply.body
    for query in ("AWSAccessKeyId=x&Signature=y&Expires=9999999999", "X-Amz-Signature=x", "jwt=x"):
        reply = plain(engine, "GET", f"/{CONTENT}/{planted}?{query}")
        assert reply.status in {400, 403}
        assert PLANTED not in reply.body
