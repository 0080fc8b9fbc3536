"""DatabaseReplica: a replicated PostgreSQL, one member a zone, that fails over by itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import (
    BY_NAME,
    ApiModel,
    DeletionPolicy,
    Quantity,
    Resources,
    SecretRef,
    StatusBase,
    StorageSpec,
    immutable,
    rule,
    rules,
    storage_rules,
)
from baas_operator.api.placement import MaintenanceWindow, Placement
from baas_operator.api.roles import DATABASES_RULES, MAX_DATABASES, MAX_ROLES, ROLES_RULES, SPEC_RULES, Database, Role

RESERVED_PARAMETERS = (
    "listen_addresses", "port", "cluster_name", "wal_level", "hot_standby", "archive_mode", "archive_command",
    "primary_conninfo", "primary_slot_name", "restore_command", "synchronous_standby_names", "synchronous_commit",
    "data_directory", "hba_file", "ident_file", "config_file", "unix_socket_directories", "fsync", "full_page_writes",
    "wal_log_hints", "recovery_target_timeline", "ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file",
    "ssl_crl_file", "ssl_crl_dir", "ssl_min_protocol_version", "ssl_max_protocol_version", "ssl_passphrase_command",
    "ssl_passphrase_command_supports_reload", "allow_alter_system", "authentication_timeout", "session_preload_libraries",
    "local_preload_libraries",
)  # fmt: skip
"""Parameters that the operator or Patroni sets, or needs as they are: changing one by hand would break replication or durability, or keep
clients out. `allow_alter_system`: a new primary's agent has to say by ALTER SYSTEM whom commits wait for (agent/synchronous.py), and nobody
is promoted before it has. `authentication_timeout`: poolers hold a connection that says nothing, and where PostgreSQL ends it before they
do, they take the primary for gone (pooler/primary.py). `…_preload_libraries` of sessions: a reload sets them on all members at once, and
where one is not in the image nobody gets in any more (PostgreSQL manual, 19.11.4). `shared_preload_libraries` stops a roll instead."""

MAX_MEMBERS = 9
"""Most members: the primary has to feed them all."""


class Durability(StrEnum):
    """What an acknowledged commit has survived already."""

    ASYNC = "async"
    QUORUM = "quorum"
    ZONE_QUORUM = "zone-quorum"


class Failover(ApiModel):
    """How a primary that is gone is replaced."""

    detection_seconds: Annotated[int, Field(ge=2, le=30)] = 3
    """Seconds of silence after which a primary that does not answer either is replaced, without waiting for its leader lock to run
    out (20 s). With durability `async` the lock always runs out, as nobody knows what such a primary still acknowledges."""


class PoolMode(StrEnum):
    """When a server connection goes back to the pool."""

    TRANSACTION = "transaction"
    SESSION = "session"


class PoolerSpec(ApiModel):
    """PgBouncer between clients and the primary."""

    replicas: Annotated[int, Field(ge=0, le=20)] = 3
    """PgBouncer pods, spread over the zones; 0 for none. With one in each zone clients are led to the one in their own, so that a zone
    that is lost takes no other zone's clients with it."""
    mode: PoolMode = PoolMode.TRANSACTION
    """`transaction`: a client has a server connection for a transaction, so that thousands share a few, and a switchover is a short
    stall; what belongs to a session (`SET`, `LISTEN`, advisory locks, temporary tables) does not last. `session`: it has one for as
    long as it is connected."""
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 20
    """Server connections for each pair of user and database, in each pod. Pods times this times the pairs that are busy at once should
    stay below `max_connections` less 13, or PostgreSQL refuses logins. All pairs of one database together never come to more: each pod
    has a limit for each database, too, and who comes when it is reached waits."""
    max_client_connections: Annotated[int, Field(ge=10, le=50_000)] = 5000
    """Clients that each pod takes; more are turned away."""
    query_timeout_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    """Seconds after which a query is given up, and its client's connection closed; 0 for never. A transaction that does nothing for as long
    is ended, too, and below 15 it is also what a query waits for a primary. PostgreSQL may go on with what was given up: to end it there,
    set `statement_timeout` to less. It is all that ends queries which a frozen primary holds while no member can take its place."""
    resources: Resources = Resources()
    """CPU and memory of PgBouncer in each pod."""


class MonitoringSpec(ApiModel):
    """Metrics of each member (docs/monitoring.md)."""

    enabled: bool = True
    """Whether postgres_exporter runs beside each PostgreSQL, and pods say where to scrape. Patroni and the operator have metrics all the
    same. A change rolls the members."""


