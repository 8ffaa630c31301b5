"""What ``docs/r2.md`` says to type works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ringfence.layout import BucketRole
from tests.e2e.cli import RINGFENCE, environment
from tests.r2.installation import R2Installation

pytestmark = pytest.mark.engine

PAGE: Final = (Path(__file__).parents[2] / "docs" / "r2.md").read_text()


def blocks(language: str) -> list[str]:
    """The blocks of code that are meant to be run."""
    found = re.findall(rf"(<!-- not run[^\n]*\n)?```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [text for skipped, text in found if not skipped]


def test_the_example_runs(local: R2Installation, tmp_path: Path) -> None:
    (job,) = blocks("python")
    (tmp_path / "job.py").write_text(job)
    run, elsewhere = blocks("sh")
    ringfence = shlex.join(RINGFENCE)
    for script in (run, elsewhere):
        typed = re.sub(r"\bringfence (?=run|creds|grants)", f"{ringfence} ", script)
        typed = typed.replace("python job.py", f"{sys.executable} job.py")
        done = subprocess.run(
            ["/bin/sh", "-ec", typed],
            cwd=tmp_path,
            env=environment(local.env),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    owner = local.owner
    content = owner.under(BucketRole.CONTENT, "apps/billing/")
    assert {key.rpartition("/")[2] for key in content} == {"by-variables.bin", "attached.bin"}
    logs = {key.rpartition("/")[2] for key in owner.under(BucketRole.LOG, "runs/billing/")}
    assert {"by-profile.bin", "attached.bin"} <= logs
    assert "ringfence_logs" in done.stdout
    assert "prefixPaths" in done.stdout
