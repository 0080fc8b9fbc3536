"""BaasInstance: one backend, a gateway and its components over a database and a queue."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import BY_NAME, ApiModel, DeletionPolicy, LocalRef, immutable, rule, rules
from baas_operator.api.instance.gateway import Gateway, Host
from baas_operator.api.instance.isolation import Isolation
from baas_operator.api.instance.keys import Keys
from baas_operator.api.instance.parse import CacheOptions, Dashboard, Server
from baas_operator.api.instance.programs import QueueStream, ScheduledJob, Worker
from baas_operator.api.instance.supabase import Auth, Functions, Meta, Reads, Realtime, Rest, Storage


class Engine(StrEnum):
    """Which backend is run."""

    SUPABASE = "supabase"
    PARSE = "parse"


ENGINE_COMPONENTS: dict[Engine, tuple[str, ...]] = {
    Engine.SUPABASE: ("rest", "reads", "auth", "storage", "meta", "functions", "realtime"),
    Engine.PARSE: ("server", "dashboard", "cache"),
}
"""Engine -> the components that it alone has. The gateway is every engine's."""


class Components(ApiModel):
    """The components of the backend. Those that are left out are as their defaults say, if they belong to the engine."""

    gateway: Gateway = Gateway()
    """Envoy: routes, key checks, limits, health checks."""
    rest: Rest | None = None
    """supabase: PostgREST, tables and functions of the database over HTTP."""
    reads: Reads | None = None
    """supabase: PostgREST on standbys, for reads while there is no primary."""
    auth: Auth | None = None
    """supabase: GoTrue, users and their tokens."""
    storage: Storage | None = None
    """supabase: storage-api, files on S3."""
    meta: Meta | None = None
    """supabase: postgres-meta, the catalogue over HTTP."""
    functions: Functions | None = None
    """supabase: functions of your own."""
    realtime: Realtime | None = None
    """supabase: changes over WebSockets."""
    server: Server | None = None
    """parse: Parse Server."""
    dashboard: Dashboard | None = None
    """parse: Parse Dashboard."""
    cache: CacheOptions | None = None
    """parse: Valkey, between the pods of Parse Server."""


class Prober(ApiModel):
    """Synthetic transactions from each zone: they prove that the backend works for its clients."""

    enabled: bool = True
    """Whether they are made."""
    interval_seconds: Annotated[int, Field(ge=5, le=3600)] = 30
    """Seconds between two of them, in each zone."""
    publish: bool = False
    """Also probe a message's way from a stream to a webhook. It brings a stream, a user and a webhook into the queue that was made for this
    object, and dispatchers, where there are none."""


def _of_one_engine() -> list[dict[str, str]]:
    made = []
    for engine, names in ENGINE_COMPONENTS.items():
        given = " || ".join(f"has(self.components.{name})" for name in names)
        made.append(
            rule(
                f"self.engine == '{engine.value}' || !({given})",
                f"components {', '.join(names)} belong to engine {engine.value}: leave them out, or choose that engine.",
            )
        )
    return made


class BaasInstanceSpec(ApiModel):
    """What the user wants of a backend; an empty spec is highly available."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.databaseRef) == has(oldSelf.databaseRef)",
                "databaseRef can not be added or removed later: the data would stay behind. Create a new BaasInstance.",
            ),
            rule(
                "has(self.queueRef) == has(oldSelf.queueRef)",
                "queueRef can not be added or removed later: the messages would stay behind. Create a new BaasInstance.",
            ),
            rule(
                "!has(self.components.gateway.tls) || !has(self.components.gateway.tls.issuerRef) || size(self.hosts) > 0",
                "components.gateway.tls.issuerRef makes a certificate for spec.hosts, and there are none: name them.",
            ),
            rule(
                "!(has(self.components.gateway.ingress) || has(self.components.gateway.httpRoute)) || size(self.hosts) > 0",
                "an Ingress or HTTPRoute leads the hosts of spec.hosts to the gateway, and there are none: name them.",
            ),
            rule(
                "!has(self.components.gateway.httpRoute) || size(self.hosts) <= 16",
                "an HTTPRoute has 16 hosts at the most: name no more in spec.hosts, or ask for an ingress in place of httpRoute.",
            ),
            rule(
                "self.workers.all(w, !self.jobs.exists(j, j.name == w.name))",
                "a worker and a job have the same name: give one of them another.",
            ),
            rule(
                "!has(self.queueRef) || size(self.streams) == 0",
                "streams are those of the queue that is made for this object: with queueRef, declare them in that EventQueue.",
            ),
            rule(
                "!has(self.queueRef) || !self.prober.publish",
                "prober.publish needs a stream in a queue of this object's own: set it to false, as queueRef names another's.",
            ),
            *_of_one_engine(),
        )
    )

    engine: Annotated[Engine, Field(json_schema_extra=immutable(
        "engine", "create a new BaasInstance with the other engine.",
    ))] = Engine.SUPABASE  # fmt: skip
    """Which backend is run: `supabase` or `parse`."""
    hosts: Annotated[list[Host], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Host names that it is reached by; any when left out."""
    database_ref: Annotated[LocalRef, Field(json_schema_extra=immutable(
        "databaseRef", "create a new BaasInstance on the other database.",
    ))] | None = None  # fmt: skip
    """DatabaseReplica to use; one named `NAME-db` is made when left out."""
    queue_ref: Annotated[LocalRef, Field(json_schema_extra=immutable(
        "queueRef", "create a new BaasInstance on the other queue.",
    ))] | None = None  # fmt: skip
    """EventQueue to use; one named `NAME-events` is made when left out."""
    streams: Annotated[list[QueueStream], Field(max_length=20, json_schema_extra=BY_NAME)] = []
    """Streams of the queue that is made for this object, all that it keeps where there are any here; with `queueRef` declare them there."""
    components: Components = Components()
    """The components and their sizes."""
    workers: Annotated[list[Worker], Field(max_length=20, json_schema_extra=BY_NAME)] = []
    """Programs of your own that read streams of the queue."""
    jobs: Annotated[list[ScheduledJob], Field(max_length=20, json_schema_extra=BY_NAME)] = []
    """Programs of your own that run by the clock."""
    keys: Keys = Keys()
    """When signing keys change."""
    prober: Prober = Prober()
    """Synthetic transactions from each zone."""
    isolation: Isolation = Isolation()
    """What its pods may reach and use."""
    hibernate: bool = False
    """While true nothing of the backend runs; data, keys and addresses stay. The database and the queue go on."""
    suspend: bool = False
    """While true the operator leaves everything as it is; the backend itself goes on."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """`Retain` keeps keys, and the data of the database and the queue that were made for this object, when it is deleted."""
