"""A small engine in a process of its own: runs one command and writes down how it went.

Its only argument is a JSON object; ``result`` in it is the file for the answer, the rest are the
arguments of ``execute``; with ``fork`` it forks once the command is ready. It needs nothing but
the standard library and Ringfence, so that it also runs as another user with another interpreter.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from ringfence.errors import RingfenceError
from ringfence.executor.process import Confine, Line, execute


async def _main(options: dict[str, Any]) -> dict[str, Any]:
    result = Path(options.pop("result"))
    keep = options.pop("keep", True)
    fork = options.pop("fork", False)
    options["hide"] = [Path(path) for path in options.get("hide", ())]
    options["confine"] = Confine(options.get("confine", "auto"))
    options.setdefault("environment", {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"})
    started = result.with_suffix(".started")
    lines: list[Line] = []
    counts = {"lines": 0, "characters": 0}

    async def on_output(line: Line) -> None:
        counts["lines"] += 1
        counts["characters"] += len(line.text)
        if keep:
            lines.append(line)
        if line.text == "ready":
            if fork:
                _fork()
            started.touch()

    try:
        ending = await execute(options.pop("command"), on_output=on_output, **options)
    except RingfenceError as error:
        return {"error": type(error).__name__, "message": str(error)}
    confinement = ending.confinement
    return counts | {
        "exit_code": ending.exit_code,
        "signal": ending.signal,
        "timed_out": ending.timed_out,
        "stopped": ending.stopped,
        "forwarded": list(ending.forwarded),
        "output": [[line.stream.value, line.text, line.partial] for line in lines],
        "own_files": confinement is not None and confinement.own_files,
        "own_processes": confinement is not None and confinement.own_processes,
        "user_namespace": confinement is not None and confinement.user_namespace,
        "landlock": confinement is not None and confinement.landlock,
        "exposed": [str(path) for path in confinement.exposed] if confinement else [],
        "sentences": list(confinement.sentences()) if confinement else [],
        "max_rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def _fork() -> None:
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    answer = Path(given["result"])
    text = json.dumps(asyncio.run(_main(given)))
    whole = answer.with_suffix(".part")
    whole.write_text(text)
    whole.rename(answer)
