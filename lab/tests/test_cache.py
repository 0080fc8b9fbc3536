"""A cache entry is either complete or not there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from baas_lab.cache import Cache, default_root


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def test_it_is_empty_until_something_is_built(cache: Cache) -> None:
    assert cache.empty
    cache.path(".building-tool-1").mkdir(parents=True)
    assert cache.empty
    cache.ensure("tool-1", lambda target: target.mkdir())
    assert not cache.empty


def test_an_entry_is_built_once(cache: Cache) -> None:
    calls = []

    def build(target: Path) -> None:
        calls.append(target)
        target.write_text("done")

    first, second = cache.ensure("tool-1/tool", build), cache.ensure("tool-1/tool", build)
    assert first == second == cache.path("tool-1/tool")
    assert first.read_text() == "done"
    assert len(calls) == 1


def test_another_version_is_another_entry(cache: Cache) -> None:
    for version in ("1", "2"):
        cache.ensure(f"tool-{version}", lambda target, version=version: target.write_text(version) and None)  # type: ignore[misc]
    assert cache.path("tool-1").read_text() == "1"
    assert cache.path("tool-2").read_text() == "2"


def test_a_failed_build_leaves_nothing_and_can_be_repeated(cache: Cache) -> None:
    def fail(target: Path) -> None:
        target.mkdir()
        (target / "half").write_text("")
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        cache.ensure("tool", fail)
    assert not cache.has("tool")
    cache.ensure("tool", lambda target: target.mkdir())
    assert not list(cache.path("tool").iterdir())


def test_what_a_killed_build_left_behind_is_replaced(cache: Cache) -> None:
    left_behind = cache.path("tool").with_name(".building-tool")
    left_behind.mkdir(parents=True)
    (left_behind / "half").write_text("")
    cache.ensure("tool", lambda target: target.mkdir())
    assert not list(cache.path("tool").iterdir())
    assert not left_behind.exists()


def test_two_at_once_build_once(cache: Cache) -> None:
    building, go_on = threading.Event(), threading.Event()
    calls = []

    def build(target: Path) -> None:
        calls.append(target)
        building.set()
        assert go_on.wait(5)
        target.write_text("")

    first = threading.Thread(target=cache.ensure, args=("tool", build))
    first.start()
    assert building.wait(5)
    second = threading.Thread(target=cache.ensure, args=("tool", build))
    second.start()
    go_on.set()
    first.join(5)
    second.join(5)
    assert len(calls) == 1


def test_the_place_follows_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_root() == Path("/somewhere/baas-lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_root() == Path("/home/someone/.cache/baas-lab")
