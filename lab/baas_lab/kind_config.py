"""The lab's kind configuration: `kind-config.yaml` of the repository, plus what only the lab needs. Pure."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from baas_lab.errors import LabError

Config = dict[str, Any]

DEFAULT_NAME = "baas-lab"
POD_SUBNET = "10.244.0.0/16"
VOLUMES_IN_NODE = "/var/local-path-provisioner"  # where kind's default storage class keeps volumes
AUDIT_POLICY_IN_NODE = "/etc/lab/audit-policy.yaml"
AUDIT_LOG_IN_NODE = "/var/log/kubernetes/audit.log"
AUDIT_LOG_MEBIBYTES = 20  # each; one current and two older files at most

ANY_FREE_PORT = 0


@dataclass(frozen=True)
class Variant:
    """What the lab's cluster has that a plain one has not."""

    name: str
    image: str
    audit_policy: Path  # on the host
    volumes: dict[str, Path]  # node name → folder on the host
    own_pod_network: bool  # the node image is the lab's: no kindnet in it
    restricted: bool  # the machine lacks capabilities that a kubelet uses by default


def source() -> Path:
    """`kind-config.yaml` at the top of the repository that this package belongs to. Raises LabError."""
    path = Path(__file__).resolve().parents[2] / "kind-config.yaml"
    if not path.exists():
        raise LabError(f"{path} is missing.", hint="Run the lab from a checkout of the repository.")
    return path


def load() -> Config:
    """The repository's configuration, as data."""
    config: Config = yaml.safe_load(source().read_text())
    return config


def node_names(config: Config, name: str) -> list[str]:
    """The containers that kind will make, in the configuration's order: NAME-control-plane, NAME-worker, NAME-worker2…"""
    seen: dict[str, int] = {}
    names = []
    for node in config["nodes"]:
        role = node.get("role", "control-plane")
        seen[role] = seen.get(role, 0) + 1
        names.append(f"{name}-{role}{seen[role] if seen[role] > 1 else ''}")
    return names


def lab_variant(base: Config, variant: Variant) -> Config:
    """The configuration of the lab's cluster; `base` is left alone."""
    config = copy.deepcopy(base)
    config["name"] = variant.name
    networking = config.setdefault("networking", {})
    networking["podSubnet"] = POD_SUBNET
    if variant.own_pod_network:
        networking["disableDefaultCNI"] = True
    if variant.restricted:
        config.setdefault("featureGates", {})["KubeletInUserNamespace"] = True
    config["kubeadmConfigPatches"] = [*config.get("kubeadmConfigPatches", []), audit_patch()]
    for node, container in zip(config["nodes"], node_names(config, variant.name), strict=True):
        node["image"] = variant.image
        mounts = node.setdefault("extraMounts", [])
        mounts.append({"hostPath": str(variant.volumes[container]), "containerPath": VOLUMES_IN_NODE})
        if node["role"] == "control-plane":
            mounts.append({"hostPath": str(variant.audit_policy), "containerPath": AUDIT_POLICY_IN_NODE, "readOnly": True})
        if variant.name != DEFAULT_NAME:  # a second cluster cannot have the same ports of the machine
            for mapping in node.get("extraPortMappings", []):
                mapping["hostPort"] = ANY_FREE_PORT
    return config


def audit_patch() -> str:
    """Makes the API server write its audit log, bounded in size, inside the control plane node."""
    log_folder = AUDIT_LOG_IN_NODE.rsplit("/", 1)[0]
    patch = {
        "kind": "ClusterConfiguration",
        "apiServer": {
            "extraArgs": {
                "audit-policy-file": AUDIT_POLICY_IN_NODE,
                "audit-log-path": AUDIT_LOG_IN_NODE,
                "audit-log-maxsize": str(AUDIT_LOG_MEBIBYTES),
                "audit-log-maxbackup": "2",
            },
            "extraVolumes": [
                {
                    "name": "audit-policy",
                    "hostPath": AUDIT_POLICY_IN_NODE,
                    "mountPath": AUDIT_POLICY_IN_NODE,
                    "readOnly": True,
                    "pathType": "File",
                },
                {
                    "name": "audit-log",
                    "hostPath": log_folder,
                    "mountPath": log_folder,
                    "pathType": "DirectoryOrCreate",
                },
            ],
        },
    }
    return yaml.safe_dump(patch, sort_keys=False)
