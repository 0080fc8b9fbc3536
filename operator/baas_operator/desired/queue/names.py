"""Names of the children of an EventQueue."""

from __future__ import annotations

COMPONENT = "nats"
CLIENT_PORT = 4222
ROUTE_PORT = 6222
MONITOR_PORT = 8222
USERS = ("admin", "app", "system", "route")
"""admin: the operator, in the application's account; app: clients; system: NATS' own account; route: server to server."""


def servers_service(queue: str) -> str:
    """Headless Service that gives each server its name."""
    return f"{queue}-servers"


def config_map(queue: str) -> str:
    """ConfigMap with the servers' configuration. Not `-config`: in a database of the same name that is Patroni's."""
    return f"{queue}-nats"


def user_secret(queue: str, user: str) -> str:
    """Secret with the password of a user."""
    return f"{queue}-user-{user}"


def auth_secret(queue: str) -> str:
    """Secret with the part of the configuration that holds the users."""
    return f"{queue}-auth"


def server_names(queue: str, replicas: int) -> list[str]:
    """Names of the servers, which are those of their pods."""
    return [f"{queue}-{index}" for index in range(replicas)]
