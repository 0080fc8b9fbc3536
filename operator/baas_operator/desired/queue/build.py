"""EventQueue -> manifests and secret requests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.queue import EventQueueSpec, QueueDurability
from baas_operator.desired.images import Images
from baas_operator.desired.meta import OPERATOR_NAMESPACE, Manifest, Owner
from baas_operator.desired.pods import disruption_budget, service, service_account
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.queue import names
from baas_operator.desired.queue.certificates import build_ca_bundle
from baas_operator.desired.queue.dispatcher import build_dispatcher, webhook_secrets
from baas_operator.desired.queue.network import build_network
from baas_operator.desired.queue.remotes import Credentials, Link, cluster, domain, leafnodes
from baas_operator.desired.queue.servers import build_servers
from baas_operator.desired.queue.users import Login, accounts
from baas_operator.desired.secrets import SecretRequest, password
from baas_operator.desired.text import render

BALANCED_SYNC_SECONDS = 1
LOSS_ANNOTATION = "baas-operator.io/loss-window-seconds"
"""On a server's pod: what it was started with."""
OVERLAP_SECONDS = 24 * 3600
"""How long a password still counts after it was rotated: until clients that read it once, at their start, were rolled."""
_STORE_SHARE = 0.9
"""Part of the volume that JetStream may fill; the rest is for its own metadata, snapshots and the file system."""
VOLUME_ANNOTATION = "baas-operator.io/volume-bytes"
"""On the servers' ConfigMap: what it takes each volume for."""
_MEMORY_STORE_BYTES = 64 * 1024 * 1024
_MAX_STREAMS = 1000
"""Streams and stores of all kinds: each copy is a Raft group with timers and files of its own."""
_MAX_CONSUMERS = 1000
"""Of each stream."""


@dataclass(frozen=True)
class QueueFacts:
    """What the manifests depend on besides the spec. `zones`: node -> zone; `logins`: user -> the names and passwords that count now, empty
    while they are not made yet. `credentials`: links to other queues, and whom they dial as. `ca`: the authority's certificate (PEM), None
    while it is not drawn. `dispatchers`: how many there should be now, as many as the spec says at least when left out.
    `operator_namespace`: whose pods may ask the servers' monitor port and their agents; `monitoring_namespace`: who scrapes them, empty for
    nobody."""

    hard_spread: bool = True
    zones: Mapping[str, str] = field(default_factory=dict)
    logins: Mapping[str, tuple[Login, ...]] = field(default_factory=dict)
    credentials: Mapping[Link, Credentials] = field(default_factory=dict)
    ca: str | None = None
    dispatchers: int | None = None
    volume_bytes: int | None = None
    """What each server's volume has; what the spec says when left out."""
    databases: Mapping[str, DatabaseReplicaSpec] | None = None
    """Those that outboxes name and that are there; None where that is not known."""
    operator_namespace: str = OPERATOR_NAMESPACE
    monitoring_namespace: str = ""


def queue_secrets(spec: EventQueueSpec, owner: Owner, ca: str | None) -> list[SecretRequest]:
    """One Secret a user; they outlive the object unless its data goes with it. `ca`: what clients verify the servers with (PEM); without
    it there are none yet."""
    if ca is None:
        return []
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    uri = f"tls://{{username}}:{{password}}@{names.host(owner.name, owner.namespace)}:{names.CLIENT_PORT}"
    made = []
    for user in names.users(spec):
        rotated = user != names.ROUTE
        made.append(
            password(
                owner, names.user_secret(owner.name, user), names.COMPONENT, user, owned=owned, uri=uri,
                extra={"ca.crt": ca} if rotated else None, rotates=rotated, remembers=rotated,
                alternate=names.other_slot(user) if rotated else None, overlap_seconds=OVERLAP_SECONDS,
            )
        )  # fmt: skip
    return [*made, *webhook_secrets(spec, owner)]


def _volume(spec: EventQueueSpec, facts: QueueFacts) -> int:
    return parse_bytes(spec.storage.size) if facts.volume_bytes is None else facts.volume_bytes


def _max_file_store(spec: EventQueueSpec, facts: QueueFacts) -> int:
    """Bytes that JetStream may fill on each server."""
    return int(_volume(spec, facts) * _STORE_SHARE)


