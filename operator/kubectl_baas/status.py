"""`kubectl baas status`: ask the API server for our objects and put them together."""

from __future__ import annotations

from typing import Any

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION, Kind
from kubectl_baas.cluster import Api
from kubectl_baas.errors import PluginError
from kubectl_baas.fleet import build_fleet
from kubectl_baas.lease import LEASE, LEASES, observe_operator
from kubectl_baas.views import Fleet, OperatorView


def gather(api: Api, *, namespace: str | None, name: str | None) -> Fleet:
    """The fleet of a namespace, or of all where `namespace` is None.

    Raises:
        PluginError: no connection, no permission, or no object of that name.
    """
    fleet = build_fleet(
        _list(api, BAAS_INSTANCE, namespace),
        _list(api, DATABASE_REPLICA, namespace),
        _list(api, EVENT_QUEUE, namespace),
        _list(api, OPERATION, namespace),
        name=name,
    )
    if name is not None and fleet.empty:
        where = f"namespace {namespace}" if namespace else "any namespace"
        raise PluginError(f"there is no BaasInstance, DatabaseReplica or EventQueue named {name} in {where}.")
    if fleet.empty:
        return fleet
    operator = _operator(api)
    stale = operator is not None and not operator.running
    return fleet.model_copy(update={"operator": operator, "ready": fleet.ready and not stale})


def _operator(api: Api) -> OperatorView | None:
    """None for those who may not see the Lease: it lies in the operator's namespace, and they need nothing there."""
    try:
        leases = api.get(f"{LEASES}/leases", {"fieldSelector": f"metadata.name={LEASE}"}).get("items")
    except PluginError:
        return None
    return observe_operator(leases or [], api.server_time)


def _list(api: Api, kind: Kind, namespace: str | None) -> list[dict[str, Any]]:
    items = api.get(kind.path(namespace)).get("items")
    return items if isinstance(items, list) else []
