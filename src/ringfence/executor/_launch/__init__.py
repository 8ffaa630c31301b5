"""The launcher: the small process that stands between the engine and an execution's command.

It runs as a program of its own (``python -I -S -E -c "... from _launch import main"``), confines
itself, starts the command, and ends everything that the command leaves. It has no environment but
what its interpreter needs; the command's environment comes over the control socket.

Each import is paid by every run, so this package uses builtin modules and ``ctypes`` only: no
``signal`` (it builds enums, 10 ms), no ``dataclasses``, no ``typing``, nothing of Ringfence.
"""

from __future__ import annotations

import os
import sys

from . import supervise, wire


def main() -> None:
    """Reads the plan from the control socket named by the first argument, and carries it out."""
    control = int(sys.argv[1])
    os.set_inheritable(control, False)
    try:
        plan = wire.receive_plan(control)
        if plan is not None:
            supervise.carry_out(plan, control)
    except OSError as error:
        wire.tell(control, "broken", error.errno or 0, str(error.strerror))
    except Exception as error:  # noqa: BLE001 - the engine reports it; a traceback would land in the run's log
        wire.tell(control, "broken", 0, f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)