def _auth(spec: EventQueueSpec, owner: Owner, facts: QueueFacts) -> Manifest:
    """All of the configuration that holds passwords. Servers load it anew while they run."""
    hosts = [
        f"{server}.{names.servers_service(owner.name)}.{owner.namespace}.svc:{names.ROUTE_PORT}"
        for server in names.server_names(owner.name, spec.replicas)
    ]
    # Without tiers an account's limit is over all copies on all servers (nats-server 2.14.10, jetstream_cluster.go).
    limits = {
        "max_file": _max_file_store(spec, facts) * spec.replicas,
        "max_memory": _MEMORY_STORE_BYTES * spec.replicas,
        "max_streams": _MAX_STREAMS,
        "max_consumers": _MAX_CONSUMERS,
    }
    files = {
        "accounts.conf": accounts(spec, facts.logins, limits=limits, namespace=owner.namespace, queue=owner.name),
        "leafnodes.conf": leafnodes(facts.credentials),
        **{link.ca_file: each.ca for link, each in facts.credentials.items() if each.ca},
        "route.conf": render("nats_route.conf.j2", password=facts.logins[names.ROUTE][0].password, hosts=hosts),
    }
    data = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    return owner.child("v1", "Secret", names.auth_secret(owner.name), names.COMPONENT, type="Opaque", data=data)


def loss_window_seconds(spec: EventQueueSpec) -> int:
    """What a power cut of all zones at once may take back of what was acknowledged."""
    return 0 if spec.durability is QueueDurability.STRICT else BALANCED_SYNC_SECONDS


def _config(spec: EventQueueSpec, owner: Owner, facts: QueueFacts) -> str:
    strict = spec.durability is QueueDurability.STRICT
    return render(
        "nats.conf.j2",
        client_port=names.CLIENT_PORT,
        monitor_port=names.MONITOR_PORT,
        route_port=names.ROUTE_PORT,
        domain=domain(owner.namespace, owner.name),
        cluster_name=cluster(domain(owner.namespace, owner.name)),
        max_file_store_bytes=_max_file_store(spec, facts),
        max_memory_store_bytes=_MEMORY_STORE_BYTES,
        sync_interval="always" if strict else f"{BALANCED_SYNC_SECONDS}s",
        tls=names.TLS_DIR,
        zoned=facts.hard_spread,
        # A cluster of one never has a leader: NATS expects two servers at least (its source, 2.14.10, raft.go, `bootstrapRaftNode`).
        clustered=spec.replicas > 1,
    )


def build_queue(spec: EventQueueSpec, owner: Owner, images: Images, facts: QueueFacts) -> list[Manifest]:
    """All children of an EventQueue, in the order in which they are applied. Without passwords and the authority there are no servers
    yet."""
    name = owner.name
    config = _config(spec, owner, facts)
    selector = owner.selector(names.COMPONENT)
    client = {"client": names.CLIENT_PORT}
    made = [
        # First, as its name is the object's own: where a database has that name, too, the second of the two gets no further.
        disruption_budget(owner, name, names.COMPONENT),
        service_account(owner, f"{name}-server", names.COMPONENT),
        owner.child(
            "v1", "ConfigMap", names.config_map(name), names.COMPONENT,
            annotations={VOLUME_ANNOTATION: str(_volume(spec, facts))}, data={"nats.conf": config},
        ),
        owner.child("v1", "ConfigMap", f"{name}-zones", names.COMPONENT, data=dict(sorted(facts.zones.items()))),
        *build_ca_bundle(owner, facts.ca),
        *build_network(spec, owner, operator_namespace=facts.operator_namespace, monitoring_namespace=facts.monitoring_namespace),
        service(owner, name, names.COMPONENT, client | {"leaf": names.LEAF_PORT}, selector=selector),
        service(
            owner, names.servers_service(name), names.COMPONENT,
            client | {"route": names.ROUTE_PORT, "monitor": names.MONITOR_PORT},
            selector=selector, headless=True, not_ready=True,
        ),
    ]  # fmt: skip
    if facts.logins and facts.ca:
        made.append(_auth(spec, owner, facts))
        made.append(
            build_servers(
                spec,
                owner,
                images,
                config=config,
                hard_spread=facts.hard_spread,
                annotations={LOSS_ANNOTATION: str(loss_window_seconds(spec))},
            )
        )
        number = spec.dispatcher.replicas if facts.dispatchers is None else facts.dispatchers
        made += build_dispatcher(spec, owner, images, replicas=number, hard_spread=facts.hard_spread, databases=facts.databases)
    return made
