"""Presigning outward: what a session may hand on is no more than what it has, nor for longer.

A URL that is presigned with a session's keys carries the session's token. Who has the URL can not
sign anew (that needs the secret), so the URL opens what it says; on engines whose secret follows
from the token (``reference``: R2's locally signed tokens) it would open the whole session.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from tests.isolation.scene import OWN_BODY, Scene, refused, turned_away
from tests.isolation.wire import Wire

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.engine

SHORT_SECONDS = 1


@pytest.fixture
def sdk(scene: Scene) -> Iterator[S3Client]:
    client = client_of(scene.attacker)
    yield client
    client.close()


def client_of(wire: Wire) -> S3Client:
    assert wire.keys is not None
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=wire.endpoint,
        region_name=wire.region,
        aws_access_key_id=wire.keys.access,
        aws_secret_access_key=wire.keys.secret,
        aws_session_token=wire.keys.token,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    return client


def presigned(sdk: S3Client, scene: Scene, call: str, key: str, seconds: int = 300) -> str:
    """The target of a presigned URL."""
    params = {"Bucket": scene.content, "Key": key}
    url = sdk.generate_presigned_url(call, Params=params, ExpiresIn=seconds)
    return url.removeprefix(scene.attacker.endpoint)


def test_a_url_opens_what_it_says_and_nothing_else(scene: Scene, sdk: S3Client) -> None:
    anyone, key = scene.anyone, f"{scene.own_prefix}object"
    url = presigned(sdk, scene, "get_object", key)
    assert anyone.send("GET", url).body == OWN_BODY
    for method, body in (("HEAD", b""), ("PUT", b"evil"), ("DELETE", b""), ("POST", b"")):
        assert anyone.send(method, url, body).status in {403, 405}, method
    other = url.replace(scene.own_prefix, scene.foreign_prefix)
    assert turned_away(anyone.send("GET", other))
    assert turned_away(anyone.send("GET", f"{url}&versionId=null"))
    assert turned_away(anyone.send("GET", url.replace("Expires=300", "Expires=604800")))
    assert turned_away(anyone.send("GET", re.sub(r"&X-Amz-Security-Token=[^&]*", "", url)))
    assert scene.attacker.send("GET", scene.own).body == OWN_BODY


def test_a_url_to_anothers_place_is_refused(scene: Scene, sdk: S3Client) -> None:
    key = f"{scene.foreign_prefix}object"
    for call, method, body in (
        ("get_object", "GET", b""),
        ("head_object", "HEAD", b""),
        ("put_object", "PUT", b"evil"),
        ("delete_object", "DELETE", b""),
    ):
        reply = scene.anyone.send(method, presigned(sdk, scene, call, key), body)
        assert refused(reply), (call, reply)
    listing = sdk.generate_presigned_url(
        "list_objects_v2", Params={"Bucket": scene.content, "Prefix": scene.foreign_prefix}
    )
    assert refused(scene.anyone.send("GET", listing.removeprefix(scene.attacker.endpoint)))
    assert scene.harm() == []


def test_a_url_ends(scene: Scene, sdk: S3Client) -> None:
    url = presigned(sdk, scene, "get_object", f"{scene.own_prefix}object", SHORT_SECONDS)
    time.sleep(SHORT_SECONDS + 1.1)
    assert refused(scene.anyone.send("GET", url))


@pytest.mark.parametrize("header", ["x-amz-copy-source", "x-amz-rename-source"])
def test_a_url_to_write_copies_nothing(scene: Scene, sdk: S3Client, header: str) -> None:
    url = presigned(sdk, scene, "put_object", f"{scene.own_prefix}copy")
    at = f"{url}&renameObject" if "rename" in header else url
    assert turned_away(scene.anyone.send("PUT", at, headers={header: scene.foreign}))
    assert scene.harm() == []


def test_anothers_token_beside_a_url_is_no_help(scene: Scene, sdk: S3Client) -> None:
    assert scene.victim.keys is not None
    assert scene.victim.keys.token is not None
    beside = {"X-Amz-Security-Token": scene.victim.keys.token}
    for prefix in (scene.own_prefix, scene.foreign_prefix):
        url = presigned(sdk, scene, "get_object", f"{prefix}object")
        reply = scene.anyone.send("GET", url, headers=beside)
        assert not scene.tells(reply)


# --- POST policies: uploads by browsers -----------------------------------------------


def form(fields: dict[str, str], filename: str = "f") -> tuple[bytes, dict[str, str]]:
    parts = "".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    file = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    return (
        f"{parts}{file}evil\r\n--edge--\r\n".encode(),
        {"Content-Type": "multipart/form-data; boundary=edge"},
    )


def test_a_browser_form_reaches_nobody(scene: Scene, sdk: S3Client) -> None:
    """Signed with a session's keys the engine refuses forms even for own keys."""
    own = f"prefix={scene.own_prefix}object".replace("/", "%2F")
    paths = (f"/{scene.content}", f"/{scene.content}?{own}", scene.own, f"/{scene.content}/")
    for key in (f"{scene.foreign_prefix}object", f"{scene.own_prefix}${{filename}}"):
        signed = sdk.generate_presigned_post(scene.content, key)["fields"]
        without = {name: v for name, v in signed.items() if name != "x-amz-security-token"}
        for fields in (signed, without, {"key": key}):
            body, headers = form(fields, f"../{scene.foreign_prefix.split('/')[1]}/object")
            for path in paths:
                for wire in (scene.anyone, scene.attacker):
                    reply = wire.send("POST", path, body, headers)
                    assert 400 <= reply.status < 500, (key, path, reply)
    assert scene.harm() == []
    assert scene.attacker.send("GET", scene.own).body == OWN_BODY
