"""The certificates of a DatabaseReplica: an authority of its own, the servers' certificate, and the one that standbys stream with."""

from __future__ import annotations

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.secrets import Certificate, SecretRequest

_CA_DAYS = 3650
_DAYS = 90
"""Renewed after two thirds: a month is left to notice that renewal does not work."""


def server_names(owner: Owner) -> tuple[str, ...]:
    """What clients call the members: each Service in all forms that resolve in a cluster, each member, and loopback.

    A wildcard stands for one label, so it fits `DB-0.DB-pods.NS.svc` (RFC 6125, 6.4.3).
    """
    domains = ("", f".{owner.namespace}", f".{owner.namespace}.svc", f".{owner.namespace}.svc.cluster.local")
    services = (names.rw_service, names.ro_service, names.any_service, names.pooler_service)
    made = [f"{service(owner.name)}{domain}" for service in services for domain in domains]
    made += [f"*.{names.pods_service(owner.name)}{domain}" for domain in domains[2:]]
    return (*made, "localhost")


def database_certificates(spec: DatabaseReplicaSpec, owner: Owner) -> list[SecretRequest]:
    """One Secret each, the authority first. They outlive the object as its passwords do: clients know the authority."""
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    authority = names.ca(owner.name)
    leaves = {
        names.server_tls_secret(owner.name): Certificate("server", names.rw_service(owner.name), _DAYS, server_names(owner)),
        names.replication_tls_secret(owner.name): Certificate("client", names.REPLICATOR, _DAYS),
    }
    return [
        SecretRequest(
            owner, authority, names.COMPONENT, recipe="certificate", owned=owned,
            certificate=Certificate("ca", f"{owner.name} CA", _CA_DAYS),
        ),
        *(
            SecretRequest(
                owner, name, names.COMPONENT, recipe="certificate", source=authority, owned=owned, type="kubernetes.io/tls",
                certificate=certificate,
            )
            for name, certificate in leaves.items()
        ),
    ]  # fmt: skip


def build_ca_bundle(owner: Owner, ca: str | None) -> list[Manifest]:
    """The ConfigMap that clients verify servers with; none before the authority was drawn. `ca` is PEM."""
    if ca is None:
        return []
    return [owner.child("v1", "ConfigMap", names.ca(owner.name), names.COMPONENT, data={"ca.crt": ca})]
