"""The engine's configuration files, written anew at every start.

SeaweedFS looks for each of them in its working folder first and then in the user's home and in
``/etc``; so that nothing of another installation comes in, every file that it may look for stands
here, if need be with nothing in it. All paths are relative to the working folder, which is
``StateDir.conf``.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from typing import Any, Final

from ringfence.embedded import certs
from ringfence.embedded.keys import AccessKey, Keys
from ringfence.embedded.model import BUCKETS
from ringfence.embedded.statedir import StateDir, write_private

ACCOUNT: Final = "000000000000"
MASTER: Final = "ringfence"
SETUP: Final = "ringfence-setup"
ROLE: Final = "ringfence-runtime"
MASTER_ARN: Final = f"arn:aws:iam::{ACCOUNT}:user/{MASTER}"
ROLE_ARN: Final = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"

S3_CONFIG: Final = "s3.json"
IAM_CONFIG: Final = "iam.json"
AUTHORITY: Final = "authority.crt"
CERTIFICATE: Final = "engine.crt"
KEY: Final = "engine.key"

GROWTH: Final = 4
"""Volumes that a bucket gets at a time: writes to one volume wait for each other."""

_JWT_SECONDS: Final = 10
_EMPTY: Final = ("credential", "notification", "replication", "shell", "volume", "admin")
_GRPC: Final = ("master", "volume", "filer", "s3", "client", "admin", "worker", "mq")
_HTTPS: Final = ("master", "volume", "filer", "admin")
_JWT: Final = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")


def write(state: StateDir, keys: Keys) -> None:
    """Writes them all, with fresh certificates and fresh keys for the engine's own tokens."""
    pem = certs.make()
    files = {
        AUTHORITY: pem.authority,
        CERTIFICATE: pem.certificate,
        KEY: pem.key,
        S3_CONFIG: json.dumps(identities(keys), indent=2) + "\n",
        IAM_CONFIG: json.dumps(roles(keys), indent=2) + "\n",
        "security.toml": security(),
        "master.toml": _MASTER_TOML,
        "filer.toml": _FILER_TOML,
        **{f"{name}.toml": "" for name in _EMPTY},
    }
    for name, text in files.items():
        write_private(state.conf / name, text)


_MASTER_TOML: Final = f"""\
[master.maintenance]
scripts = ""

[master.volume_growth]
copy_1 = {GROWTH}
"""

_FILER_TOML: Final = """\
[filer.options]
recursive_delete = false

[leveldb2]
enabled = true
dir = "../data/filer"
"""


def security() -> str:
    """Mutual TLS on every inner port, and signed tokens behind it.

    Both versions of TLS are named: with the lowest alone, the engine finds its own settings
    contradictory, warns, and serves gRPC in clear.
    """
    tls = f'cert = "{CERTIFICATE}"\nkey = "{KEY}"\n'
    mutual = f'{tls}ca = "{AUTHORITY}"\n'
    sections = [
        '[tls]\nmin_version = "TLS 1.3"\nmax_version = "TLS 1.3"\n',
        "[access]\nui = false\n",
        "[filer.expose_directory_metadata]\nenabled = false\n",
        f'[grpc]\nca = "{AUTHORITY}"\n',
        *(f"[grpc.{part}]\n{tls}" for part in _GRPC),
        *(f"[https.{part}]\n{mutual}" for part in _HTTPS),
        f"[https.client]\nenabled = true\n{mutual}",
        *(f"[{name}]\n{_token_key()}" for name in _JWT),
    ]
    return "\n".join(sections)


def _token_key() -> str:
    return f'key = "{secrets.token_urlsafe(32)}"\nexpires_after_seconds = {_JWT_SECONDS}\n'


def identities(keys: Keys) -> dict[str, Any]:
    """Two static identities. Neither is the engine's administrator, and nobody is anonymous.

    The master writes to the three buckets only. It reads and lists without that bound: there are
    no other buckets, and so a name that is wrong is answered with NoSuchBucket and not with
    AccessDenied. It assumes the role by the role's trust policy alone. What makes the buckets is
    never given out.
    """
    return {
        "identities": [
            _identity(MASTER, keys.master, ["Read", "List", *_on_each("Write", "Tagging")]),
            _identity(SETUP, keys.setup, _on_each("Admin")),
        ]
    }


def _on_each(*actions: str) -> list[str]:
    return [f"{action}:{bucket}" for action in actions for bucket in BUCKETS.values()]


def _identity(name: str, key: AccessKey, actions: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "credentials": [{"accessKey": key.id, "secretKey": key.secret.reveal()}],
        "actions": actions,
    }


def roles(keys: Keys) -> dict[str, Any]:
    """The one role, and the one principal that may assume it: its own sessions may not."""
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "ringfence",
            "accountId": ACCOUNT,
            "signingKey": b64encode(keys.sts_signing.reveal().encode()).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [
            {
                "roleName": ROLE,
                "roleArn": ROLE_ARN,
                "trustPolicy": _document(
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": MASTER_ARN},
                        "Action": ["sts:AssumeRole"],
                    }
                ),
                "attachedPolicies": [ROLE],
            }
        ],
        "policies": [{"name": ROLE, "document": _role_policy()}],
    }


def _role_policy() -> dict[str, Any]:
    """What a session has at most: objects of the three buckets, and no configuration of any."""
    buckets = [f"arn:aws:s3:::{name}" for name in BUCKETS.values()]
    objects = (
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    )
    return _document(
        {
            "Effect": "Allow",
            "Action": list(objects),
            "Resource": [f"{bucket}/*" for bucket in buckets],
        },
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": buckets},
    )


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
