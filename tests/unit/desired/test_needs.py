"""What a workload needs among its object's other manifests."""

from __future__ import annotations

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA
from baas_operator.desired.database.build import DatabaseFacts, build_database
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.meta import Manifest
from baas_operator.desired.needs import Ref, needs
from tests.unit.objects import owner

IMAGES = Images()


def found(manifests: list[Manifest], kind: str, name: str) -> frozenset[Ref]:
    return needs(next(each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)), manifests)


def test_a_components_pods_need_their_files_their_account_and_what_isolates_them() -> None:
    jwks = '{"keys": [{"kid": "a", "kty": "EC"}]}'
    made = build_instance(BaasInstanceSpec(), owner(BAAS_INSTANCE, "shop"), IMAGES, InstanceFacts(jwks=jwks, kids=("a",)))
    policies = {("NetworkPolicy", f"shop-{name}") for name in ("default-deny", "gateway")}
    assert found(made, "Deployment", "shop-gateway") == policies | {("ConfigMap", "shop-gateway"), ("ServiceAccount", "shop-gateway")}
    assert found(made, "Service", "shop-gateway") == frozenset()
    assert found(made, "DatabaseReplica", "shop-db") == frozenset()


def test_what_shuts_all_pods_needs_what_opens_each() -> None:
    """Or a backend that is to be isolated while it serves would be away between two of its policies, and for good where one is refused."""
    made = build_instance(BaasInstanceSpec(), owner(BAAS_INSTANCE, "shop"), IMAGES, InstanceFacts())
    policies = [each["metadata"]["name"] for each in made if each["kind"] == "NetworkPolicy"]
    assert policies[-1] == "shop-default-deny"
    assert found(made, "NetworkPolicy", "shop-default-deny") == {("NetworkPolicy", each) for each in policies[:-1]}
    assert found(made, "NetworkPolicy", "shop-gateway") == frozenset()


def test_members_need_what_lets_them_speak_to_the_api_server() -> None:
    made = build_database(DatabaseReplicaSpec(), owner(DATABASE_REPLICA, "db"), IMAGES, DatabaseFacts())
    needed = found(made, "StatefulSet", "db")
    assert {kind for kind, _ in needed} >= {"ServiceAccount", "RoleBinding", "Role", "ConfigMap", "NetworkPolicy"}
    assert ("Service", "db-rw") not in needed


@pytest.mark.parametrize(
    ("pod", "kind"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}, "Secret"),
        ({"volumes": [{"name": "v", "configMap": {"name": "x"}}]}, "ConfigMap"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "x"}}]}}]}, "Secret"),
        ({"containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]}]}, "Secret"),
        ({"initContainers": [{"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]}]}, "ConfigMap"),
        ({"serviceAccountName": "x"}, "ServiceAccount"),
    ],
)
def test_all_ways_to_name_something_are_known(pod: Manifest, kind: str) -> None:
    others = [{"kind": each, "metadata": {"name": "x"}} for each in ("Secret", "ConfigMap", "ServiceAccount", "Service")]
    template = {"template": {"metadata": {}, "spec": pod}}
    for workload in ({"kind": "Job", "spec": template}, {"kind": "CronJob", "spec": {"jobTemplate": {"spec": template}}}):
        assert needs(workload, others) == {(kind, "x")}
