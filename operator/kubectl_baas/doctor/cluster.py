"""Is the cluster fit: version, zones, storage, pod security, clocks. Pure: answers of the API server in, checks out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from baas_operator.observe.view import zone_of_node
from kubectl_baas.doctor.check import Check, fail, ok, warn
from kubectl_baas.text import parse_time, plural

Manifest = Mapping[str, Any]

MINIMUM_VERSION = (1, 30)
"""What README.md and the chart promise too. CEL rules of our CRDs need 1.29, for `quantity()` (Kubernetes documentation, "Common
Expression Language in Kubernetes"); what is older than 1.30 is not looked at. The lab runs 1.34."""
WANTED_ZONES = 3
"""A majority survives the loss of one zone only where there are three."""
_SKEW = timedelta(seconds=5)
"""JWT checks and certificates bear this much; the API server's clock is read to whole seconds."""
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_ENFORCE = "pod-security.kubernetes.io/enforce"


def check_version(version: Manifest) -> Check:
    """From GET /version."""
    name = "kubernetes version"
    shown = str(version.get("gitVersion"))
    numbers = re.match(r"v?(\d+)\.(\d+)", shown)
    if numbers is None:
        return warn(name, f"the API server says that its version is {shown}: can not compare it.")
    needed = ".".join(map(str, MINIMUM_VERSION))
    if (int(numbers[1]), int(numbers[2])) < MINIMUM_VERSION:
        return fail(name, f"{shown} is older than {needed}: the CRDs will not be accepted. Upgrade the cluster.")
    return ok(name, f"{shown} ({needed} or newer is needed).")


def check_zones(nodes: Sequence[Manifest]) -> Check:
    """From the list of nodes."""
    name = "zones"
    usable = [node for node in nodes if _schedulable(node)]
    zones = sorted({zone for node in usable if (zone := zone_of_node(dict(node)))})
    unlabelled = sum(1 for node in usable if zone_of_node(dict(node)) is None)
    if not usable:
        return fail(name, "no node is ready and takes pods: add nodes, or uncordon some.")
    if len(zones) < WANTED_ZONES:
        hint = f" {plural(unlabelled, 'node')} without the label topology.kubernetes.io/zone." if unlabelled else ""
        return warn(
            name,
            f"{plural(len(zones), 'zone')} with nodes that take pods: the loss of one can stop databases and queues. "
            f"Add nodes until there are {WANTED_ZONES}, labelled with topology.kubernetes.io/zone.{hint}",
        )
    return ok(name, f"{plural(len(usable), 'node')} that take pods in {plural(len(zones), 'zone')}: {', '.join(zones)}.")


def _schedulable(node: Manifest) -> bool:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    if spec.get("unschedulable"):
        return False
    if any(taint.get("effect") in ("NoSchedule", "NoExecute") for taint in spec.get("taints") or []):
        return False
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or [])


def check_storage(classes: Sequence[Manifest]) -> Check:
    """From the list of StorageClasses."""
    name = "storage"
    defaults = [each for each in classes if (each["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"]
    if not defaults:
        return fail(
            name,
            "there is no default StorageClass: mark one with the annotation "
            f"{_DEFAULT_CLASS}=true, or name one in spec.storage.storageClassName of every object.",
        )
    # Of several defaults Kubernetes takes the newest.
    chosen = max(defaults, key=lambda each: str(each["metadata"].get("creationTimestamp")))
    called = chosen["metadata"]["name"]
    lacks = []
    if chosen.get("volumeBindingMode") != "WaitForFirstConsumer":
        lacks.append(
            "it binds volumes at once, maybe in a zone where their pod can not run (use one with volumeBindingMode WaitForFirstConsumer)"
        )
    if not chosen.get("allowVolumeExpansion"):
        lacks.append("its volumes can not grow (use one with allowVolumeExpansion)")
    if len(defaults) > 1:
        lacks.append(f"there are {len(defaults)} defaults and the newest is taken (leave one)")
    if lacks:
        return warn(name, f"the default StorageClass is {called}: {'; '.join(lacks)}.")
    return ok(name, f"the default StorageClass is {called}: binds late, grows.")


def check_pod_security(namespace: Manifest) -> Check:
    """From a Namespace in which objects of ours are to live."""
    name = "pod security"
    called = namespace["metadata"]["name"]
    level = (namespace["metadata"].get("labels") or {}).get(_ENFORCE)
    if level == "restricted":
        return ok(name, f"namespace {called} enforces restricted, which all pods that the operator makes meet.")
    return ok(
        name,
        f"namespace {called} enforces {level or 'nothing'}; all pods that the operator makes meet restricted, so "
        f"`kubectl label namespace {called} {_ENFORCE}=restricted --overwrite` is possible.",
    )


def check_clocks(server: datetime | None, here: datetime, node_leases: Sequence[Manifest]) -> Check:
    """From the API server's Date header and the Leases that kubelets renew every 10 seconds by their own clocks.

    Only a Lease from the future tells of a clock: one from the past may as well be of a node that is down.
    """
    name = "clocks"
    if server is None:
        return warn(name, "the API server told no time: can not compare clocks.")
    ahead = [
        lease["metadata"]["name"]
        for lease in node_leases
        if (renewed := (lease.get("spec") or {}).get("renewTime")) and parse_time(renewed) - server > _SKEW
    ]
    if ahead:
        return warn(
            name,
            f"the clock of {', '.join(sorted(ahead))} is more than {_SKEW.seconds} s ahead of the API server's: "
            "tokens will be refused and measured times wrong. Run a time service there.",
        )
    if abs(here - server) > _SKEW:
        return warn(
            name,
            f"this machine's clock and the API server's differ by {abs(here - server).total_seconds():.0f} s: "
            "ages that the plugin shows are wrong by as much. Run a time service here.",
        )
    return ok(name, f"this machine and {plural(len(node_leases), 'node')} agree with the API server.")
