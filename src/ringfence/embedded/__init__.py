"""The embedded engine: a real object store on this machine, for development, tests and the demo.

It is SeaweedFS, in one process that listens on loopback only, with every way round the fence closed
(``docs/embedded-engine.md`` says how, and what stays open).
"""

from ringfence.embedded.doorlist import doors
from ringfence.embedded.engine import down, status, up
from ringfence.embedded.model import BUCKETS, Closed, Door, Engine, Port

__all__ = ["BUCKETS", "Closed", "Door", "Engine", "Port", "doors", "down", "status", "up"]
