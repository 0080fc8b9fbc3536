"""A DatabaseReplica as its users see it: URIs of its services and members, and who leads."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.e2e.harness.kube import Kube
from tests.harness.api import Object


@dataclass(frozen=True)
class Database:
    """A DatabaseReplica, and one of its databases with the role that owns it."""

    kube: Kube
    namespace: str
    name: str
    owner: str

    @property
    def uri(self) -> str:
        """What the Secret of the owner gives to an application."""
        return self.kube.secret(self.namespace, f"{self.name}-role-{self.owner}")["uri"]

    def uri_at(self, host: str) -> str:
        """The same, at another service (`shop-ro`) or at one member (`shop-0.shop-pods`)."""
        parts = urlsplit(self.uri)
        netloc = f"{parts.username}:{parts.password}@{host}.{self.namespace}.svc:{parts.port}"
        return parts._replace(netloc=netloc, query="sslmode=require").geturl()  # of any role

    def member_uri(self, member: str) -> str:
        return self.uri_at(f"{member}.{self.name}-pods")

    def members(self) -> list[Object]:
        """Pods of the members, in the order of their names."""
        return self.kube.pods_of(self.namespace, self.name, "postgresql")

    def names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.members()]

    def leader(self) -> str:
        """The member that holds Patroni's lock."""
        lock = self.kube.must_get("ConfigMap", self.namespace, f"{self.name}-leader")
        return str(lock["metadata"]["annotations"]["leader"])

    def routed_to(self) -> str:
        """The address that `-rw` leads to; empty while it leads nowhere."""
        found = self.kube.must_get("EndpointSlice", self.namespace, f"{self.name}-rw").get("endpoints") or []
        addresses = [address for each in found for address in each["addresses"]]
        assert len(addresses) <= 1, f"-rw leads to more than one member: {addresses}"
        return addresses[0] if addresses else ""

    def address(self, member: str) -> str:
        """The address of a member's pod."""
        return str(self.kube.must_get("Pod", self.namespace, member)["status"].get("podIP", ""))

    def wait_whole(self, timeout_seconds: float = 360) -> None:
        """Until it is ready and any zone could be lost."""
        self.kube.wait_whole(self.namespace, "DatabaseReplica", self.name, timeout_seconds=timeout_seconds)
