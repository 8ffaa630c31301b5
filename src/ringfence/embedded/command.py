"""How the engine is called: as one process with four parts, and every other part switched off.

``weed server`` and not ``weed mini``: ``mini`` starts a second sooner, but with an admin server and
its worker (two more ports), takes another gRPC port in silence where one is taken, and remembers
the options of former starts. And not a process for each part: 40 % more processor time a request.
Nothing secret is among the arguments.
"""

from __future__ import annotations

from typing import Final

from ringfence.embedded.binary import Binary
from ringfence.embedded.configfiles import IAM_CONFIG, S3_CONFIG
from ringfence.embedded.doorlist import FILER_SOCKET, S3_SOCKET
from ringfence.embedded.model import HOST, Port, Ports
from ringfence.embedded.statedir import StateDir

MIN_FREE_BYTES: Final = 256 << 20
"""With less room than this on the disk, the engine takes no more data (it looks once a minute)."""

_VOLUME_MB: Final = 512
_VOLUMES: Final = 2000
"""1 TB in all. Volumes are not allocated ahead, so a small disk does not need fewer."""

_MEMORY: Final = "768MiB"
"""Above this the engine collects garbage more often; without it, some uploads of 64 MiB leave
800 MB resident. It is no hard limit."""


def command(binary: Binary, ports: Ports) -> list[str]:
    """The command line, for the working folder ``StateDir.conf``."""
    off = ("webdav", "sftp", "iam", "mq.broker", "mq.agent", "debug", "volume.pprof")
    options: dict[str, str | int] = {
        **dict.fromkeys(off, "false"),
        "dir": "../data",
        "ip": HOST,
        "ip.bind": HOST,
        "metricsPort": 0,
        "disableHttp": "true",  # of the master and the filer; what is left is mutual TLS
        "master": "true",
        "master.port": ports[Port.MASTER],
        "master.port.grpc": ports[Port.MASTER_GRPC],
        "master.peers": "none",
        "master.telemetry": "false",
        "master.volumePreallocate": "false",
        "master.volumeSizeLimitMB": _VOLUME_MB,
        "volume": "true",
        "volume.port": ports[Port.VOLUME],
        "volume.port.grpc": ports[Port.VOLUME_GRPC],
        "volume.max": _VOLUMES,
        "volume.minFreeSpace": f"{MIN_FREE_BYTES >> 20}MiB",
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.port": ports[Port.FILER],
        "filer.port.grpc": ports[Port.FILER_GRPC],
        "filer.localSocket": f"../sock/{FILER_SOCKET}",
        "filer.disableDirListing": "true",
        "filer.exposeDirectoryData": "false",
        "filer.allowedOrigins": f"http://{HOST}:{ports[Port.S3]}",
        "filer.ui.deleteDir": "false",
        "s3": "true",
        "s3.port": ports[Port.S3],
        "s3.port.grpc": ports[Port.S3_GRPC],
        "s3.port.https": 0,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.allowedOrigins": f"http://{HOST}:{ports[Port.S3]}",  # by default every web page
        "s3.localSocket": f"../sock/{S3_SOCKET}",
        "s3.config": S3_CONFIG,
        "s3.iam.config": IAM_CONFIG,
        "s3.iam.readOnly": "true",
        "s3.autoCreateBucket": "false",
        "s3.allowDeleteBucketNotEmpty": "false",
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    return [str(binary.path), "-logtostderr=true", "server", *flags]


def environment(state: StateDir) -> dict[str, str]:
    """The engine's environment: nothing of the caller's, so no key and no proxy of it either."""
    return {
        "HOME": str(state.conf),
        "PATH": "/usr/bin:/bin",
        "TMPDIR": str(state.tmp),
        "GOMEMLIMIT": _MEMORY,
    }
