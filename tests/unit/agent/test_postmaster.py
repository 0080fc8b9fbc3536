"""Clients that have connected and say nothing do not hold a shutdown up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from baas_operator.agent.postmaster import Postmaster

# As PostgreSQL has it: a child keeps its parent's title until its client has said who it is. `exec` gives the other a title of its own.
_PROGRAM = """
import os, sys, time
def child(titled):
    if not (pid := os.fork()):
        if titled:
            os.execv(sys.executable, ["postgres: main: checkpointer", "-c", "import time; print(flush=True); time.sleep(60)"])
        print(flush=True)
        time.sleep(60)
        os._exit(0)
    return pid
print(child(False), child(False), child(True), flush=True)
time.sleep(60)
"""


class Server:
    """A process tree with PostgreSQL's names."""

    def __init__(self, folder: Path) -> None:
        program = folder / "postgres"
        program.symlink_to(sys.executable)
        self.process = subprocess.Popen([program, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(4)]
        self.silent_1, self.silent_2, self.titled = next(map(int, each.split()) for each in lines if each.strip())
        (folder / ".s.PGSQL.5432.lock").write_text(f"{self.process.pid}\n/data\n1700000000\n5432\n/run\n")
        self.postmaster = Postmaster(folder)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    os.killpg(made.process.pid, signal.SIGKILL)
    made.process.communicate()


def ended(process: int) -> bool:
    """Whether it is a zombie: nobody waits for it here."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_those_who_said_nothing_yet_are_ended_and_nobody_else(server: Server) -> None:
    assert server.postmaster.end_silent() == 2

    while not (ended(server.silent_1) and ended(server.silent_2)):
        pass
    assert not ended(server.titled)
    assert server.process.poll() is None
    assert server.postmaster.end_silent() == 0


@pytest.mark.parametrize("running", [False, True])
def test_patroni_is_ended_only_where_postgresql_has_stopped(tmp_path: Path, running: bool) -> None:
    program = tmp_path / "patroni"
    program.symlink_to(sys.executable)
    patroni = subprocess.Popen([program, "-c", "print(flush=True); import time; time.sleep(60)"], stdout=subprocess.PIPE, text=True)
    assert patroni.stdout is not None
    patroni.stdout.readline()
    processes = tmp_path / "proc"
    processes.mkdir()
    (processes / str(patroni.pid)).symlink_to(f"/proc/{patroni.pid}")
    if running:
        server = Server(tmp_path)
        (processes / str(server.process.pid)).symlink_to(f"/proc/{server.process.pid}")

    assert Postmaster(tmp_path, processes).end_patroni() is not running

    if running:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.communicate()
        assert patroni.poll() is None
        patroni.kill()
    patroni.communicate()
    assert patroni.returncode == -signal.SIGKILL


def test_with_no_server_there_is_nobody_to_end(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".s.PGSQL.5432.lock").unlink()

    assert server.postmaster.end_silent() == 0
    assert not ended(server.silent_1)
