"""`kubectl baas doctor`: is this cluster fit, and is the operator up?

Asking and judging are apart: the judges in cluster.py and operator.py take plain answers. A question that is not answered
(mostly: not allowed) makes its check a warning and leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from kubectl_baas.cluster import Api
from kubectl_baas.doctor import cluster, operator
from kubectl_baas.doctor.check import Check, Level, fail, warn
from kubectl_baas.errors import PluginError
from kubectl_baas.lease import LEASE, LEASES

__all__ = ["Check", "Level", "examine"]

_APPS = "/apis/apps/v1"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def examine(api: Api, *, namespace: str, operator_namespace: str | None, here: datetime) -> list[Check]:
    """Run all checks. `here` is this machine's clock.

    Raises:
        PluginError: the API server does not answer at all.
    """
    deployments: list[dict[str, Any]] = []
    checks = [cluster.check_version(api.get("/version"))]

    def ask(name: str, check: Callable[[], Check]) -> None:
        try:
            checks.append(check())
        except PluginError as error:
            checks.append(warn(name, f"can not be told: {error}"))

    def deployment() -> Check:
        path = f"{_APPS}/namespaces/{operator_namespace}/deployments" if operator_namespace else f"{_APPS}/deployments"
        deployments.extend(_items(api, path, labelSelector=operator.DEPLOYMENT_LABEL))
        return operator.check_deployment(deployments)

    def clocks() -> Check:
        leases = _items(api, f"{LEASES}/namespaces/kube-node-lease/leases")
        return cluster.check_clocks(api.server_time, here, leases)

    ask("zones", lambda: cluster.check_zones(_items(api, "/api/v1/nodes")))
    ask("storage", lambda: cluster.check_storage(_items(api, "/apis/storage.k8s.io/v1/storageclasses")))
    ask("clocks", clocks)
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    ask("custom resources", lambda: operator.check_crds(_items(api, crds)))
    ask("operator", deployment)
    for each in deployments:
        ask("leader", lambda home=each["metadata"]["namespace"]: _leader(api, home))  # type: ignore[misc]
    ask("your permissions", lambda: operator.check_permissions(_may(api, namespace), namespace))
    ask("pod security", lambda: _pod_security(api, namespace))
    return checks


def _items(api: Api, path: str, **query: str) -> list[dict[str, Any]]:
    items = api.get(path, query).get("items")
    return items if isinstance(items, list) else []


def _leader(api: Api, namespace: str) -> Check:
    try:
        lease = api.get(f"{LEASES}/namespaces/{namespace}/leases/{LEASE}")
    except PluginError as error:
        if error.status != 404:
            raise
        return operator.check_lease(None, api.server_time)
    return operator.check_lease(lease, api.server_time, holder_goes=_goes(api, namespace, operator.holder_of(lease)))


def _goes(api: Api, namespace: str, pod: str | None) -> bool:
    """Whether a pod is gone, or on its way; no where that may not be seen."""
    if pod is None:
        return False
    try:
        return bool(api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")["metadata"].get("deletionTimestamp"))
    except PluginError as error:
        return error.status == 404


def _pod_security(api: Api, namespace: str) -> Check:
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}")
    except PluginError as error:
        if error.status != 404:
            raise
        return fail("pod security", f"there is no namespace {namespace}: create it, or give another with -n.")
    return cluster.check_pod_security(found)


def _may(api: Api, namespace: str) -> dict[tuple[str, str], bool]:
    made = {}
    for verb, kind in operator.VERBS:
        attributes = {"namespace": namespace, "verb": verb, "group": kind.group, "resource": kind.plural}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = api.post(_REVIEWS, review)
        made[(verb, kind.plural)] = bool((answer.get("status") or {}).get("allowed"))
    return made
