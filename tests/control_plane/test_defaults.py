"""An empty spec is a good one; what is left out is filled in where everybody can read it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OWN_KINDS, OwnKind
from tests.harness.api import Object
from tests.harness.manifests import own, switchover

from .harness.cluster import REPOSITORY, ControlPlane

EMPTY_IS_GOOD = (BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE)
EXAMPLES = sorted((REPOSITORY / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("spec", [{}, None], ids=["spec-empty", "spec-left-out"])
@pytest.mark.parametrize("kind", EMPTY_IS_GOOD, ids=lambda kind: kind.name)
def test_empty_object_is_whole(cp: ControlPlane, kind: OwnKind, spec: Object | None) -> None:
    answer = cp.apply(own(kind.name, "empty", spec), "default", dry_run=True)

    assert answer.ok, answer.message
    stored = kind.spec.model_validate(answer.object["spec"])
    assert stored == kind.spec(), "the API server's defaults are not the models' defaults"
    filled_in = kind.spec().model_dump(mode="json", by_alias=True, exclude_none=True)
    assert answer.object["spec"] == filled_in


def test_empty_database_survives_a_zone(cp: ControlPlane) -> None:
    spec = cp.apply(own("DatabaseReplica", "empty", {}), "default", dry_run=True).object["spec"]

    assert (spec["replicas"], spec["durability"], spec["deletionPolicy"]) == (3, "zone-quorum", "Retain")


def test_defaults_reach_into_what_is_given(cp: ControlPlane) -> None:
    given = {"storage": {"storageClassName": "fast"}, "databases": [{"name": "shop"}]}
    answer = cp.apply(own("DatabaseReplica", "partly", given), "default", dry_run=True)

    assert answer.object["spec"]["storage"] == {"storageClassName": "fast", "size": "5Gi"}
    assert answer.object["spec"]["replicas"] == 3


def test_operation_needs_little(cp: ControlPlane) -> None:
    answer = cp.apply(switchover("move", "shop-db"), "default", dry_run=True)

    assert answer.ok, answer.message
    assert answer.object["spec"]["target"]["kind"] == "DatabaseReplica"
    assert answer.object["spec"]["timeoutSeconds"] == 120


GOOD_UPDATES: list[tuple[str, str, Object, Object]] = [
    ("volume grows", "DatabaseReplica", {"storage": {"size": "5Gi"}}, {"storage": {"size": "20Gi"}}),
    ("volume in another unit", "DatabaseReplica", {"storage": {"size": "5Gi"}}, {"storage": {"size": "5120Mi"}}),
    ("volume of one Ti", "EventQueue", {"storage": {"size": "1000Gi"}}, {"storage": {"size": "1Ti"}}),
    ("more members", "DatabaseReplica", {"replicas": 3}, {"replicas": 5}),
    ("standby given up together with durability", "DatabaseReplica", {}, {"replicas": 1, "durability": "async"}),
    ("more servers", "EventQueue", {"replicas": 3}, {"replicas": 5}),
    ("more gateways", "BaasInstance", {}, {"components": {"gateway": {"replicas": 5}}}),
    ("a port of its own", "BaasInstance", {}, {"components": {"gateway": {"service": {"type": "NodePort"}}}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "before", "after"), [row[1:] for row in GOOD_UPDATES], ids=[row[0].replace(" ", "-") for row in GOOD_UPDATES]
)
def test_good_change_is_taken(cp: ControlPlane, namespace: str, kind: str, before: Object, after: Object) -> None:
    cp.must_apply(own(kind, "it", before), namespace)

    answer = cp.apply(own(kind, "it", after), namespace)

    assert answer.ok, answer.message


@pytest.mark.parametrize("kind", [kind for kind in OWN_KINDS if kind.scale], ids=lambda kind: kind.name)
def test_kubectl_scales_it(cp: ControlPlane, namespace: str, kind: OwnKind) -> None:
    cp.must_apply(own(kind.name, "it", {}), namespace)

    cp.kubectl("scale", "--namespace", namespace, f"{kind.plural}.baas-operator.io/it", "--replicas=5")

    stored = cp.get(kind.name, namespace, "it")
    assert stored is not None
    assert kind.scale is not None
    value: object = stored
    for step in kind.scale[0].strip(".").split("."):
        assert isinstance(value, dict)
        value = value[step]
    assert value == 5


@pytest.mark.parametrize("kind", OWN_KINDS, ids=lambda kind: kind.name)
def test_kubectl_explains_every_field(cp: ControlPlane, kind: OwnKind) -> None:
    told = cp.kubectl("explain", f"{kind.plural}.baas-operator.io", "--recursive").stdout

    spec = kind.spec.model_json_schema(by_alias=True)
    fields = set(spec["properties"]) | {field for each in spec.get("$defs", {}).values() for field in each.get("properties", {})}
    words = set(told.replace("\t", " ").split())
    assert fields <= words, f"kubectl explain does not show {sorted(fields - words)}"


def test_kubectl_finds_them_by_category_and_short_name(cp: ControlPlane, namespace: str) -> None:
    for kind in EMPTY_IS_GOOD:
        cp.must_apply(own(kind.name, "it", {}), namespace)

    together = cp.kubectl("get", "baas", "--namespace", namespace, "--output", "name").stdout

    for kind in EMPTY_IS_GOOD:
        assert f"{kind.singular}.baas-operator.io/it" in together
        assert cp.kubectl("get", kind.short, "it", "--namespace", namespace).stdout.splitlines()[0].startswith("NAME")


HOSTS = [f"shop{number}.example" for number in range(20)]
"""As many as there may be."""


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("DatabaseReplica", {"storage": {"storageClassName": "2-zones.fast"}}),
        ("EventQueue", {"storage": {"storageClassName": "2-zones.fast"}}),
        ("BaasInstance", {"isolation": {"clients": [{"namespace": "2-web"}]}}),
        ("BaasInstance", {"hosts": HOSTS, "components": {"gateway": {"ingress": {"className": "2.nginx.example"}}}}),
        (
            "BaasInstance",
            {
                "hosts": HOSTS[:16],
                "components": {"gateway": {"httpRoute": {"name": "public", "namespace": "2-infra", "sectionName": "2.https"}}},
            },
        ),
    ],
)
def test_what_is_not_ours_may_have_any_name_that_kubernetes_takes(cp: ControlPlane, kind: str, spec: Object) -> None:
    answer = cp.apply(own(kind, "it", spec), "default", dry_run=True)

    assert answer.ok, answer.message


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(REPOSITORY / "examples")))
def test_example_is_accepted(cp: ControlPlane, path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest and "apiVersion" in manifest:
            metadata = manifest["metadata"]
            # Namespaces of the example are not there, and a name that the API server would choose is chosen here.
            metadata.pop("namespace", None)
            metadata["name"] = metadata.get("name") or metadata.pop("generateName") + "x"
            answer = cp.apply(manifest, "default", dry_run=True)
            assert answer.ok, f"{manifest['kind']} {metadata['name']}: {answer.message}"
