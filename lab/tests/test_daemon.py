"""Which daemons there are, beside the one that the lab starts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from baas_lab import daemon


def test_another_labs_daemon_is_seen_for_as_long_as_it_runs(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    shutil.copy(sleep, tmp_path / "dockerd")
    process = subprocess.Popen([tmp_path / "dockerd", "60"])
    try:
        assert process.pid in daemon.others()
    finally:
        process.kill()
    assert process.pid not in daemon.others(), "nobody has waited for it yet, but it runs no more"
    process.wait()
