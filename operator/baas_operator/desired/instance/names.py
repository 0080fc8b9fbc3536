"""Names of the children of a BaasInstance, and of its roles in the database."""

from __future__ import annotations

from baas_operator.api.instance import BaasInstanceSpec

GATEWAY_PORT = 8000


def database_name(instance: str, spec: BaasInstanceSpec) -> str:
    """The DatabaseReplica that the instance uses."""
    return spec.database_ref.name if spec.database_ref else f"{instance}-db"


def queue_name(instance: str, spec: BaasInstanceSpec) -> str:
    """The EventQueue that the instance uses."""
    return spec.queue_ref.name if spec.queue_ref else f"{instance}-events"


def sql_name(instance: str) -> str:
    """The instance's own database, named as it is; SQL names have `_` where Kubernetes names have `-`."""
    return instance.replace("-", "_")


def sql_roles(instance: str) -> tuple[str, ...]:
    """The PostgreSQL roles that a backend makes: two of its own, and three that all backends on a database share."""
    name = sql_name(instance)
    return f"{name}_owner", f"{name}_authenticator", "anon", "authenticated", "service_role"


def signing_key_secret(instance: str) -> str:
    """Secret with the private key that signs API keys."""
    return f"{instance}-signing-key"


def api_keys_secret(instance: str) -> str:
    """Secret with the API keys for clients."""
    return f"{instance}-api-keys"


def role_secret(instance: str, role: str) -> str:
    """Secret with the password of a database role of the instance: `authenticator` or `owner`."""
    return f"{instance}-role-{role}"
