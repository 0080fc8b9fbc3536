"""Is the operator there, and may the caller use it: CRDs, Deployment, Lease, permissions. Pure, as in cluster.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from baas_operator.api.crd import all_crds
from baas_operator.api.group import VERSION
from baas_operator.api.kinds import OWN_KINDS, OwnKind
from kubectl_baas.doctor.check import Check, fail, ok, warn
from kubectl_baas.lease import lasts, renewed_at
from kubectl_baas.text import age

Manifest = Mapping[str, Any]

APPLY_CRDS = "`kubectl apply --server-side --force-conflicts -f crds/`"
"""Forced: Helm, which installed them, never upgrades them, yet counts as the owner of their fields."""
DEPLOYMENT_LABEL = "app.kubernetes.io/name=baas-operator"
VERBS: tuple[tuple[str, OwnKind], ...] = (
    *(("list", kind) for kind in OWN_KINDS),
    *(("create", kind) for kind in OWN_KINDS),
)
"""What the plugin's commands, and its users, do most."""


def check_crds(installed: Sequence[Manifest]) -> Check:
    """From the list of CRDs: are ours there, and do they say what this plugin's models say?"""
    name = "custom resources"
    there = {each["metadata"]["name"]: each for each in installed}
    ours = {crd["metadata"]["name"]: crd for crd in all_crds().values()}
    missing = sorted(set(ours) - set(there))
    if missing:
        return fail(name, f"not installed: {', '.join(missing)}. Install the chart, or {APPLY_CRDS}.")
    for called, crd in ours.items():
        where = difference(_schema(crd), _schema(there[called]))
        if where is not None:
            return warn(
                name,
                f"{called} is not of this plugin's version: they differ at {where or 'the top'}. Upgrade the older of them; "
                f"for the CRDs {APPLY_CRDS}.",
            )
    return ok(name, f"all {len(ours)} are installed and of this plugin's version.")


def _schema(crd: Manifest) -> Any:
    for each in crd["spec"]["versions"]:
        if each["name"] == VERSION:
            return each["schema"]["openAPIV3Schema"]
    return None


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Path of the first place where two schemas differ, None where they are the same. What is empty is as good as absent: the
    API server drops it."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            found = difference(one.get(key), other.get(key), f"{path}.{key}" if path else key)
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            found = difference(left, right, f"{path}[{index}]")
            if found is not None:
                return found
        return None
    same = one == other or (one in ({}, [], None) and other in ({}, [], None))
    return None if same else path


def check_deployment(deployments: Sequence[Manifest]) -> Check:
    """From the Deployments that carry the chart's label."""
    name = "operator"
    if not deployments:
        return fail(
            name,
            f"no Deployment with the label {DEPLOYMENT_LABEL}: install the chart baas-operator, or say where it is with "
            "--operator-namespace.",
        )
    if len(deployments) > 1:
        found = ", ".join(sorted(f"{d['metadata']['namespace']}/{d['metadata']['name']}" for d in deployments))
        return warn(name, f"there are several: {found}. See that they do not watch the same namespaces.")
    metadata = deployments[0]["metadata"]
    wanted = (deployments[0].get("spec") or {}).get("replicas", 1)
    ready = (deployments[0].get("status") or {}).get("readyReplicas") or 0
    shown = f"{ready} of {wanted} replicas of {metadata['namespace']}/{metadata['name']} are ready"
    look = f"`kubectl -n {metadata['namespace']} describe pods -l {DEPLOYMENT_LABEL}`"
    if wanted == 0:
        return fail(
            name,
            f"{metadata['namespace']}/{metadata['name']} is scaled to 0: nothing is repaired or changed, though what runs goes on. "
            f"Run `kubectl -n {metadata['namespace']} scale deployment {metadata['name']} --replicas=2`.",
        )
    if ready == 0:
        return fail(name, f"{shown}: nothing is repaired or changed, though what runs goes on. See {look}.")
    if ready < wanted or ready < 2:
        return warn(name, f"{shown}: the loss of one more leaves none. See {look}.")
    return ok(name, f"{shown}.")


def holder_of(lease: Manifest | None) -> str | None:
    """Name of the pod that holds a Lease."""
    return ((lease or {}).get("spec") or {}).get("holderIdentity") or None


def check_lease(lease: Manifest | None, now: datetime | None, *, holder_goes: bool = False) -> Check:
    """From the Lease that the working replica renews. `now` is the API server's clock; `holder_goes`: its pod is gone, or going."""
    name = "leader"
    holder, renewed = holder_of(lease), renewed_at(lease or {})
    if lease is None or not holder or not renewed:
        return fail(name, "no replica of the operator holds its Lease: none works. See its logs.")
    if holder_goes:
        return fail(name, f"the pod {holder}, which holds the Lease, is gone or going, and no other has taken it over yet. Look again.")
    if now is None:
        return warn(name, f"{holder} holds the Lease; without the API server's time its age is not known.")
    if now - renewed > lasts(lease):
        return fail(
            name,
            f"{holder} last renewed the Lease {age(renewed.isoformat(), now)} ago, {lasts(lease).seconds} s are allowed: "
            "none works. See its logs.",
        )
    return ok(name, f"{holder} holds the Lease and renews it.")


def check_permissions(allowed: Mapping[tuple[str, str], bool], namespace: str) -> Check:
    """From SelfSubjectAccessReviews: (verb, plural) -> may the caller do that in the namespace."""
    name = "your permissions"
    denied = [f"{verb} {plural}" for (verb, plural), may in allowed.items() if not may]
    unseen = [each for each in denied if each.startswith("list ")]
    ask = "Ask for the ClusterRole baas-operator-edit (or -view to look only)."
    if unseen:
        return fail(name, f"in namespace {namespace} you may not {', '.join(denied)}. {ask}")
    if denied:
        return warn(name, f"in namespace {namespace} you may look, but not {', '.join(denied)}. {ask}")
    return ok(name, f"you may see and create all kinds in namespace {namespace}.")
