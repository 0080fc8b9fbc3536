"""`kubectl baas switchover`: the Operation that it asks for."""

from __future__ import annotations

from typing import Any

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, OPERATION
from baas_operator.api.operation import Action, OperationSpec, Parameters, Target
from kubectl_baas.cluster import Api
from kubectl_baas.errors import PluginError
from kubectl_baas.fleet import database_of
from kubectl_baas.operation import manifest


def operation(database: str, *, to: str | None, timeout_seconds: int) -> dict[str, Any]:
    """The Operation that asks for a switchover.

    Raises:
        PluginError: a name is none that an object can have.
    """
    return manifest(
        lambda: OperationSpec(
            target=Target(name=database), action=Action.SWITCHOVER, parameters=Parameters(to=to), timeout_seconds=timeout_seconds
        ),
        "switchover", "a database or a member",
    )  # fmt: skip


def create(api: Api, namespace: str, database: str, *, to: str | None, timeout_seconds: int) -> dict[str, Any]:
    """Create it, once it is sure that there is such a database: an Operation on a typing error helps nobody."""
    made = operation(database, to=to, timeout_seconds=timeout_seconds)
    try:
        api.get(DATABASE_REPLICA.path(namespace, database))
    except PluginError as error:
        if error.status == 404:
            hint = _hint(api, namespace, database)
            raise PluginError(f"there is no DatabaseReplica {database} in namespace {namespace}.{hint}", status=404) from error
        raise
    return api.post(OPERATION.path(namespace), made)


def _hint(api: Api, namespace: str, name: str) -> str:
    """Which database is meant by somebody who gave the name of a backend; empty when there is none, or it may not be seen."""
    try:
        used = database_of(api.get(BAAS_INSTANCE.path(namespace, name)))
    except PluginError:
        return ""
    return f" BaasInstance {name} uses {used}: `kubectl baas switchover {used} -n {namespace}`."
