"""EventQueue -> manifests and secret requests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.queue import EventQueueSpec, QueueDurability
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Manifest, Owner, checksum
from baas_operator.desired.pods import (
    container_security,
    disruption_budget,
    field_env,
    http_probe,
    pod_security,
    resources,
    service,
    service_account,
)
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.queue import names
from baas_operator.desired.secrets import SecretRequest, password
from baas_operator.desired.stateful import build_stateful_set
from baas_operator.desired.text import render

NATS_UID = 1000
BALANCED_SYNC_SECONDS = 1
_SHUTDOWN_SECONDS = 60
"""Lame duck takes 30 s; the rest is for the last writes (NATS documentation: a grace well above the lame duck duration)."""
_STORE_SHARE = 0.9
"""Part of the volume that JetStream may fill; the rest is for its own metadata, snapshots and the file system."""

_START = """\
zone=$(cat "/etc/baas/zones/$NODE_NAME" 2>/dev/null || true)
if [ -n "$zone" ]; then printf 'server_tags: ["az:%s"]\\n' "$zone"; fi > /var/run/nats/tags.conf
exec nats-server --config /etc/nats/nats.conf
"""


@dataclass(frozen=True)
class QueueFacts:
    """What the manifests depend on besides the spec. `zones`: node -> zone; `passwords`: user -> password, empty while they are
    not made yet."""

    hard_spread: bool = True
    zones: Mapping[str, str] = field(default_factory=dict)
    passwords: Mapping[str, str] = field(default_factory=dict)


def queue_secrets(spec: EventQueueSpec, owner: Owner) -> list[SecretRequest]:
    """One Secret a user; they outlive the object unless its data goes with it."""
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    host = f"{owner.name}.{owner.namespace}.svc"
    return [
        password(
            owner, names.user_secret(owner.name, user), names.COMPONENT, user, owned=owned,
            uri=f"nats://{{username}}:{{password}}@{host}:{names.CLIENT_PORT}",
        )
        for user in names.USERS
    ]  # fmt: skip


def _auth(spec: EventQueueSpec, owner: Owner, passwords: Mapping[str, str]) -> Manifest:
    hosts = [
        f"{server}.{names.servers_service(owner.name)}.{owner.namespace}.svc:{names.ROUTE_PORT}"
        for server in names.server_names(owner.name, spec.replicas)
    ]
    files = {
        "accounts.conf": render("nats_accounts.conf.j2", **{k: passwords[k] for k in ("system", "admin", "app")}),
        "route.conf": render("nats_route.conf.j2", password=passwords["route"], hosts=hosts),
    }
    data = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    return owner.child("v1", "Secret", names.auth_secret(owner.name), names.COMPONENT, type="Opaque", data=data)


def _config(spec: EventQueueSpec, owner: Owner, *, zoned: bool) -> str:
    strict = spec.durability is QueueDurability.STRICT
    return render(
        "nats.conf.j2",
        client_port=names.CLIENT_PORT,
        monitor_port=names.MONITOR_PORT,
        route_port=names.ROUTE_PORT,
        cluster_name=f"{owner.namespace}-{owner.name}",
        max_file_store_bytes=int(parse_bytes(spec.storage.size) * _STORE_SHARE),
        sync_interval="always" if strict else f"{BALANCED_SYNC_SECONDS}s",
        zoned=zoned,
    )


def build_queue(spec: EventQueueSpec, owner: Owner, images: Images, facts: QueueFacts) -> list[Manifest]:
    """All children of an EventQueue, in the order in which they are applied. Without passwords there is nothing to build yet."""
    name = owner.name
    config = _config(spec, owner, zoned=facts.hard_spread)
    selector = owner.selector(names.COMPONENT)
    client = {"client": names.CLIENT_PORT}
    made = [
        # First, as its name is the object's own: where a database has that name, too, the second of the two gets no further.
        disruption_budget(owner, name, names.COMPONENT),
        service_account(owner, f"{name}-server", names.COMPONENT),
        owner.child("v1", "ConfigMap", names.config_map(name), names.COMPONENT, data={"nats.conf": config}),
        owner.child("v1", "ConfigMap", f"{name}-zones", names.COMPONENT, data=dict(sorted(facts.zones.items()))),
        service(owner, name, names.COMPONENT, client, selector=selector),
        service(
            owner, names.servers_service(name), names.COMPONENT,
            client | {"route": names.ROUTE_PORT, "monitor": names.MONITOR_PORT},
            selector=selector, headless=True, not_ready=True,
        ),
    ]  # fmt: skip
    if facts.passwords:
        made.append(_auth(spec, owner, facts.passwords))
        made.append(_servers(spec, owner, images, config=config, hard_spread=facts.hard_spread))
    return made


def _servers(spec: EventQueueSpec, owner: Owner, images: Images, *, config: str, hard_spread: bool) -> Manifest:
    monitor = names.MONITOR_PORT
    container = {
        "name": "nats",
        "image": spec.image or images.nats,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-ec", _START],
        "env": [
            field_env("POD_NAME", "metadata.name"),
            field_env("NODE_NAME", "spec.nodeName"),
        ],
        "ports": [
            {"name": "client", "containerPort": names.CLIENT_PORT, "protocol": "TCP"},
            {"name": "route", "containerPort": names.ROUTE_PORT, "protocol": "TCP"},
            {"name": "monitor", "containerPort": monitor, "protocol": "TCP"},
        ],
        # The three questions of NATS' own health endpoint: all caught up; this server in the cluster; JetStream alive at all.
        "startupProbe": http_probe("/healthz", monitor, period=2, failures=150),
        "readinessProbe": http_probe("/healthz?js-server-only=true", monitor, period=3, failures=2),
        "livenessProbe": http_probe("/healthz?js-enabled-only=true", monitor, period=10, failures=6, timeout=5),
        "lifecycle": {"preStop": {"exec": {"command": ["nats-server", "-sl=ldm=/var/run/nats/nats.pid"]}}},
        "resources": resources(spec.resources, cpu="50m", memory="128Mi"),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": "/etc/nats", "readOnly": True},
            {"name": "zones", "mountPath": "/etc/baas/zones", "readOnly": True},
            {"name": "run", "mountPath": "/var/run/nats"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
        ],
    }
    return build_stateful_set(
        owner,
        names.COMPONENT,
        replicas=spec.replicas,
        service=names.servers_service(owner.name),
        storage=spec.storage,
        policy=spec.deletion_policy,
        config_checksum=checksum(config),
        hard_spread=hard_spread,
        pod={
            "serviceAccountName": f"{owner.name}-server",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": _SHUTDOWN_SECONDS,
            "securityContext": pod_security(NATS_UID),
            "containers": [container],
            "volumes": [
                {
                    "name": "config",
                    "projected": {
                        "defaultMode": 0o440,
                        "sources": [
                            {"configMap": {"name": names.config_map(owner.name)}},
                            {"secret": {"name": names.auth_secret(owner.name)}},
                        ],
                    },
                },
                {"name": "zones", "configMap": {"name": f"{owner.name}-zones"}},
                {"name": "run", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    )