class DatabaseStorage(StorageSpec):
    """The volume of each member, and how far it may grow by itself."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *storage_rules(),
            rule(
                "!has(self.maxSize) || quantity(self.maxSize).compareTo(quantity(self.size)) >= 0",
                "storage.maxSize is what a volume may grow to: give storage.size or more, or leave it out.",
            ),
        )
    )

    max_size: Quantity | None = None
    """Size up to which volumes grow by themselves: by a fifth, once one of them is four fifths full. Left out, none does, as not every
    StorageClass lets volumes grow, and larger ones cost more."""


class Reclone(StrEnum):
    """Whether a member that does not come back by itself is copied anew."""

    AUTO = "Auto"
    NEVER = "Never"


class Repair(ApiModel):
    """What is done for a member that does not come back by itself."""

    reclone: Reclone = Reclone.AUTO
    """`Auto`: a standby whose data is unusable, or can not follow the primary any more, and one whose node is gone with its volume, is
    copied anew from the primary; one at a time, and only while others have all that it had. `Never`: that is left to you."""
    after_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    """Minutes for which it must have come no further before."""


class DatabaseReplicaSpec(ApiModel):
    """What the user wants of a replicated PostgreSQL; an empty spec is highly available."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.durability == 'async' || self.replicas >= 2",
                "durability quorum and zone-quorum need a standby to commit to: set replicas to 2 or more, or durability to async.",
            ),
            *SPEC_RULES,
        )
    )

    version: Annotated[int, Field(json_schema_extra={"enum": [17]} | immutable(
        "version", "create a new DatabaseReplica of the other version and move the data.",
    ))] = 17  # fmt: skip
    """Major version of PostgreSQL."""
    replicas: Annotated[int, Field(ge=1, le=MAX_MEMBERS)] = 3
    """Members: one primary, the others standbys, spread over the zones."""
    durability: Durability = Durability.ZONE_QUORUM
    """What a commit waits for: `async` for no standby; `quorum` for one standby while there is one; `zone-quorum` always for
    one in another zone (without one, writes wait). That holds where no two members share a zone; where some do, and all standbys that
    are left are beside the primary, commits wait for those alone, and `Ready` is false until one in another zone streams."""
    failover: Failover = Failover()
    """How a primary that is gone is replaced."""
    placement: Placement = Placement()
    """Where members should be."""
    maintenance_windows: Annotated[
        list[MaintenanceWindow],
        Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["schedule", "timeZone"]}),
    ] = []
    """When the operator may move a primary that works, for no other reason than that it should be elsewhere. What can not wait (a node
    that goes, a scale-in, a rolling update) does not."""
    repair: Repair = Repair()
    """What is done for a member that does not come back by itself."""
    storage: DatabaseStorage = DatabaseStorage()
    """The volume of each member."""
    parameters: Annotated[
        dict[str, str],
        Field(
            max_length=100,
            json_schema_extra=rules(
                rule(
                    "!self.exists(k, k in [" + ", ".join(f"'{p}'" for p in RESERVED_PARAMETERS) + "])",
                    "parameters has one that is the operator's own, to keep data safe and clients served: "
                    "remove it (see docs/reference.md for the list).",
                ),
                rule(
                    "self.all(k, k.matches('^[a-z_][a-z0-9_.]*$'))",
                    "parameters has a name that PostgreSQL does not know: use lower case letters, digits, '_' and '.'.",
                ),
                # "cannot use serializable mode in a hot standby" (PostgreSQL manual, 26.4.5): what Patroni asks fails there as well.
                rule(
                    "!('default_transaction_isolation' in self) "
                    "|| !self['default_transaction_isolation'].matches('(?i)^ *serializable *$')",
                    "parameters has default_transaction_isolation serializable, with which no standby answers a query or takes over: "
                    "set it by ALTER DATABASE … SET or ALTER ROLE … SET instead.",
                ),
                rule(
                    r"self.all(k, self[k].matches('^[^\\x00-\\x1f\\x7f]*$'))",
                    "parameters has a value with a line break or another control character, and PostgreSQL would not start with that in "
                    "its configuration file: take it out.",
                ),
            )
            | {"additionalProperties": {"type": "string", "maxLength": 1000}},
        ),
    ] = {}
    """Settings of postgresql.conf, all values as strings."""
    databases: Annotated[
        list[Database],
        Field(
            max_length=MAX_DATABASES,
            json_schema_extra=BY_NAME | DATABASES_RULES,
        ),
    ] = []
    """Databases to create, each with a role of its own and a Secret `NAME-role-ROLE` that holds its password and URI. One that is
    taken out of the list stays as it is."""
    roles: Annotated[
        list[Role],
        Field(
            max_length=MAX_ROLES,
            json_schema_extra=BY_NAME | ROLES_RULES,
        ),
    ] = []
    """Roles beside the owners of databases, or more about those. One that is taken out of the list stays as it is."""
    pooler: PoolerSpec = PoolerSpec()
    """PgBouncer in front of the primary, at `NAME-pooler:5432`, for the users and databases that there are. It follows a new primary
    by itself."""
    monitoring: MonitoringSpec = MonitoringSpec()
    """Metrics of each member."""
    resources: Resources = Resources()
    """CPU and memory of PostgreSQL in each member."""
    image: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Image of the members; the operator's own default when left out."""
    image_pull_secrets: Annotated[
        list[SecretRef],
        Field(max_length=10, json_schema_extra=BY_NAME),
    ] = []
    """Secrets to pull the images of members, poolers and SQL Jobs with. A change rolls the members."""
    suspend: bool = False
    """While true the operator leaves everything as it is; the database itself goes on, failover included. Certificates are not renewed
    meanwhile either: the last of them may run out a month later."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """`Retain` keeps volumes and passwords when this object is deleted, so that one of the same name takes them up again."""


class Trouble(ApiModel):
    """What a standby does not get over by itself."""

    reason: str
    """`NotStarting`: its PostgreSQL does not start. `NotFollowing`: it runs and comes no further. `NodeGone`: its volume was on a node
    that is gone."""
    since: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """Since when, without a step forward."""
    position: int | None = None
    """The position in the log that it stands at, in bytes."""


class Repaired(ApiModel):
    """A member that was copied anew."""

    member: str
    """Its name."""
    reason: str
    """Why, as `members[].trouble.reason` had it."""
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When that was decided; it is written down before it is done."""


