"""What a killed node left frozen is let go of, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from baas_lab.freezer import thaw


@pytest.mark.parametrize(("name", "frozen", "free"), [("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0")])
def test_frozen_control_groups_of_the_containers_are_thawed(tmp_path: Path, name: str, frozen: str, free: str) -> None:
    states = {"docker/593204286e58aa/pods/a": frozen, "docker/593204286e58aa/pods": free, "docker/254cb79b44ea00": frozen}
    for path, state in states.items():
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / name).write_text(f"{state}\n")

    assert thaw(["593204286e58"], tmp_path) == 1

    assert {path: (tmp_path / path / name).read_text().strip() for path in states} == states | {"docker/593204286e58aa/pods/a": free}


def test_without_control_groups_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert thaw(["593204286e58"], tmp_path / "none") == 0
