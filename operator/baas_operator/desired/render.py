"""Manifests of a custom resource, offline: for GitOps reviews and golden tests."""

from __future__ import annotations

from typing import Any

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.group import API_VERSION
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import CERTIFICATE, HTTP_ROUTE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.database.build import DatabaseFacts, build_database, database_secrets
from baas_operator.desired.database.certificates import database_certificates
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance, instance_secrets
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue.build import QueueFacts, build_queue, queue_secrets
from baas_operator.desired.queue.certificates import queue_certificates
from baas_operator.desired.queue.names import users
from baas_operator.desired.queue.users import Login
from baas_operator.desired.secrets import SecretRequest

REDACTED = "REDACTED"
_ASKED = frozenset({HTTP_ROUTE.name, CERTIFICATE.name})
"""Kinds of others that are shown: those that only a spec asks for. PodMonitors are there or not as the cluster is."""
_JWKS = (
    '{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",'
    '"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"drawn-by-the-operator","alg":"ES256","use":"sig"}]}'
)
"""In the place of what is drawn: the example of RFC 7517, A.1."""
_CA = "-----BEGIN CERTIFICATE-----\n(drawn by the operator)\n-----END CERTIFICATE-----\n"


def secret_requests(manifest: dict[str, Any]) -> list[SecretRequest]:
    """The secrets that the operator would draw for a custom resource."""
    kind, spec, owner = _parse(manifest)
    match kind:
        case "DatabaseReplica":
            database = DatabaseReplicaSpec.model_validate(spec)
            return [*database_secrets(database, owner), *database_certificates(database, owner)]
        case "EventQueue":
            queue = EventQueueSpec.model_validate(spec)
            return [*queue_certificates(queue, owner), *queue_secrets(queue, owner, _CA)]
        case _:
            return instance_secrets(BaasInstanceSpec.model_validate(spec), owner)


def render(manifest: dict[str, Any], images: Images | None = None) -> list[Manifest]:
    """The children that the operator would make for a custom resource, as on a cluster of three zones where all is well.

    What depends on drawn secrets is shown with REDACTED in their place.

    Raises:
        ValueError: it is no kind of ours, or (pydantic.ValidationError) its spec is not valid.
    """
    kind, spec, owner = _parse(manifest)
    images = images or Images()
    match kind:
        case "DatabaseReplica":
            return build_database(DatabaseReplicaSpec.model_validate(spec), owner, images, DatabaseFacts(ca=_CA))
        case "EventQueue":
            queue = EventQueueSpec.model_validate(spec)
            logins = {user: (Login(user, REDACTED),) for user in users(queue)}
            made = build_queue(queue, owner, images, QueueFacts(logins=logins, ca=_CA))
            for each in made:
                if each["kind"] == "Secret":
                    del each["data"]
            return made
        case _:
            return build_instance(
                BaasInstanceSpec.model_validate(spec),
                owner,
                images,
                InstanceFacts(jwks=_JWKS, kids=("drawn-by-the-operator",), kinds=_ASKED),
            )


def _parse(manifest: dict[str, Any]) -> tuple[str, dict[str, Any], Owner]:
    kind = manifest.get("kind")
    if manifest.get("apiVersion") != API_VERSION or kind not in ("DatabaseReplica", "EventQueue", "BaasInstance"):
        raise ValueError(
            f"{manifest.get('apiVersion')}/{kind} has nothing to render: give a DatabaseReplica, an EventQueue or a BaasInstance "
            f"of {API_VERSION}."
        )
    metadata = manifest.get("metadata") or {}
    if not metadata.get("name"):
        raise ValueError(f"this {kind} has no metadata.name: give it one.")
    owner = Owner(kind=str(kind), namespace=metadata.get("namespace") or "default", name=metadata["name"])
    return str(kind), manifest.get("spec") or {}, owner
