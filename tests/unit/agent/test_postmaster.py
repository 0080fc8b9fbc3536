"""Clients that have connected and say nothing do not hold a shutdown up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from baas_operator.agent.postmaster import Postmaster

# As PostgreSQL has it: a child keeps its parent's title until its client has said who it is. `exec` gives the other a title of its own.
_PROGRAM = """
import os, sys, time
def child(titled):
    pid = os.fork()
    if pid:
        return pid
    if titled:
        os.execv(sys.executable, ["postgres: main: checkpointer", "-c", "import time; time.sleep(60)"])
    time.sleep(60)
    os._exit(0)
children = [child(False), child(False), child(True)]
sys.stdout.write("%d %d %d\\n" % tuple(children))
sys.stdout.flush()
time.sleep(60)
"""


class Server:
    """A process tree with PostgreSQL's names."""

    def __init__(self, folder: Path) -> None:
        program = folder / "postgres"
        program.symlink_to(sys.executable)
        self.process = subprocess.Popen([program, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        self.silent_1, self.silent_2, self.titled = map(int, self.process.stdout.readline().split())
        while not Path(f"/proc/{self.titled}/cmdline").read_bytes().startswith(b"postgres: "):
            time.sleep(0.01)
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
    assert server.postmaster.silent() == {server.silent_1, server.silent_2}

    server.postmaster.end([server.silent_1, server.silent_2, server.titled])

    while not (ended(server.silent_1) and ended(server.silent_2)):
        time.sleep(0.01)
    assert not ended(server.titled)
    assert server.process.poll() is None
    assert server.postmaster.silent() == set()


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

    assert server.postmaster.silent() == set()
    server.postmaster.end([server.silent_1])
    assert not ended(server.silent_1)
