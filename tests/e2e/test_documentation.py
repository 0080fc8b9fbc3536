"""Every command of README.md and docs/ does what it says.

They run as they stand, in order, in one shell, as a user's would be: what a line sets, or leaves running, is there for the next. A
command that another test runs, or that would take the lab down, is named in ELSEWHERE with the place; a new command that is in neither
place fails here. What has a placeholder in it (your registry, your node) stands in blocks that are not marked as `sh`, and is not run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from baas_lab.cluster import Cluster

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACE = "shop"
READY_SECONDS = 300.0
COMMAND_SECONDS = 300.0
END = "--- ended with"
ELSEWHERE = {
    "make demo": "test_demo.py",
    "make test": ".ci/run",
}
NOT_READY_IS_AN_ANSWER = 1
UV_FOLDER = str(Path(os.environ.get("UV", "uv")).parent)
"""`uv run` tells its children where uv is; the Makefile's own one is not on the PATH."""


def commands() -> list[str]:
    """The lines of all shell blocks, without their comments, each once; a line that ends with a backslash goes on in the next."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.S | re.M)]
    whole = [re.sub(r"\\\n\s*", "", block) for block in blocks]
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in whole for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


class Shell:
    """One bash, from the first command to the last."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"], cwd=REPOSITORY, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command; what it leaves running in the background may add to that of a later one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # A command that reads would read the next ones.
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n{END} %d\\n' $?\n")
        self._process.stdin.flush()
        too_long = threading.Timer(COMMAND_SECONDS, self.end)
        too_long.start()
        said = []
        try:
            for line in self._process.stdout:
                if line.startswith(END):
                    return int(line.removeprefix(END)), "".join(said)
                said.append(line)
        finally:
            too_long.cancel()
        raise AssertionError(f"$ {command}\n{''.join(said)}\nended the shell, or took longer than {COMMAND_SECONDS:.0f} s")

    def end(self) -> None:
        """End it, and what it left running."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def shell(lab: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A user's shell, with a folder of its own for the plugin."""
    tools = tmp_path_factory.mktemp("tools")
    lab.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", timeout_seconds=360)
    environment = os.environ | lab.environment
    made = Shell(
        environment
        | {
            "UV_TOOL_DIR": str(tools / "tools"),
            "UV_TOOL_BIN_DIR": str(tools / "bin"),
            "PATH": os.pathsep.join([str(tools / "bin"), environment["PATH"], UV_FOLDER]),
        }
    )
    yield made
    made.end()
    for kind in ("baasinstances", "databasereplicas", "eventqueues", "operations"):
        lab.kubectl("delete", kind, "--all", "--namespace", NAMESPACE, "--wait", timeout_seconds=360)
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_there_are_commands() -> None:
    assert len(commands()) > len(ELSEWHERE)


def test_every_command_works_as_it_stands(lab: Cluster, shell: Shell) -> None:
    for command in commands():
        if command in ELSEWHERE:
            continue
        if "switchover" in command:
            for condition in ("Ready", "ZoneTolerant"):
                lab.kubectl("wait", "databasereplica", "--all", "--namespace", NAMESPACE, f"--for=condition={condition}",
                            f"--timeout={READY_SECONDS:.0f}s", timeout_seconds=READY_SECONDS + 10)  # fmt: skip
        code, said = shell.run(command)
        good = {0, NOT_READY_IS_AN_ANSWER} if "baas status" in command else {0}
        assert code in good, f"$ {command}\n{said}"
        quiet = command.endswith("&") or re.match(r"(export )?[A-Z_]+=", command)
        assert quiet or said.strip(), f"$ {command} said nothing"
