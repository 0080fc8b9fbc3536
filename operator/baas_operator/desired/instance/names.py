"""Names of the children of a BaasInstance, and of its roles in the database."""

from __future__ import annotations

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.meta import Owner

GATEWAY_PORT = 8000
REST_PORT = 3000
"""Where PostgREST answers, of `rest` and of `reads`."""
SECRETS = "instance"
"""Component that a backend's Secrets are labelled with."""
SERVICE_ROLES = ("owner", "authenticator", "auth", "storage")
"""PostgreSQL roles of a backend alone, as their Secrets are named."""

POOLER_URI = "pooler-uri"
"""Key of the Secret of a role that comes by the database's pooler where there is one."""


def gateway_host(owner: Owner) -> str:
    """Name of the gateway's Service inside the cluster."""
    return f"{owner.name}-gateway.{owner.namespace}.svc"


def gateway_url(owner: Owner) -> str:
    """Where clients inside the cluster reach the backend: by plain HTTP also where TLS ends at the gateway (`gateway/routes.py`)."""
    return f"http://{gateway_host(owner)}:{GATEWAY_PORT}"


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
    """The PostgreSQL roles that a backend makes: its own, under both names, and three that all backends on a database share."""
    own = [service_role(instance, each) for each in SERVICE_ROLES]
    return *own, *(alternate(each) for each in own), "anon", "authenticated", "service_role"


def service_role(instance: str, who: str) -> str:
    """A PostgreSQL role of the instance alone: `owner`, `authenticator`, or of a service that keeps tables (`auth`, `storage`)."""
    return f"{sql_name(instance)}_{who}" + ("_admin" if who in ("auth", "storage") else "")


def alternate(role: str) -> str:
    """The other name that a role of the instance logs in with (logins.py)."""
    return f"{role}_alt"


def signing_key_secret(instance: str) -> str:
    """Secret with the private key that signs API keys."""
    return f"{instance}-signing-key"


def api_keys_secret(instance: str) -> str:
    """Secret with the API keys for clients."""
    return f"{instance}-api-keys"


def role_secret(instance: str, role: str) -> str:
    """Secret with the password of a database role of the instance: `authenticator`, `owner`, `auth` or `storage`."""
    return f"{instance}-role-{role}"


def service_secret(instance: str, service: str) -> str:
    """Secret of one service alone: what `auth`, `storage` or `meta` signs or encrypts with, and nobody else checks."""
    return f"{instance}-{service}-secret"
