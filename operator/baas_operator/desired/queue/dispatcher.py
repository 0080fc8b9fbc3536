"""The dispatchers of an EventQueue: pods that deliver webhooks, keep dead letters and relay outboxes, spread over zones.

What they are told is a ConfigMap that they read anew while they run, so a webhook that is added or changed rolls nothing. Secrets are
mounted one file a webhook, each optional: one that is missing concerns its webhook alone; those of an outbox are the database's. Only a
webhook or outbox that brings a Secret of a new name rolls the pods, as what a pod mounts can not change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.webhooks import Outbox, Webhook
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.pods import (
    container_security,
    disruption_budget,
    http_probe,
    leave_lost_nodes,
    placed,
    pod_security,
    resources,
    scrape,
    service_account,
    spread_for_surge,
)
from baas_operator.desired.queue import names
from baas_operator.desired.queue.outboxes import Origin, origin_of
from baas_operator.desired.secrets import SecretRequest

Databases = Mapping[str, DatabaseReplicaSpec] | None
_UID = 65532
"""As the operator's image has it."""
OVERLAP_SECONDS = 7 * 24 * 3600
"""How long the signing secret before still signs, too, after it was rotated: who verifies is somebody else, and has to be told."""
_STOP_SECONDS = 20
"""Beside the longest time limit of a webhook: deliveries that are under way are finished (dispatcher/dispatcher.py)."""


def has_dispatcher(spec: EventQueueSpec) -> bool:
    """Whether anything is declared that dispatchers do."""
    return bool(spec.webhooks or spec.outboxes or any(each.dead_letter for each in spec.streams))


def webhook_secret(owner: Owner, webhook: Webhook) -> str:
    """Secret whose key `secret` signs the webhook's deliveries: the user's, or one that is drawn."""
    return webhook.secret_name or names.webhook_secret(owner.name, webhook.name)


def webhook_secrets(spec: EventQueueSpec, owner: Owner) -> list[SecretRequest]:
    """Signing secrets of the webhooks that bring none. Who receives deliveries knows them, so they outlive the object as passwords do."""
    return [
        SecretRequest(
            owner, names.webhook_secret(owner.name, each.name), names.DISPATCHER, recipe="webhook",
            owned=spec.deletion_policy is DeletionPolicy.DELETE, rotates=True, overlap_seconds=OVERLAP_SECONDS,
        )
        for each in spec.webhooks
        if each.secret_name is None
    ]  # fmt: skip


def notes_copies(spec: EventQueueSpec) -> int:
    """Servers that keep what dispatchers note of endpoints."""
    return min(spec.replicas, 3)


def dispatcher_config(spec: EventQueueSpec, owner: Owner, *, replicas: int, databases: Databases = None) -> str:
    """`dispatcher.json` (dispatcher/config.py, `DispatcherConfig`). `replicas`: pods that share a webhook's rate; `databases`: as
    `origin_of` takes them."""
    told = {
        "queue": owner.name,
        "namespace": owner.namespace,
        "host": names.host(owner.name, owner.namespace),
        "port": names.CLIENT_PORT,
        "inboxPrefix": names.inbox(names.DISPATCHER),
        "replicas": replicas,
        "copies": notes_copies(spec),
        "streams": [each.name for each in spec.streams],
        "deadLetters": {each.name: each.retention.value for each in spec.streams if each.dead_letter},
        "webhooks": [each.model_dump(by_alias=True, exclude_none=True, mode="json") for each in spec.webhooks],
        "outboxes": [_outbox(each, owner, databases) for each in spec.outboxes],
    }
    return json.dumps(told, indent=1, sort_keys=True)


def _outbox(outbox: Outbox, owner: Owner, databases: Databases) -> dict[str, Any]:
    origin = origin_of(outbox, owner.namespace, databases)
    if isinstance(origin, str):
        return {"name": outbox.name, "trouble": origin}
    return {
        "name": outbox.name, "host": origin.host, "port": origin.port, "database": origin.database, "user": origin.user,
        "schema": outbox.schema_, "table": outbox.table, "stream": outbox.stream, "batchSize": outbox.batch_size,
    }  # fmt: skip


