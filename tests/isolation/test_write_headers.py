"""From inside a session: writes that ask for more than a write, in their headers."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.isolation.s3 import target
from tests.isolation.scene import Scene, refused

pytestmark = pytest.mark.engine

EVERYBODY = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'
OWN_KEY = b"k" * 32

HEADERS: dict[str, dict[str, str]] = {
    "public-read": {"x-amz-acl": "public-read"},
    "public-read-write": {"x-amz-acl": "public-read-write"},
    "grant read": {"x-amz-grant-read": EVERYBODY},
    "grant everything": {"x-amz-grant-full-control": EVERYBODY},
    "grant the ACL": {"x-amz-grant-write-acp": EVERYBODY},
    "redirect": {"x-amz-website-redirect-location": "/another"},
    "tags": {"x-amz-tagging": "public=true"},
    "own key": {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(OWN_KEY).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": base64.b64encode(
            hashlib.md5(OWN_KEY, usedforsecurity=False).digest()
        ).decode(),
    },
    "lock": {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z",
    },
    "legal hold": {"x-amz-object-lock-legal-hold": "ON"},
    "bypass": {"x-amz-bypass-governance-retention": "true"},
    "append": {"x-amz-write-offset-bytes": "0"},
    "the engine's owner": {"Seaweed-X-Amz-Owner": "ringfence"},
    "the engine's ACL": {"Seaweed-X-Amz-Acl": "public-read", "X-Amz-Acp": "public-read"},
}

HARMLESS = {
    # AWS would ask for `s3:PutObjectTagging`, `s3:PutObjectAcl` or `s3:PutObjectRetention` besides.
    # Here the tags are kept, but no policy reads them, and ACLs are taken and not honoured; locks
    # are refused, as the buckets have none.
    "public-read",
    "public-read-write",
    "grant read",
    "grant everything",
    "grant the ACL",
    "redirect",
    "tags",
    "own key",
    "append",
    "the engine's owner",
    "the engine's ACL",
}
"""What the engine takes on an own object. It opens nothing, which is what is tested."""


@pytest.mark.parametrize("name", HEADERS)
def test_a_write_opens_nothing_to_others(scene: Scene, name: str) -> None:
    key = f"{scene.own_prefix}{name.replace(' ', '-')}"
    at = target(scene.content, key)
    reply = scene.attacker.send("PUT", at, b"for everybody", HEADERS[name])
    assert reply.status == 200 if name in HARMLESS else 400 <= reply.status < 500, reply
    assert refused(scene.anyone.send("GET", at))
    assert refused(scene.anyone.send("PUT", at, b"evil"))
    assert refused(scene.victim.send("GET", at))
    assert refused(scene.victim.send("DELETE", at))


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_helps_a_write_into_anothers_place(scene: Scene, name: str) -> None:
    assert refused(scene.attacker.send("PUT", scene.foreign, b"evil", HEADERS[name]))
    assert scene.harm() == []


def test_a_public_acl_on_creation_of_an_upload_opens_nothing(scene: Scene) -> None:
    at = target(scene.content, f"{scene.own_prefix}upload", uploads="")
    assert scene.attacker.send("POST", at, headers=HEADERS["public-read"]).status in {200, 403}
    assert refused(scene.anyone.send("GET", at.partition("?")[0]))
