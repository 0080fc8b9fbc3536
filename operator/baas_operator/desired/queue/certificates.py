"""The certificates of an EventQueue: an authority of its own, and what servers show clients and one another."""

from __future__ import annotations

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue import names
from baas_operator.desired.secrets import Certificate, SecretRequest

_CA_DAYS = 3650
_DAYS = 90
"""As those of a database: renewed after two thirds, so a month is left to notice that renewal does not work."""


def host_names(owner: Owner) -> tuple[str, ...]:
    """What clients, and other servers, call the servers: the Service in all forms that resolve in a cluster, each server, and loopback."""
    domains = ("", f".{owner.namespace}", f".{owner.namespace}.svc", f".{owner.namespace}.svc.cluster.local")
    made = [f"{owner.name}{domain}" for domain in domains]
    made += [f"*.{names.servers_service(owner.name)}{domain}" for domain in domains[2:]]
    return (*made, "localhost")


def queue_certificates(spec: EventQueueSpec, owner: Owner) -> list[SecretRequest]:
    """One Secret each, the authority first. They outlive the object as its passwords do: clients know the authority."""
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    authority = names.ca(owner.name)
    return [
        SecretRequest(
            owner, authority, names.COMPONENT, recipe="certificate", owned=owned,
            certificate=Certificate("ca", f"{owner.name} CA", _CA_DAYS),
        ),
        SecretRequest(
            owner, names.tls_secret(owner.name), names.COMPONENT, recipe="certificate", source=authority, owned=owned,
            type="kubernetes.io/tls", certificate=Certificate("peer", owner.name, _DAYS, host_names(owner)),
        ),
    ]  # fmt: skip


def build_ca_bundle(owner: Owner, ca: str | None) -> list[Manifest]:
    """The ConfigMap that clients verify servers with; none before the authority was drawn. `ca` is PEM."""
    if ca is None:
        return []
    return [owner.child("v1", "ConfigMap", names.ca(owner.name), names.COMPONENT, data={"ca.crt": ca})]
