"""Names of the children of an EventQueue, and what its servers and the agents beside them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the agents need the names, and not the memory that the API's models take
    from baas_operator.api.queue import EventQueueSpec

COMPONENT = "nats"
CLIENT_PORT = 4222
ROUTE_PORT = 6222
MONITOR_PORT = 8222
LEAF_PORT = 7422
"""Where servers of other queues dial in to copy streams."""
AGENT_PORT = 8010
DISPATCHER_PORT = 8080
CAUGHT_UP_PATH = "/caught-up"
"""Where an agent tells whether all that its server has a copy of is level with its leaders."""
STATUS_PATH = "/status"
"""Where an agent tells what it sees (JSON)."""

APPLICATION_ACCOUNT = "APP"
"""The account that all streams are in."""
ADMIN = "admin"
APP = "app"
AGENT = "agent"
DISPATCHER = "dispatcher"
SYSTEM = "system"
AGENT_SYSTEM = "system-for-agents"
"""The agents' user in NATS' own account; longer than the name of a declared user may be."""
ROUTE = "route"
USERS = (ADMIN, APP, AGENT, DISPATCHER, SYSTEM, AGENT_SYSTEM, ROUTE)
"""admin: the operator, in the application's account; app: clients; agent: beside each server; dispatcher: webhooks and dead letters;
system: the operator in NATS' own account; route: server to server."""
ROTATED = tuple(each for each in USERS if each != ROUTE)
"""Users whose password can be another while they work; servers know one another by their certificates, too."""
SLOT_SUFFIX = "-alt"
"""A user has two names, which take turns: NATS knows one password a name, and ends the connections of a user whose password changed."""

# Paths inside a server's pod, where server and agent see the same files.
CONFIG_DIR = "/etc/nats"
TLS_DIR = "/etc/nats-tls"
RUN_DIR = "/var/run/nats"
AGENT_DIR = "/etc/agent"
"""The Secrets of the agent's two users, one folder each."""
RETIRE_FILE = "retire"
"""In RUN_DIR: the server's preStop hook asks its agent for the move of what it leads. A file, so that nobody outside the pod can."""
RETIRING_FILE = "retiring"
"""The agent has seen it."""
RETIRED_FILE = "retired"
"""It is done, or was given up: the server may go."""

WEBHOOK_CONSUMER = "BAAS_webhook_"
"""How the names of webhooks' consumers begin; the webhook's follows."""
WEBHOOKS_BUCKET = "BAAS_webhooks"
"""Key-value store of what dispatchers know of endpoints together."""

DISPATCHER_CONFIG_DIR = "/etc/dispatcher"
DISPATCHER_SECRETS_DIR = "/etc/dispatcher-secrets"
NATS_FOLDER, WEBHOOK_FOLDER, OUTBOX_FOLDER = "nats", "webhook", "outbox"
"""In it: the dispatchers' own user, and a folder for each webhook and outbox, in one of their kind: a webhook may be called `nats`."""


def servers_service(queue: str) -> str:
    """Headless Service that gives each server its name."""
    return f"{queue}-servers"


def config_map(queue: str) -> str:
    """ConfigMap with the servers' configuration. Not `-config`: in a database of the same name that is Patroni's."""
    return f"{queue}-nats"


def user_secret(queue: str, user: str) -> str:
    """Secret with the password of a user."""
    return f"{queue}-user-{user}"


def webhook_secret(queue: str, webhook: str) -> str:
    """Secret that signs a webhook's deliveries, where the user brings none."""
    return f"{queue}-webhook-{webhook}"


def webhook_consumer(webhook: str) -> str:
    """Consumer of a webhook, which the dispatchers make."""
    return WEBHOOK_CONSUMER + webhook


def dispatcher(queue: str) -> str:
    """Deployment of the dispatchers, and what belongs to it."""
    return f"{queue}-dispatcher"


def auth_secret(queue: str) -> str:
    """Secret with the part of the configuration that holds the users."""
    return f"{queue}-auth"


def ca(queue: str) -> str:
    """Secret with the authority that signs certificates, and ConfigMap with its certificate alone, for clients. Not
    `-ca`, which a database of the same name keeps."""
    return f"{queue}-nats-ca"


def tls_secret(queue: str) -> str:
    """Secret with the servers' certificate, which they also show one another."""
    return f"{queue}-nats-tls"


def host(queue: str, namespace: str) -> str:
    """What clients call the servers; their certificate has this name, whatever address was dialled."""
    return f"{queue}.{namespace}.svc"


def server_names(queue: str, replicas: int) -> list[str]:
    """Names of the servers, which are those of their pods."""
    return [f"{queue}-{index}" for index in range(replicas)]


def users(spec: EventQueueSpec) -> tuple[str, ...]:
    """All users, our own first."""
    return (*USERS, *(each.name for each in spec.users))


def other_slot(username: str) -> str:
    """The name that a user has after its next rotation."""
    return username.removesuffix(SLOT_SUFFIX) if username.endswith(SLOT_SUFFIX) else username + SLOT_SUFFIX


def inbox(user: str) -> str:
    """Prefix of a private inbox: the answers to this user's requests."""
    return f"_INBOX_{user}"
