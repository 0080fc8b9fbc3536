"""The configuration that the bench gives the rival is one that the server takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.queue import plain_nats
from tests.jetstream.harness.servers import program


def test_the_server_takes_the_configuration_of_plain_nats(tmp_path: Path) -> None:
    (text,) = [each["data"]["nats.conf"] for each in plain_nats.manifests() if each["kind"] == "ConfigMap"]
    path = tmp_path / "nats.conf"
    path.write_text(text)

    done = subprocess.run(
        [program(), "-t", "-c", path], env=os.environ | {"POD_NAME": "nats-0"}, capture_output=True, text=True, check=False, timeout=30
    )

    assert done.returncode == 0, done.stderr
