"""The official SDK, unchanged, against two servers: what it does at one is seen at the other."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.backend.parse.conftest import Rig
from tests.backend.parse.harness import CLIENTS, KEYS, client_packages
from tests.harness import stories

ALL = {"CLOUD_CODE": "yes", "FILES": "yes"}


def node(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the client; its packages are beside a copy of it, as Node looks for them there."""
    here = folder / "client"
    if not here.exists():
        here.mkdir()
        (here / "node_modules").symlink_to(client_packages())
    (here / "parse.mjs").write_bytes((CLIENTS / "parse.mjs").read_bytes())
    return subprocess.run(
        ["node", "--no-warnings", "parse.mjs", *words], cwd=here, env={"PATH": os.environ["PATH"], **environment}, text=True,
        capture_output=True, timeout=180, check=False,
    )  # fmt: skip


def client_environment(rig: Rig) -> dict[str, str]:
    one, other = rig.servers[:2]
    return {
        "URL": one.url, "OTHER_URL": other.url, "APP_ID": "shop",
        "JAVASCRIPT_KEY": KEYS["javascriptKey"], "MASTER_KEY": KEYS["masterKey"], **ALL,
    }  # fmt: skip


def test_all_stories_are_played(tmp_path: Path) -> None:
    assert node(tmp_path, ALL).stdout.splitlines() == stories.PARSE


@pytest.mark.parametrize("story", stories.PARSE)
def test_a_story(backend: Rig, story: str) -> None:
    said = node(backend.folder, client_environment(backend), story)

    assert said.returncode == 0, f"{story}:\n{said.stderr}\n{backend.servers[0].said[-2000:]}"


def test_the_scenario_goes_on_while_a_cache_is_lost_and_comes_back(backend: Rig, figure: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(1) as one:
        told = one.submit(node, backend.folder, client_environment(backend), "--loop", "12")
        time.sleep(4)  # it is well under way
        backend.caches[1].kill()
        time.sleep(3)
        backend.caches[1].start()
        said = told.result()
    assert said.returncode == 0, said.stderr
    counted = json.loads(said.stdout)

    assert counted["requests"] > 50
    assert (counted["failed"], counted["attemptsFailed"], counted["eventsMissed"]) == (0, 0, 0), counted
    figure(
        f"{counted['requests']} requests, {counted['events']} events, none lost while one of two caches was away: {counted['milliseconds']}"
    )
