"""Every command of README.md and docs/ does what it says.

They run as they stand, in order, in a shell like a user's. A command that another test runs, or that would take the lab down, is named
in ELSEWHERE with the place; a new command that is in neither place fails here.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from baas_lab.cluster import Cluster

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACE = "shop"
READY_SECONDS = 300.0
ELSEWHERE = {
    "make demo": "test_demo.py",
    "make test": ".ci/run",
    "helm install baas-operator charts/baas-operator --namespace baas-system --create-namespace": "the lab fixture: `lab install`",
}
NOT_READY_IS_AN_ANSWER = 1
UV_FOLDER = str(Path(os.environ.get("UV", "uv")).parent)
"""`uv run` tells its children where uv is; the Makefile's own one is not on the PATH."""


def commands() -> list[str]:
    """The lines of all shell blocks, without their comments, each once."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.S | re.M)]
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


@pytest.fixture(scope="module")
def shell(lab: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A user's environment, with a folder of its own for the plugin."""
    tools = tmp_path_factory.mktemp("tools")
    lab.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", timeout_seconds=180)
    environment = os.environ | lab.environment
    yield environment | {
        "UV_TOOL_DIR": str(tools / "tools"),
        "UV_TOOL_BIN_DIR": str(tools / "bin"),
        "PATH": os.pathsep.join([str(tools / "bin"), environment["PATH"], UV_FOLDER]),
    }
    for kind in ("baasinstances", "databasereplicas", "eventqueues", "operations"):
        lab.kubectl("delete", kind, "--all", "--namespace", NAMESPACE, "--wait", timeout_seconds=180)
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_there_are_commands() -> None:
    assert len(commands()) > len(ELSEWHERE)


def test_every_command_works_as_it_stands(lab: Cluster, shell: dict[str, str]) -> None:
    for command in commands():
        if command in ELSEWHERE:
            continue
        if "switchover" in command:
            for condition in ("Ready", "ZoneTolerant"):
                lab.kubectl("wait", "databasereplica", "--all", "--namespace", NAMESPACE, f"--for=condition={condition}",
                            f"--timeout={READY_SECONDS:.0f}s", timeout_seconds=READY_SECONDS + 10)  # fmt: skip
        done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, env=shell, capture_output=True, text=True, timeout=300, check=False)
        good = {0, NOT_READY_IS_AN_ANSWER} if "baas status" in command else {0}
        assert done.returncode in good, f"$ {command}\n{done.stdout}{done.stderr}"
        assert done.stdout + done.stderr, f"$ {command} said nothing"
