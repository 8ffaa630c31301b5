"""``python -m ringfence.demo.hostile PLAN``: the plan is a JSON list of calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from ringfence.demo.hostile import cloud, doors, machine

Answer = tuple[int | None, str]

WAYS: dict[str, Callable[..., Answer]] = {
    "sdk": cloud.call,
    "unsigned": cloud.unsigned,
    "door": doors.knock,
    "file": machine.read,
    "process": machine.read_of_parent,
}


def main(plan: list[dict[str, Any]]) -> None:
    """Carries out each call and prints a line of JSON for it."""
    for index, call in enumerate(plan):
        way = WAYS[call.pop("way")]
        try:
            status, code = way(**call)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is the answer to report
            status, code = None, f"{type(error).__name__}: {error}"
        print(json.dumps({"attempt": index, "status": status, "code": code}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
