"""The lab's configuration is the repository's, plus what it needs, and never less."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from baas_lab import kind_config
from baas_lab.kind_config import Config, Variant


def variant(name: str = kind_config.DEFAULT_NAME, *, own_pod_network: bool = True, restricted: bool = True) -> Config:
    base = kind_config.load()
    names = kind_config.node_names(base, name)
    volumes = {node: Path("/volumes") / node for node in names}
    settings = Variant(name, "an/image:1", Path("/policy.yaml"), volumes, own_pod_network, restricted)
    return kind_config.lab_variant(base, settings)


def test_the_repository_has_a_worker_in_each_of_three_zones_of_one_region() -> None:
    workers = [node for node in kind_config.load()["nodes"] if node["role"] == "worker"]
    labels = [node["labels"] for node in workers]
    assert [each["topology.kubernetes.io/zone"] for each in labels] == ["zone-a", "zone-b", "zone-c"]
    assert len({each["topology.kubernetes.io/region"] for each in labels}) == 1


def test_the_repository_publishes_node_ports_on_loopback_only() -> None:
    control_plane = kind_config.load()["nodes"][0]
    ports = {mapping["containerPort"]: mapping for mapping in control_plane["extraPortMappings"]}
    assert set(ports) == {30080, 30432, 30422}
    assert {mapping["listenAddress"] for mapping in ports.values()} == {"127.0.0.1"}


def test_an_ordinary_machine_needs_nothing_of_the_lab() -> None:
    config = kind_config.load()
    assert "networking" not in config
    assert "featureGates" not in config


def test_names_are_those_that_kind_gives() -> None:
    names = kind_config.node_names({"nodes": [{"role": "control-plane"}, {"role": "worker"}, {"role": "worker"}]}, "x")
    assert names == ["x-control-plane", "x-worker", "x-worker2"]


def test_nodes_keep_their_labels_and_get_a_volume_each() -> None:
    config = variant()
    for before, after in zip(kind_config.load()["nodes"], config["nodes"], strict=True):
        assert after.get("labels") == before.get("labels")
        assert after["image"] == "an/image:1"
    paths = [mount["hostPath"] for node in config["nodes"] for mount in node["extraMounts"] if mount["containerPath"].startswith("/var")]
    assert len(set(paths)) == len(config["nodes"])


def test_the_base_is_left_alone() -> None:
    assert kind_config.load() == yaml.safe_load(kind_config.source().read_text())
    base = kind_config.load()
    names = kind_config.node_names(base, "x")
    kind_config.lab_variant(base, Variant("x", "i", Path("p"), {name: Path("v") for name in names}, True, True))
    assert base == kind_config.load()


@pytest.mark.parametrize("own_pod_network", [True, False])
def test_only_the_labs_own_image_goes_without_kindnet(own_pod_network: bool) -> None:
    networking = variant(own_pod_network=own_pod_network)["networking"]
    assert networking.get("disableDefaultCNI", False) is own_pod_network


@pytest.mark.parametrize("restricted", [True, False])
def test_the_feature_gate_is_set_where_capabilities_lack(restricted: bool) -> None:
    assert variant(restricted=restricted).get("featureGates", {}).get("KubeletInUserNamespace", False) is restricted


def test_a_second_cluster_takes_any_free_ports() -> None:
    ports = [mapping["hostPort"] for mapping in variant("second")["nodes"][0]["extraPortMappings"]]
    assert ports == [kind_config.ANY_FREE_PORT] * 3
    ports = [mapping["hostPort"] for mapping in variant()["nodes"][0]["extraPortMappings"]]
    assert ports == [30080, 30432, 30422]


def test_the_audit_log_is_bounded_and_its_policy_is_mounted() -> None:
    config = variant()
    patch = yaml.safe_load(config["kubeadmConfigPatches"][-1])
    arguments = patch["apiServer"]["extraArgs"]
    assert int(arguments["audit-log-maxsize"]) <= 20
    assert int(arguments["audit-log-maxbackup"]) <= 2
    mounted = [mount["containerPath"] for mount in config["nodes"][0]["extraMounts"]]
    assert arguments["audit-policy-file"] in mounted
