"""kopf's part: watches, and nothing else. `on.event` alone: `on.create` and `on.update` would write annotations on users' objects,
a daemon or timer an object would cost two or three tasks each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kopf

from baas_operator.api.kinds import CHILD_KINDS, NODE, OWN_KINDS, Kind
from baas_operator.desired.meta import KIND_LABEL
from baas_operator.engine.client import PAGE
from baas_operator.engine.config import Config
from baas_operator.engine.runtime import Runtime


def build_registry(runtime: Runtime) -> kopf.OperatorRegistry:
    """A registry whose handlers put every event into the runtime."""
    registry = kopf.OperatorRegistry()

    def watch(kind: Kind) -> None:
        async def seen(event: Mapping[str, Any], **_: Any) -> None:
            resource = {"apiVersion": kind.api_version, "kind": kind.name, **event["object"]}
            runtime.event(resource, deleted=event["type"] == "DELETED")

        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.name, registry=registry)(seen)

    for kind in (*OWN_KINDS, *CHILD_KINDS, NODE):
        watch(kind)
    # A registry of one's own has no login handlers; kopf asks this one again when a token has run out.
    kopf.on.login(registry=registry)(_login)
    return registry


def _login(**anything: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**anything) or kopf.login_with_kubeconfig(**anything)


def build_settings(config: Config) -> kopf.OperatorSettings:
    """kopf's settings: children are watched by our label alone; no worker limit (it holds a slot for seconds an object)."""
    settings = kopf.OperatorSettings()
    for kind in CHILD_KINDS:
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = KIND_LABEL
    settings.watching.chunk_size = PAGE
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 15
    settings.posting.enabled = False
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    settings.persistence.finalizer = "baas-operator.io/kopf-unused"
    settings.scanning.disabled = False
    return settings
