"""The env file of an installation: the variables of the Storage Providers page."""

from __future__ import annotations

from ringfence.embedded.configfiles import ROLE_ARN
from ringfence.embedded.keys import Keys
from ringfence.embedded.model import BUCKETS, HOST, REGION, Port, Ports
from ringfence.layout import BucketRole, IdCase

_HEADER = """\
# Written by `ringfence up`, which writes it anew each time. It holds the master keys of the
# embedded engine; nobody else can read it.
"""


def endpoint(ports: Ports) -> str:
    """Where S3 and STS answer."""
    return f"http://{HOST}:{ports[Port.S3]}"


def variables(keys: Keys, ports: Ports) -> dict[str, str]:
    """The variables, the master keys among them."""
    return {
        "STORAGE_PROVIDER": "aws",
        "AWS_ACCESS_KEY_ID": keys.master.id,
        "AWS_SECRET_ACCESS_KEY": keys.master.secret.reveal(),
        "AWS_REGION": REGION,
        "AWS_ENDPOINT": endpoint(ports),
        "AWS_USE_PATH_STYLE": "true",
        "META_BUCKET": BUCKETS[BucketRole.META],
        "CONTENT_BUCKET": BUCKETS[BucketRole.CONTENT],
        "LOG_BUCKET": BUCKETS[BucketRole.LOG],
        "RUNTIME_ROLE_ARN": ROLE_ARN,
        "EXECUTION_STATE_BACKEND": "s3",
        # SeaweedFS compares policies without case.
        "RINGFENCE_ID_CASE": IdCase.FOLDED.value,
    }


def render(values: dict[str, str]) -> str:
    """Dotenv form. No value needs quoting: all are made here, of plain characters."""
    return _HEADER + "".join(f"{name}={value}\n" for name, value in values.items())
