"""Small pure parts: names, versions, capabilities, durations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from baas_lab import bases, binaries, cluster, node_image, versions
from baas_lab.binaries import BUILDS, BY_PROGRAM, CNI_PROGRAMS, HOST_TOOLS, NODE_PROGRAMS
from baas_lab.cache import Cache
from baas_lab.cli import app
from baas_lab.cluster import ready_since
from baas_lab.files import runc_without_sys_resource as wrapper
from baas_lab.images import full_name
from baas_lab.operand_recipes import fetch
from baas_lab.progress import elapsed
from baas_lab.system import lacks_sys_resource


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nats", "docker.io/library/nats:latest"),
        ("nats:2.14.10", "docker.io/library/nats:2.14.10"),
        ("postgrest/postgrest:v12", "docker.io/postgrest/postgrest:v12"),
        ("localhost/mine:1", "localhost/mine:1"),
        ("example.org:5000/mine", "example.org:5000/mine:latest"),
        ("example.org/a/b:1", "example.org/a/b:1"),
    ],
)
def test_references_are_written_as_containerd_writes_them(given: str, expected: str) -> None:
    assert full_name(given) == expected


@pytest.mark.parametrize(("mask", "lacks"), [("000001ffffffffff", False), ("000001fffeffffff", True)])
def test_the_capability_is_read_from_the_bounding_set(tmp_path: Path, mask: str, lacks: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t{mask}\n")
    assert lacks_sys_resource(status) is lacks


def test_a_shell_that_selects_the_lab_finds_the_plugin_last(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = SimpleNamespace(bin="/lab/bin", environment={"KUBECONFIG": "/lab/kubeconfig", "PATH": "/lab/bin:/usr/bin"})
    monkeypatch.setattr(cluster, "running", lambda name: lab)
    monkeypatch.setattr(sys, "executable", "/checkout/.venv/bin/python")
    said = CliRunner().invoke(app, ["env"]).stdout.splitlines()
    assert said == ['export KUBECONFIG="/lab/kubeconfig"', 'export PATH="/lab/bin:$PATH:/checkout/.venv/bin"']


def test_every_program_has_a_build_and_every_build_a_version() -> None:
    for program in (*HOST_TOOLS, *NODE_PROGRAMS, *CNI_PROGRAMS, "kind", "coredns", "pause"):
        assert BY_PROGRAM[program].version
    assert len({build.key for build in BUILDS}) == len(BUILDS)


def test_programs_of_a_pinned_module_have_their_sums() -> None:
    folder = Path(binaries.__file__).parent / "files/go"
    assert f"k8s.io/kubernetes v{versions.KUBERNETES} " in (folder / "kubernetes/go.mod").read_text()
    assert f"k8s.io/kubernetes v{versions.KUBERNETES} h1:" in (folder / "kubernetes/go.sum").read_text()
    assert f"go.etcd.io/etcd/server/v3 v{versions.ETCD} h1:" in (folder / "etcd/go.sum").read_text()


def test_the_folder_of_programs_changes_with_their_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = binaries.folder(Cache(tmp_path))
    monkeypatch.setattr(binaries, "BUILDS", BUILDS[1:])
    assert binaries.folder(Cache(tmp_path)) != before


def test_the_node_image_changes_with_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = node_image.recipe_digest()
    assert node_image.recipe_digest() == before
    monkeypatch.setattr(node_image, "RECIPE", node_image.RECIPE + 1)
    assert node_image.recipe_digest() != before


def test_wheels_are_fetched_anew_for_another_python_or_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    monkeypatch.setattr(fetch, "_pip_download", lambda *arguments: fetched.append(arguments))
    first = fetch.wheelhouse(Cache(tmp_path), "x==1")
    assert fetch.wheelhouse(Cache(tmp_path), "x==1") == first
    monkeypatch.setattr(fetch, "IMAGE_PYTHON", "3.99")
    other_python = fetch.wheelhouse(Cache(tmp_path), "x==1")
    monkeypatch.setattr(fetch.platform, "machine", lambda: "riscv64")
    other_machine = fetch.wheelhouse(Cache(tmp_path), "x==1")
    assert len({first, other_python, other_machine, fetch.wheelhouse(Cache(tmp_path), "x==2")}) == 4
    assert len(fetched) == 4
    assert {"3.99", "--platform=manylinux2014_riscv64"} <= set(fetched[-1])


def test_base_images_know_security_updates() -> None:
    text = bases.sources("bookworm")
    assert "Suites: bookworm bookworm-updates\n" in text
    assert "Suites: bookworm-security\n" in text


def test_the_wrapper_takes_out_one_capability_and_negative_scores() -> None:
    process = {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "ambient": None}, "oomScoreAdj": -999}
    wrapper.without_capability(process)
    assert process == {"capabilities": {"bounding": ["CAP_CHOWN"], "ambient": []}, "oomScoreAdj": 0}


def test_the_wrapper_edits_whole_specifications_and_single_processes(tmp_path: Path) -> None:
    process = {"capabilities": {"bounding": ["CAP_SYS_RESOURCE"]}}
    for name, content, whole in (("config.json", {"process": process}, True), ("process.json", process, False)):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        wrapper.edit(str(path), whole_spec=whole)
        assert "CAP_SYS_RESOURCE" not in path.read_text()


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (12.2, "12 s"), (185, "3 min 05 s")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def node_object(ready: str) -> dict[str, object]:
    conditions = [
        {"type": "DiskPressure", "status": "False"},
        {"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-02T03:04:05Z"},
    ]
    return {"status": {"conditions": conditions}}


def test_a_node_is_ready_since_its_last_report() -> None:
    assert ready_since(node_object("True")) == "2026-01-02T03:04:05"
    assert ready_since(node_object("Unknown")) == ""
    assert ready_since({"status": {}}) == ""
    assert ready_since(node_object("True")) > "2026-01-02T03:04:04.999999999Z"[:19]
