"""PostgreSQL is told of a new server certificate."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from baas_operator.agent.postmaster import Postmaster
from baas_operator.agent.reload import ServerCertificate
from tests.unit.agent.test_credentials import Volume


class World:
    """A member's volumes, and whom the agent signals."""

    def __init__(self, folder: Path) -> None:
        self.source = Volume(folder / "server-tls")
        self.sockets, self.processes = folder / "run", folder / "proc"
        self.sockets.mkdir()
        self.told: list[tuple[int, int]] = []
        self.certificate = ServerCertificate(self.source.folder, Postmaster(self.sockets, self.processes))

    def start(self, process: int = 40, name: str = "postgres") -> None:
        (self.sockets / ".s.PGSQL.5432.lock").write_text(f"{process}\n/data\n1700000000\n5432\n/run\n")
        (self.processes / str(process)).mkdir(parents=True, exist_ok=True)
        (self.processes / str(process) / "comm").write_text(f"{name}\n")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(os, "kill", lambda process, number: made.told.append((process, number)))
    return made


def test_it_is_told_once_a_certificate(world: World) -> None:
    world.start()
    assert world.certificate.look(), "an agent that starts does not know what was loaded"
    assert not world.certificate.look()

    world.source.write("second")

    assert world.certificate.look()
    assert not world.certificate.look()
    assert world.told == [(40, signal.SIGHUP)] * 2


def test_one_that_starts_just_now_is_told_when_it_runs(world: World) -> None:
    """It may have read the files a moment before they changed."""
    assert not world.certificate.look()

    world.start()

    assert world.certificate.look()


@pytest.mark.parametrize(("process", "name"), [(40, "python"), (1, "postgres"), (0, "postgres"), (-1, "postgres")])
def test_nobody_else_is_signalled(world: World, process: int, name: str) -> None:
    """A lock file outlives a crash, and numbers of processes are used again."""
    world.start(process, name)

    assert not world.certificate.look()
    assert world.told == []


def test_one_that_ends_just_now_is_no_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: int) -> None:
        raise ProcessLookupError

    world.start()
    monkeypatch.setattr(os, "kill", gone)

    assert not world.certificate.look()


def test_a_lock_file_without_a_number_is_no_error(world: World) -> None:
    world.start()
    (world.sockets / ".s.PGSQL.5432.lock").write_text("")

    assert not world.certificate.look()
