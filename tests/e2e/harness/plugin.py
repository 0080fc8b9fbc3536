"""`kubectl baas` as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.harness.kube import Kube


def kubectl_baas(kube: Kube, namespace: str, *words: str, timeout_seconds: float = 150) -> subprocess.CompletedProcess[str]:
    """Run the plugin through kubectl, which finds it on PATH; the caller looks at its exit code."""
    environment = {**os.environ, **kube.lab.environment, "COLUMNS": "200"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["kubectl", "baas", *words, "--namespace", namespace],
        env=environment, capture_output=True, text=True, timeout=timeout_seconds, check=False,
    )  # fmt: skip
