"""`kubectl baas rotate`: another signing key, or other passwords, are an Operation, which the operator carries out."""

from __future__ import annotations

from typing import Any

from baas_operator.api.kinds import BAAS_INSTANCE, OPERATION
from baas_operator.api.operation import Action, OperationSpec, Target, TargetKind
from kubectl_baas.cluster import Api
from kubectl_baas.errors import PluginError
from kubectl_baas.operation import manifest


def operation(instance: str, action: Action = Action.ROTATE_KEYS, *, reason: str | None, timeout_seconds: int) -> dict[str, Any]:
    """The Operation that has another key sign, or (`action`) roles have other passwords.

    Raises:
        PluginError: a name is none that an object can have.
    """
    return manifest(
        lambda: OperationSpec(
            target=Target(kind=TargetKind.BAAS_INSTANCE, name=instance), action=action, reason=reason,
            timeout_seconds=timeout_seconds,
        ),
        action.value, "a backend",
    )  # fmt: skip


def create(api: Api, namespace: str, made: dict[str, Any]) -> dict[str, Any]:
    """Create it, once it is sure that there is such a backend: an Operation on a typing error helps nobody.

    Raises:
        PluginError: there is not.
    """
    name = made["spec"]["target"]["name"]
    try:
        api.get(BAAS_INSTANCE.path(namespace, name))
    except PluginError as error:
        if error.status == 404:
            raise PluginError(f"there is no BaasInstance {name} in namespace {namespace}.", status=404) from error
        raise
    return api.post(OPERATION.path(namespace), made)
