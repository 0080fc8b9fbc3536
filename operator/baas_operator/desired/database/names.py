"""Names of the children of a DatabaseReplica; the agent, the plugin and other kinds use them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # agents, which read no spec, use these names: without pydantic they take a quarter less memory
    from baas_operator.api.database import DatabaseReplicaSpec

COMPONENT = "postgresql"
POSTGRES_PORT = 5432
PATRONI_PORT = 8008
AGENT_PORT = 8010
AGENT_CPU = "50m"
"""What an agent asks for, beside a member or a PgBouncer. It needs a tenth of that at rest; but the request is its share of a CPU that
others want, too, and when pods start and end all at once, as when a node is drained, clients wait for it."""
MAX_LAG_BYTES = 16 * 1024 * 1024
"""A standby further behind would make a planned move wait for it, and no failover takes it (one WAL segment)."""
RETIRE_PATH = "/retire"
"""Where the kubelet asks a member's agent to move the primary away, before it ends the pod."""
SWITCHOVER_PATH = "/switchover"
"""Where the operator asks for it."""
WATCHES_PATH = "/watches"
"""Where an agent tells whether it hears of Patroni's lock, and so would hand it over."""
PROMOTION_PATH = "/promotion"
"""Where a member's Patroni asks its agent whether it may be promoted."""
PARAMETERS_ANNOTATION = "baas-operator.io/parameters"
"""What the agent beside the primary notes on its pod: parameters that PostgreSQL does not take (JSON: name -> sentence)."""
SUPERUSER = "postgres"
REPLICATOR = "replicator"
REWIND = "rewind"
POOLER = "pooler"
"""Role that PgBouncer looks up secrets with; also the component's name."""
EXPORTER = "postgres_exporter"
"""Role that reads the statistics, without a password."""
EXPORTER_USER = "nobody"
"""System user that may be that role: the exporter's own."""
EXPORTER_PORT = 9187
FAILOVER_ANNOTATION = "baas-operator.io/last-failover"
"""On `-rw`'s EndpointSlice: what the agent of the last new primary saw of its taking over."""

# Paths inside a member's pod, where postgres and the agent see the same files.
SERVER_TLS_DIR = "/etc/server-tls"
REPLICATION_TLS_DIR = "/etc/replication-tls"
REPLICATION_DIR = "/run/replication"
SOCKET_DIR = "/var/run/postgresql"
DATA_VOLUME = "/var/lib/postgresql/data"


def rw_service(database: str) -> str:
    """Service that leads to the primary."""
    return f"{database}-rw"


def ro_service(database: str) -> str:
    """Service that leads to the standbys."""
    return f"{database}-ro"


def any_service(database: str) -> str:
    """Service that leads to any ready member."""
    return f"{database}-r"


def pods_service(database: str) -> str:
    """Headless Service that gives each member its name."""
    return f"{database}-pods"


def pooler_service(database: str) -> str:
    """Service that leads to the poolers, and they to the primary."""
    return f"{database}-pooler"


def ca(database: str) -> str:
    """Secret with the certificate authority of a database, for the operator alone; and ConfigMap with its certificate, for clients."""
    return f"{database}-ca"


def server_tls_secret(database: str) -> str:
    """Secret with the server certificate of members and poolers."""
    return f"{database}-server-tls"


def replication_tls_secret(database: str) -> str:
    """Secret with the client certificate that standbys stream with."""
    return f"{database}-replication-tls"


def role_secret(database: str, role: str) -> str:
    """Secret with the password of a role; SQL names may have `_`, Kubernetes names `-`."""
    return f"{database}-role-{role.replace('_', '-')}"


def ordinal(member: str) -> int:
    """Number of a member; -1 for a name that no member has."""
    last = member.rpartition("-")[2]
    return int(last) if last.isascii() and last.isdigit() else -1


def leader_config_map(database: str) -> str:
    """Patroni's leader lock."""
    return f"{database}-leader"


def dynamic_config_map(database: str) -> str:
    """Patroni's dynamic configuration, history and system identifier."""
    return f"{database}-config"


def sync_config_map(database: str) -> str:
    """Patroni's synchronous state."""
    return f"{database}-sync"


def patroni_config_maps(database: str) -> tuple[str, ...]:
    """All that Patroni itself keeps in the API server."""
    return (*(f"{database}-{part}" for part in ("leader", "config", "sync", "failover", "failsafe", "status")),)


def runs_sql(spec: DatabaseReplicaSpec) -> bool:
    """Whether roles or databases are to be made inside PostgreSQL."""
    return bool(spec.databases or spec.roles or spec.pooler.replicas or spec.monitoring.enabled)


def database_owners(spec: DatabaseReplicaSpec) -> dict[str, str]:
    """Database -> the role that owns it."""
    return {each.name: each.owner or each.name for each in spec.databases}


# --- between the manifests of the pooler and the agent in its pods --------------------------------------------------

AUTH_DATABASE = "baas-pooler-auth"
"""PgBouncer's name for the database in which it looks up secrets; no database of PostgreSQL that we make can be called so."""
POOLER_AGENT_PORT = 8011
POOLER_RUN = "/run/pooler"
"""Folder of PgBouncer's console and of the configuration that changes; both containers have it."""
POOLER_SECRET = "/etc/pooler/secret"  # noqa: S105 - where it is mounted
POOLER_CERTIFICATE = "/etc/pooler/certificate"
POOLER_DRAIN_SECONDS = 30
"""What a pooler's pod has from being told to go until it is gone."""
