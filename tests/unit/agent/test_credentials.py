"""The certificate that a member streams with: lent, taken away, renewed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from baas_operator.agent.credentials import Credentials

FILES = ("ca.crt", "tls.crt", "tls.key")


class Volume:
    """A Secret's volume as the kubelet writes it: a folder a version, a link that is turned, links to what is behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0
        folder.mkdir()
        for name in FILES:
            (folder / name).symlink_to(f"..data/{name}")
        self.write("first")

    def write(self, text: str) -> None:
        self._versions += 1
        version = self.folder / f"..version-{self._versions}"
        version.mkdir()
        for name in FILES:
            (version / name).write_text(f"{text} {name}")
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")


@pytest.fixture
def source(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


@pytest.fixture
def credentials(source: Volume, target: Path) -> Credentials:
    return Credentials(source.folder, target)


def content(target: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in target.iterdir()}


def test_connecting_puts_all_there_and_the_key_for_its_user_alone(credentials: Credentials, target: Path) -> None:
    assert not credentials.connected

    credentials.connect()

    assert credentials.connected
    assert content(target) == {name: f"first {name}" for name in FILES}
    assert stat.S_IMODE((target / "tls.key").stat().st_mode) == 0o600


def test_disconnecting_takes_the_key_away_and_what_is_no_secret_stays(credentials: Credentials, target: Path) -> None:
    credentials.connect()

    credentials.disconnect()
    credentials.disconnect()

    assert not credentials.connected
    assert set(content(target)) == {"ca.crt", "tls.crt"}


def test_a_renewal_does_not_end_a_fence(credentials: Credentials, source: Volume, target: Path) -> None:
    credentials.connect()
    credentials.disconnect()
    source.write("second")

    assert not credentials.refresh()
    assert not credentials.connected

    credentials.connect()
    assert content(target) == {name: f"second {name}" for name in FILES}


def test_a_renewal_is_taken_over_once(credentials: Credentials, source: Volume, target: Path) -> None:
    credentials.connect()
    assert not credentials.refresh()

    source.write("second")

    assert credentials.refresh()
    assert not credentials.refresh()
    assert content(target) == {name: f"second {name}" for name in FILES}


def test_what_an_agent_that_was_killed_left_half_done_is_in_nobodys_way(credentials: Credentials, target: Path) -> None:
    (target / ".tls.key").write_text("half of")
    (target / ".tls.key").chmod(0o444)

    credentials.connect()

    assert content(target) == {name: f"first {name}" for name in FILES}


def test_certificate_and_key_of_different_versions_are_never_put_together(credentials: Credentials, source: Volume, target: Path) -> None:
    """A key that the kubelet is just replacing: what was there stays, and the next look has the new ones."""
    credentials.connect()
    source.write("second")
    (source.folder / "..data").resolve().joinpath("tls.key").unlink()

    with pytest.raises(OSError, match=r"tls\.key"):
        credentials.refresh()

    assert content(target) == {name: f"first {name}" for name in FILES}


def test_a_source_that_is_not_there_is_an_error_and_no_fence(tmp_path: Path, target: Path) -> None:
    credentials = Credentials(tmp_path / "nothing", target)

    with pytest.raises(OSError, match="nothing"):
        credentials.connect()

    assert not credentials.refresh()