def _mounted(spec: EventQueueSpec, owner: Owner, databases: Databases) -> list[dict[str, Any]]:
    """Sources of the folder of Secrets: the dispatchers' user, and a folder for each webhook and each outbox."""

    def source(name: str, folder: str, *keys: str, optional: bool = True, kind: str = "secret") -> dict[str, Any]:
        items = [{"key": key, "path": f"{folder}/{key}"} for key in keys]
        return {kind: {"name": name, "items": items} | ({"optional": True} if optional else {})}

    made = [source(names.user_secret(owner.name, names.DISPATCHER), names.NATS_FOLDER, "username", "password", "ca.crt", optional=False)]
    for each in spec.webhooks:
        folder = f"{names.WEBHOOK_FOLDER}/{each.name}"
        made.append(source(webhook_secret(owner, each), folder, "secret"))
        if each.ca:
            made.append(source(each.ca.name, folder, "ca.crt"))
    for outbox in spec.outboxes:
        origin = origin_of(outbox, owner.namespace, databases)
        if isinstance(origin, Origin):
            folder = f"{names.OUTBOX_FOLDER}/{outbox.name}"
            made += [source(origin.secret, folder, "password"), source(origin.ca, folder, "ca.crt", kind="configMap")]
    return made


def _pod(spec: EventQueueSpec, owner: Owner, images: Images, *, hard_spread: bool, databases: Databases) -> dict[str, Any]:
    selector = owner.selector(names.DISPATCHER)
    longest = max((each.timeout_seconds for each in spec.webhooks), default=0)
    container = {
        "name": "dispatcher",
        "image": images.operator,
        "imagePullPolicy": "IfNotPresent",
        "args": ["dispatcher", f"{names.DISPATCHER_CONFIG_DIR}/dispatcher.json", names.DISPATCHER_SECRETS_DIR,
                 "--port", str(names.DISPATCHER_PORT)],
        "ports": [{"name": "http", "containerPort": names.DISPATCHER_PORT, "protocol": "TCP"}],
        "startupProbe": http_probe("/livez", names.DISPATCHER_PORT, period=1, failures=60),
        "livenessProbe": http_probe("/livez", names.DISPATCHER_PORT, period=10, failures=6),
        "readinessProbe": http_probe("/readyz", names.DISPATCHER_PORT, period=3, failures=3),
        "resources": resources(spec.dispatcher.resources, cpu="100m", memory="96Mi"),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "config", "mountPath": names.DISPATCHER_CONFIG_DIR, "readOnly": True},
            {"name": "secrets", "mountPath": names.DISPATCHER_SECRETS_DIR, "readOnly": True},
        ],
    }  # fmt: skip
    where = placed(spec.placement, spec.image_pull_secrets)
    return where | {
        "serviceAccountName": names.dispatcher(owner.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": longest + _STOP_SECONDS,
        "securityContext": pod_security(_UID),
        "topologySpreadConstraints": spread_for_surge(selector, hard=hard_spread),
        "tolerations": leave_lost_nodes() + where.get("tolerations", []),
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": names.dispatcher(owner.name)}},
            {"name": "secrets", "projected": {"defaultMode": 0o440, "sources": _mounted(spec, owner, databases)}},
        ],
    }


def build_dispatcher(
    spec: EventQueueSpec, owner: Owner, images: Images, *, replicas: int, hard_spread: bool, databases: Databases = None
) -> list[Manifest]:
    """All of the dispatchers, `replicas` of them; nothing where there is nothing for them to do. `databases`: as `origin_of` takes
    them."""
    if not has_dispatcher(spec):
        return []
    name = names.dispatcher(owner.name)
    selector = owner.selector(names.DISPATCHER)
    return [
        service_account(owner, name, names.DISPATCHER),
        owner.child(
            "v1", "ConfigMap", name, names.DISPATCHER,
            data={"dispatcher.json": dispatcher_config(spec, owner, replicas=replicas, databases=databases)},
        ),
        disruption_budget(owner, name, names.DISPATCHER),
        owner.child(
            "apps/v1", "Deployment", name, names.DISPATCHER,
            spec={
                "replicas": replicas,
                "revisionHistoryLimit": 3,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {"labels": owner.labels(names.DISPATCHER), "annotations": scrape(names.DISPATCHER_PORT)},
                    "spec": _pod(spec, owner, images, hard_spread=hard_spread, databases=databases),
                },
            },
        ),
    ]  # fmt: skip
