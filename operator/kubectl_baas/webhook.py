"""`kubectl baas webhook`: what is done to a webhook is an Operation, which the operator carries out."""

from __future__ import annotations

from typing import Any

from baas_operator.api.kinds import OPERATION
from baas_operator.api.operation import Action, OperationSpec, Parameters, Target, TargetKind
from kubectl_baas.cluster import Api
from kubectl_baas.errors import PluginError
from kubectl_baas.operation import manifest, queue_spec


def operation(queue: str, webhook: str, *, timeout_seconds: int) -> dict[str, Any]:
    """The Operation that enables a webhook again.

    Raises:
        PluginError: a name is none that an object can have.
    """
    return manifest(
        lambda: OperationSpec(
            target=Target(kind=TargetKind.EVENT_QUEUE, name=queue),
            action=Action.ENABLE_WEBHOOK,
            parameters=Parameters(webhook=webhook),
            timeout_seconds=timeout_seconds,
        ),
        "enable", "a queue or a webhook",
    )  # fmt: skip


def create(api: Api, namespace: str, made: dict[str, Any]) -> dict[str, Any]:
    """Create it, once it is sure that there is such a queue and webhook: an Operation on a typing error helps nobody.

    Raises:
        PluginError: there is not.
    """
    queue, webhook = made["spec"]["target"]["name"], made["spec"]["parameters"]["webhook"]
    declared = sorted(each["name"] for each in queue_spec(api, namespace, queue).get("webhooks") or [])
    if webhook not in declared:
        known = f"those that it has are {', '.join(declared)}" if declared else "it has none"
        raise PluginError(f"{queue} has no webhook {webhook}; {known}.")
    return api.post(OPERATION.path(namespace), made)
