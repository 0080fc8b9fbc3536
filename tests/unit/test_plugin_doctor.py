"""`kubectl baas doctor`: each check on a cluster that is fit, and on one that is not."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from baas_operator.api.crd import all_crds
from kubectl_baas.doctor import Level, examine
from kubectl_baas.doctor.cluster import check_clocks, check_pod_security, check_storage, check_version, check_zones
from kubectl_baas.doctor.operator import check_crds, check_deployment, check_lease, check_permissions
from kubectl_baas.errors import PluginError

Manifest = dict[str, Any]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def node(name: str, zone: str | None, *, ready: bool = True, **spec: Any) -> Manifest:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    state = {"conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": state}


def storage_class(name: str, *, default: bool = True, created: str = "2026-01-01T00:00:00Z", **fields: Any) -> Manifest:
    mark = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    good = {"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": True}
    return {"metadata": {"name": name, "annotations": mark, "creationTimestamp": created}, **good, **fields}


def deployment(*, replicas: int = 2, ready: int = 2, namespace: str = "baas-system") -> Manifest:
    metadata = {"name": "baas-operator", "namespace": namespace}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}


def lease(name: str = "baas-operator", *, ago: float = 2, holder: str | None = "pod-a") -> Manifest:
    renewed = (NOW - timedelta(seconds=ago)).isoformat()
    return {"metadata": {"name": name}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}}


THREE = [node(f"n-{zone}", zone) for zone in ("zone-a", "zone-b", "zone-c")]
CONTROL_PLANE = node("cp", "zone-c", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])


@pytest.mark.parametrize(
    ("version", "level"),
    [("v1.29.9", Level.FAIL), ("v1.30.0", Level.OK), ("v1.34.4-eks-1", Level.OK), ("v2.0.0", Level.OK), ("main", Level.WARN)],
)
def test_versions(version: str, level: Level) -> None:
    assert check_version({"gitVersion": version}).level is level


@pytest.mark.parametrize(
    ("nodes", "level", "says"),
    [
        (THREE, Level.OK, "zone-a, zone-b, zone-c"),
        ([*THREE[:2], CONTROL_PLANE], Level.WARN, "2 zones"),
        ([*THREE[:2], node("n-c", "zone-c", unschedulable=True)], Level.WARN, "2 zones"),
        ([*THREE[:2], node("n-c", "zone-c", ready=False)], Level.WARN, "2 zones"),
        ([node("n", None)], Level.WARN, "1 node without the label topology.kubernetes.io/zone"),
        ([CONTROL_PLANE], Level.FAIL, "no node"),
        ([], Level.FAIL, "no node"),
    ],
)
def test_zones(nodes: list[Manifest], level: Level, says: str) -> None:
    check = check_zones(nodes)
    assert (check.level, says in check.message) == (level, True), check.message


@pytest.mark.parametrize(
    ("classes", "level", "says"),
    [
        ([storage_class("fast")], Level.OK, "fast"),
        ([], Level.FAIL, "no default StorageClass"),
        ([storage_class("fast", default=False)], Level.FAIL, "no default StorageClass"),
        ([storage_class("fast", volumeBindingMode="Immediate")], Level.WARN, "WaitForFirstConsumer"),
        ([storage_class("fast", allowVolumeExpansion=False)], Level.WARN, "can not grow"),
        ([storage_class("new", created="2026-02-01T00:00:00Z"), storage_class("old")], Level.WARN, "the default StorageClass is new"),
    ],
)
def test_storage(classes: list[Manifest], level: Level, says: str) -> None:
    check = check_storage(classes)
    assert (check.level, says in check.message) == (level, True), check.message


def test_clocks() -> None:
    assert check_clocks(NOW, NOW + timedelta(seconds=2), [lease("n-a")]).level is Level.OK
    assert check_clocks(NOW, NOW - timedelta(minutes=1), []).level is Level.WARN
    assert check_clocks(None, NOW, []).level is Level.WARN
    ahead = check_clocks(NOW, NOW, [lease("n-a"), lease("n-b", ago=-60)])
    assert (ahead.level, "n-b" in ahead.message, "n-a" in ahead.message) == (Level.WARN, True, False)
    # A node that is down has an old Lease; that is no word about its clock.
    assert check_clocks(NOW, NOW, [lease("n-a", ago=600)]).level is Level.OK


def test_crds_that_are_ours_even_after_the_api_server_dropped_what_is_empty() -> None:
    installed = [copy.deepcopy(each) for each in all_crds().values()]
    assert check_crds(installed).level is Level.OK


def test_crds_that_are_missing_or_of_another_version() -> None:
    installed = [copy.deepcopy(each) for each in all_crds().values()]
    assert check_crds(installed[1:]).level is Level.FAIL
    spec = installed[1]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["replicas"]["maximum"] = 3
    other = check_crds(installed)
    assert other.level is Level.WARN
    assert "properties.spec.properties.replicas.maximum" in other.message


@pytest.mark.parametrize(
    ("deployments", "level"),
    [
        ([deployment()], Level.OK),
        ([deployment(ready=1)], Level.WARN),
        ([deployment(replicas=1, ready=1)], Level.WARN),
        ([deployment(ready=0)], Level.FAIL),
        ([], Level.FAIL),
        ([deployment(), deployment(namespace="other")], Level.WARN),
    ],
)
def test_the_operators_deployment(deployments: list[Manifest], level: Level) -> None:
    assert check_deployment(deployments).level is level


@pytest.mark.parametrize(
    ("found", "level"),
    [(lease(), Level.OK), (lease(ago=40), Level.FAIL), (lease(holder=None), Level.FAIL), (None, Level.FAIL)],
)
def test_the_lease(found: Manifest | None, level: Level) -> None:
    assert check_lease(found, NOW).level is level


def test_an_operator_that_is_scaled_to_0_is_told_how_it_comes_back() -> None:
    check = check_deployment([deployment(replicas=0, ready=0)])
    assert check.level is Level.FAIL
    assert "is scaled to 0" in check.message
    assert "`kubectl -n baas-system scale deployment baas-operator --replicas=2`" in check.message


def test_the_leases_holder_must_be_a_pod_that_stays() -> None:
    assert levels(Api(gone=("/pods/pod-a",)))["leader"] is Level.FAIL
    assert levels(Api(going=("/pods/pod-a",)))["leader"] is Level.FAIL
    assert levels(Api(denied=("/pods/pod-a",)))["leader"] is Level.OK


def test_permissions() -> None:
    every = {("list", "operations"): True, ("create", "operations"): True}
    assert check_permissions(every, "prod").level is Level.OK
    assert check_permissions(every | {("create", "operations"): False}, "prod").level is Level.WARN
    assert check_permissions(every | {("list", "operations"): False}, "prod").level is Level.FAIL


def test_pod_security_is_advice() -> None:
    check = check_pod_security({"metadata": {"name": "prod"}})
    assert check.level is Level.OK
    assert "kubectl label namespace prod" in check.message


class Api:
    """A fit cluster; paths in `denied` are forbidden, those in `gone` are not there, those in `going` are being deleted."""

    namespace = "prod"
    server_time: datetime | None = NOW

    def __init__(self, *, denied: tuple[str, ...] = (), gone: tuple[str, ...] = (), going: tuple[str, ...] = ()) -> None:
        self.denied, self.gone, self.going = denied, gone, going
        self.asked: list[str] = []

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Manifest:
        self.asked.append(path)
        if path.endswith(self.denied):
            raise PluginError(f"you may not see {path}", status=403)
        if path.endswith(self.gone):
            raise PluginError(f"no {path}", status=404)
        last = path.rsplit("/", 1)[1]
        answers: dict[str, Any] = {
            "version": {"gitVersion": "v1.34.4"},
            "nodes": {"items": THREE},
            "storageclasses": {"items": [storage_class("fast")]},
            "leases": {"items": [lease("n-a")]},
            "customresourcedefinitions": {"items": list(all_crds().values())},
            "deployments": {"items": [deployment()]},
            "baas-operator": lease(),
            "pod-a": {"metadata": {"name": "pod-a"} | ({"deletionTimestamp": "x"} if path.endswith(self.going) else {})},
            "prod": {"metadata": {"name": "prod"}},
        }
        return dict(answers[last])

    def post(self, path: str, body: Manifest) -> Manifest:
        assert path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return body | {"status": {"allowed": True}}


def levels(api: Api, **options: Any) -> dict[str, Level]:
    checks = examine(api, namespace="prod", operator_namespace=options.get("operator_namespace"), here=NOW)
    return {each.name: each.level for each in checks}


def test_a_fit_cluster() -> None:
    found = levels(Api())
    assert len(found) == 9
    assert set(found.values()) == {Level.OK}


def test_what_may_not_be_seen_is_a_warning_and_leaves_the_rest_alone() -> None:
    found = levels(Api(denied=("/nodes", "/deployments")))
    assert {name for name, level in found.items() if level is Level.WARN} == {"zones", "operator"}
    assert "leader" not in found


def test_no_lease_and_no_namespace_are_failures() -> None:
    found = levels(Api(gone=("/leases/baas-operator", "/namespaces/prod")))
    assert {name for name, level in found.items() if level is Level.FAIL} == {"leader", "pod security"}


def test_the_operators_namespace_can_be_given() -> None:
    api = Api(denied=("/apis/apps/v1/deployments",))
    assert levels(api, operator_namespace="baas-system")["operator"] is Level.OK


def test_no_answer_at_all_is_an_error() -> None:
    with pytest.raises(PluginError, match="may not see /version"):
        levels(Api(denied=("/version",)))
