"""Operations as the plugin asks for them. It decides nothing: whether one is safe is for the operator to say, in the Operation's status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from baas_operator.api.group import API_VERSION
from baas_operator.api.kinds import EVENT_QUEUE, OPERATION
from baas_operator.api.operation import OperationSpec
from kubectl_baas.cluster import Api
from kubectl_baas.errors import PluginError


def manifest(make: Callable[[], OperationSpec], verb: str, what: str) -> dict[str, Any]:
    """The Operation of a spec, named after its target and `verb`. `what` its names are of, as a sentence says it.

    Raises:
        PluginError: a name is none that an object can have.
    """
    from pydantic import ValidationError

    try:
        spec = make()
    except ValidationError as error:
        wrong = error.errors()[0]
        raise PluginError(f"{wrong['input']!r} can not be the name of {what}: {wrong['msg']}.") from error
    return {
        "apiVersion": API_VERSION,
        "kind": OPERATION.name,
        "metadata": {"generateName": f"{spec.target.name}-{verb}-"},
        "spec": spec.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }


def queue_spec(api: Api, namespace: str, queue: str) -> dict[str, Any]:
    """The spec of a queue.

    Raises:
        PluginError: there is no such queue.
    """
    try:
        found = api.get(EVENT_QUEUE.path(namespace, queue))
    except PluginError as error:
        if error.status == 404:
            raise PluginError(f"there is no EventQueue {queue} in namespace {namespace}.", status=404) from error
        raise
    return dict(found.get("spec") or {})
