"""The operator as a process, as its Deployment runs it: a ServiceAccount's token, and nothing but environment variables."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.harness.api import Object

from . import chart
from .chart import REPOSITORY, SYSTEM_NAMESPACE

if TYPE_CHECKING:
    from .cluster import ControlPlane

STOP_SECONDS = 15
"""How long a SIGTERM may take: less than half of the 30 s that a pod is given."""
LAST_WORDS = 40
"""Lines of a log that a failure shows."""


class OperatorProcess:
    """One `python -m baas_operator run`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, health_port: int) -> None:
        self.name = name
        self.log = log
        self.health_port = health_port
        self.may_end = False
        self._process = process

    @classmethod
    def start(cls, cp: ControlPlane, name: str) -> OperatorProcess:
        """Start it as the pod `name`, with the rights and the environment that the chart gives it."""
        kubeconfig = _credentials(cp, name)
        health_port = _free_port()
        log = cp.folder / f"{name}.log"
        environment = chart.environment() | {
            "PATH": os.environ["PATH"],
            "HOME": str(cp.folder),
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "PYTHONUNBUFFERED": "1",
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": name,
            "POD_NAMESPACE": SYSTEM_NAMESPACE,
            "BAAS_HEALTH_PORT": str(health_port),
        }
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "baas_operator", "run"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cp.folder,
                start_new_session=True,
            )
        return cls(name, process, log, health_port)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def kill9(self) -> None:
        """End it as a power cut does: no time to say goodbye."""
        self.may_end = True
        if self.running:
            self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it as the kubelet does (SIGTERM), and see that it obeys."""
        self.may_end = True
        if not self.running:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError(f"{self.name} was still there {STOP_SECONDS} s after SIGTERM\n{self.last_words()}") from None

    def assert_alive(self) -> None:
        """Fail at once when it ended although nobody asked it to (`may_end` says that a story asks for it)."""
        assert self.running or self.may_end, f"{self.name} ended by itself, with {self._process.returncode}\n{self.last_words()}"

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, in user and system mode."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def records(self) -> list[Object]:
        """What it logged, as JSON objects; a line that is not JSON fails the test."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def last_words(self) -> str:
        """The end of its log, for the message of a failure."""
        lines = self.log.read_text().splitlines()[-LAST_WORDS:]
        return f"--- {self.name}:\n" + "\n".join(_brief(line) for line in lines)


def _brief(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    error = record.get("exc_info", "").strip().splitlines()
    words = [record["time"][11:], record["level"], record.get("object", ""), record["message"], record.get("child", "")]
    return " ".join(filter(None, words)) + "".join(f"\n    {each.strip()}" for each in error[-4:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _credentials(cp: ControlPlane, name: str) -> Path:
    """A kubeconfig with a token of a ServiceAccount that is called like the operator's pod."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    cp.must_apply(account, SYSTEM_NAMESPACE)
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/{name}/token"
    status, answer = cp.request("POST", path, {"spec": {"expirationSeconds": 3600 * 4}})
    assert status == 201, answer
    kubeconfig = cp.folder / f"{name}.kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "clusters": [{"name": "it", "cluster": cp.cluster}],
                "users": [{"name": "it", "user": {"token": answer["status"]["token"]}}],
            }
        )
    )
    return kubeconfig
