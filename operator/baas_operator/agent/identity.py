"""Whom an agent is beside, and the paths of what it reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.desired.database import names
from baas_operator.desired.meta import NAME_LABEL, Owner


@dataclass(frozen=True)
class Identity:
    """A member of a database."""

    database: str
    namespace: str
    pod: str
    ip: str
    node: str

    @property
    def slices(self) -> str:
        """The namespace's EndpointSlices."""
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"

    @property
    def slice_path(self) -> str:
        """The EndpointSlice of `-rw`."""
        return f"{self.slices}/{names.rw_service(self.database)}"

    @property
    def config_maps(self) -> str:
        """The namespace's ConfigMaps."""
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    @property
    def lock_path(self) -> str:
        """Patroni's leader lock."""
        return f"{self.config_maps}/{names.leader_config_map(self.database)}"

    @property
    def sync_path(self) -> str:
        """Patroni's synchronous state."""
        return f"{self.config_maps}/{names.sync_config_map(self.database)}"

    @property
    def scope_label(self) -> str:
        """What selects the database's objects."""
        return f"{NAME_LABEL}={self.database}"

    @property
    def patroni_labels(self) -> str:
        """All that Patroni labels its ConfigMaps with, and selects them by: others of the database are not read."""
        labels = Owner("DatabaseReplica", self.namespace, self.database).labels(names.COMPONENT)
        return ",".join(f"{name}={value}" for name, value in labels.items())

    @property
    def pods(self) -> str:
        """The namespace's pods."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def pod_path(self, name: str) -> str:
        """A pod of the namespace."""
        return f"{self.pods}/{name}"