class Member(ApiModel):
    """One PostgreSQL server."""

    name: str
    """Name of its pod."""
    zone: str | None = None
    """Zone of its node."""
    role: str
    """`primary`, `standby`, or `unknown` while it has not said."""
    state: str
    """What Patroni says of it: `streaming`, `running`, `starting`, `stopped`, …"""
    ready: bool
    """Whether its pod is ready."""
    timeline: int | None = None
    """Timeline that it is on; it grows by one with every promotion."""
    lag_bytes: int | None = None
    """How far it is behind the primary, in bytes of WAL rounded down to whole MiB."""
    trouble: Trouble | None = None
    """What it does not get over by itself; only while that is so."""


class LastFailover(ApiModel):
    """A change of the primary, as the new one's agent saw it."""

    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When the new primary took writes and `-rw` led to it."""
    from_member: str
    """Member that was the primary."""
    to_member: str
    """Member that became it."""
    planned: bool
    """Whether the old primary was shut down for it: a switchover, or a pod that had to go. With durability `async` Patroni does that,
    and nobody tells."""
    seconds: Annotated[float, Field(ge=0, le=1e9)]
    """Seconds from the old primary's last sign of life to `at`. An idle primary gives one every 2 seconds, or half of
    `detectionSeconds` where that is more."""


class DatabaseReplicaStatus(StatusBase):
    """What the operator sees of a replicated PostgreSQL."""

    replicas: int | None = None
    """Members that exist."""
    ready_replicas: int | None = None
    """Members that are ready."""
    selector: str | None = None
    """Label selector of the members, for the scale subresource."""
    pooler_ready_replicas: int | None = None
    """PgBouncer pods that are ready."""
    primary: str | None = None
    """Member that holds the leader lock."""
    zones: int | None = None
    """Zones that ready members are in."""
    declared_once: bool | None = None
    """Whether the databases and roles of the spec were there once: what is pending since then is a change."""
    last_failover: LastFailover | None = None
    """The last change of the primary, planned or not."""
    parameters_wait_since: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """Since when a member has parameters that take effect with a start only; members are rolled a moment later."""
    members: Annotated[
        list[Member],
        Field(json_schema_extra=BY_NAME),
    ] = []
    """The members."""
    repairs: Annotated[
        list[Repaired],
        Field(max_length=10, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["member", "at"]}),
    ] = []
    """Members that were copied anew, the last ones."""
