"""Fixed addresses, and the file that each node makes its routes from."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from pathlib import Path

import pytest

from baas_lab import host_network, network
from baas_lab.docker import Docker
from baas_lab.errors import CommandError

NODES = ["lab-control-plane", "lab-worker", "lab-worker2"]
FIXED = {"lab-control-plane": "172.30.87.10", "lab-worker": "172.30.87.11", "lab-worker2": "172.30.87.12"}
RANGES = {"lab-control-plane": "10.244.0.0/24", "lab-worker": "10.244.2.0/24", "lab-worker2": "10.244.1.0/24"}


def test_addresses_are_fixed_and_outside_of_what_docker_gives_by_itself() -> None:
    for candidate in network.SUBNETS:
        subnet = ipaddress.IPv4Network(candidate)
        given = network.addresses(subnet, [f"node{number}" for number in range(20)])
        assert len(set(given.values())) == 20
        upper = list(subnet.subnets())[1]
        assert not [address for address in given.values() if ipaddress.IPv4Address(address) in upper]


def test_a_node_routes_to_every_other_node_and_not_to_itself() -> None:
    lines = network.pod_network_file("lab-worker", "10.244.0.0/16", RANGES, FIXED).splitlines()
    assert lines == [
        "cluster 10.244.0.0/16",
        "self 10.244.2.0/24",
        "peer 10.244.0.0/24 172.30.87.10",
        "peer 10.244.1.0/24 172.30.87.12",
    ]


def test_a_range_that_the_machine_routes_elsewhere_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "br-1\t00571EAC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"  # 172.30.87.0/24
        "vpn0\t00001DAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"  # 172.29.0.0/16
    )
    assert [str(each) for each in network.routed(table.read_text())] == ["172.30.87.0/24", "172.29.0.0/16"]
    monkeypatch.setattr(network, "ROUTES", table)
    asked: list[tuple[str, ...]] = []

    class Recording(Docker):
        def run(self, *args: str | Path, **_: object) -> str:
            asked.append(tuple(str(arg) for arg in args))
            if "inspect" in args:
                raise CommandError("no such network", returncode=1, output="")
            return ""

    assert str(network.ensure_network(Recording(), "lab")) == "172.28.87.0/24"
    assert [args[3] for args in asked if "create" in args] == ["172.28.87.0/24"]


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `docker` that kind gets, in front of one that prints its arguments."""
    real = tmp_path / "real/docker"
    real.parent.mkdir()
    real.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    real.chmod(0o755)
    monkeypatch.setenv("PATH", f"{real.parent}{os.pathsep}{os.environ['PATH']}")
    return network.docker_with_addresses(tmp_path / "shim", FIXED) / "docker"


def said(shim: Path, *args: str) -> list[str]:
    return subprocess.run([shim, *args], capture_output=True, text=True, check=True).stdout.splitlines()


def test_kind_runs_its_nodes_at_their_addresses(shim: Path) -> None:
    given = said(shim, "run", "--name", "lab-worker2", "--label", "two words", "image")
    assert given == ["run", "--ip", "172.30.87.12", "--name", "lab-worker2", "--label", "two words", "image"]


def test_everything_else_goes_to_docker_as_it_is(shim: Path) -> None:
    for words in (["run", "--name", "other", "image"], ["run", "image"], ["ps", "--all"], ["exec", "lab-worker", "run"]):
        assert said(shim, *words) == words


@pytest.mark.parametrize(
    ("rule", "dockers"),
    [
        ("-A FORWARD -j DOCKER-USER", True),
        ("-A DOCKER-ISOLATION-STAGE-1 -j RETURN", True),
        ("-A FORWARD -i docker0 ! -o docker0 -j ACCEPT", True),
        ("-A POSTROUTING -s 172.18.0.0/16 ! -o br-999f61d63adb -j MASQUERADE", True),
        ("-N DOCKER", False),
        ("-A FORWARD -i br-lan -j ACCEPT", False),
        ("-A INPUT -p tcp --dport 22 -j ACCEPT", False),
    ],
)
def test_only_dockers_own_rules_are_removed_from_the_machine(rule: str, dockers: bool) -> None:
    assert host_network.is_dockers(rule) is dockers
