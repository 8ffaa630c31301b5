"""R2's rule for uploads in parts: all but the last are of one size, of 5 MiB or more.

R2, *Error codes*, 10011 and 10048. S3 and the engine behind know the second half of it only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET

from tests.r2.calls import Call
from tests.r2.sigv4 import Refused

MIN_PART_BYTES: Final = 5 << 20


@dataclass(slots=True)
class Uploads:
    """The sizes of the parts that went through, by upload. Others are not looked at."""

    sizes: dict[str, dict[int, int]] = field(default_factory=dict)

    def keep(self, call: Call, size: int) -> None:
        """Remembers a part."""
        fields = dict(call.fields)
        self.sizes.setdefault(fields["uploadId"], {})[int(fields["partNumber"])] = size

    def check(self, call: Call, body: bytes) -> None:
        """Holds the parts of an upload that is to be completed against the rule."""
        known = self.sizes.get(dict(call.fields)["uploadId"], {})
        *most, _ = _numbers(body)
        sizes = [known[number] for number in most if number in known]
        if any(size < MIN_PART_BYTES for size in sizes):
            raise Refused(400, "EntityTooSmall", "a part is smaller than 5 MiB")
        if len(set(sizes)) > 1:
            raise Refused(400, "InvalidPart", "all non-trailing parts must have the same length")


def _numbers(body: bytes) -> list[int]:
    if b"<!" in body:
        raise Refused(400, "MalformedXML", "no declarations here")
    try:
        root = ET.fromstring(body)  # noqa: S314 - no declarations, so nothing to expand
        numbers = [int(element.text or "") for element in root.iterfind("{*}Part/{*}PartNumber")]
    except (ET.ParseError, ValueError):
        raise Refused(400, "MalformedXML", "that is no list of parts") from None
    if not numbers:
        raise Refused(400, "MalformedXML", "no parts")
    return numbers
