"""Volumes grow when the spec says so, or by themselves when one is four fifths full; where their class forbids it, somebody is told.

The API server judges what may be resized as it does anywhere. Nothing here resizes: a claim's capacity stays what it was until a test says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from baas_operator.observe.report import REPORT, Report, Volume
from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.children import condition, wait_quiet
from .harness.cluster import ControlPlane
from .harness.operator import OperatorProcess
from .harness.volumes import CLASS_MANIFEST

GIB = 2**30
GROWN_SECONDS = 10.0
MEMBERS = ("shop-0", "shop-1", "shop-2")


@pytest.fixture(scope="module", autouse=True)
def operator(cp: ControlPlane) -> Iterator[OperatorProcess]:
    with cp.operator() as running:
        yield running


def claims(cp: ControlPlane, namespace: str) -> list[Object]:
    found = [cp.get("PersistentVolumeClaim", namespace, f"data-{member}") for member in MEMBERS]
    return [each for each in found if each and each.get("status", {}).get("phase") == "Bound"]


def asked(cp: ControlPlane, namespace: str) -> list[str]:
    """What each member's bound claim asks for."""
    return [each["spec"]["resources"]["requests"]["storage"] for each in claims(cp, namespace)]


def serve(cp: ControlPlane, namespace: str, **storage: str) -> None:
    """A database whose members run, each on a volume of 5 GiB."""
    cp.must_apply(own("DatabaseReplica", "shop", {"storage": storage}), namespace)
    cp.wait(lambda: asked(cp, namespace) == ["5Gi"] * 3, 60, "three volumes of 5 GiB")
    cp.wait(lambda: all(running(cp, namespace, member) for member in MEMBERS), 60, "three members that run")


def running(cp: ControlPlane, namespace: str, member: str) -> bool:
    pod = cp.get("Pod", namespace, member)
    conditions = (pod or {}).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def report(cp: ControlPlane, namespace: str, member: str, *, size: float, used: float) -> None:
    """What the member's agent tells of its volume; `size` in GiB, `used` as a share of it."""
    told = Report(Volume(size=int(size * GIB), free=int(size * GIB * (1 - used))))
    answer = cp.patch("Pod", namespace, member, {"metadata": {"annotations": {REPORT: told.text()}}})
    assert answer.ok, answer.message


def resize(cp: ControlPlane, namespace: str, size: str) -> None:
    """What a volume's driver does once a claim asks for more."""
    for each in claims(cp, namespace):
        path = cp.resource("PersistentVolumeClaim").path(namespace, each["metadata"]["name"])
        resized = {"status": {"capacity": {"storage": size}}}
        status, answer = cp.request("PATCH", f"{path}/status", resized, content_type="application/merge-patch+json")
        assert status == 200, answer


def test_a_larger_size_reaches_every_members_volume(cp: ControlPlane, namespace: str) -> None:
    serve(cp, namespace)

    cp.must_apply(own("DatabaseReplica", "shop", {"storage": {"size": "7Gi"}}), namespace)

    cp.wait(lambda: asked(cp, namespace) == ["7Gi"] * 3, GROWN_SECONDS, "three claims of 7 GiB")


def test_one_volume_that_is_four_fifths_full_has_all_of_them_grow(cp: ControlPlane, namespace: str) -> None:
    serve(cp, namespace, size="5Gi", maxSize="7Gi")
    report(cp, namespace, "shop-1", size=5, used=0.79)
    wait_quiet(cp)
    assert asked(cp, namespace) == ["5Gi"] * 3, "not before it is due"

    report(cp, namespace, "shop-1", size=5, used=0.81)

    cp.wait(lambda: asked(cp, namespace) == ["6Gi"] * 3, GROWN_SECONDS, "three claims of 6 GiB: a fifth is one more")


def test_they_grow_once_more_when_they_have_grown_and_never_beyond_the_most(cp: ControlPlane, namespace: str) -> None:
    serve(cp, namespace, size="5Gi", maxSize="6500Mi")
    report(cp, namespace, "shop-2", size=5, used=0.9)
    cp.wait(lambda: asked(cp, namespace) == ["6Gi"] * 3, GROWN_SECONDS, "three claims of 6 GiB")
    wait_quiet(cp)
    assert asked(cp, namespace) == ["6Gi"] * 3, "no further before the volumes are what the claims ask for"

    resize(cp, namespace, "6Gi")
    report(cp, namespace, "shop-2", size=6, used=0.9)
    cp.wait(lambda: asked(cp, namespace) == ["6500Mi"] * 3, GROWN_SECONDS, "three claims of spec.storage.maxSize")

    resize(cp, namespace, "6500Mi")
    report(cp, namespace, "shop-2", size=6.3, used=0.9)
    wait_quiet(cp)
    assert asked(cp, namespace) == ["6500Mi"] * 3


def test_without_a_most_nothing_grows_by_itself(cp: ControlPlane, namespace: str) -> None:
    serve(cp, namespace, size="5Gi")

    report(cp, namespace, "shop-0", size=5, used=0.9)

    told = cp.wait(lambda: condition(cp, namespace, "DatabaseReplica", "shop", "StoragePressure"), GROWN_SECONDS, "it is told")
    assert told is not None
    assert told["status"] == "True"
    assert "shop-0 (90 % used)" in told["message"]
    wait_quiet(cp)
    assert asked(cp, namespace) == ["5Gi"] * 3


def test_a_class_that_lets_nothing_grow_is_told(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(CLASS_MANIFEST | {"metadata": {"name": "rigid"}, "allowVolumeExpansion": False})
    serve(cp, namespace, size="5Gi", storageClassName="rigid")

    cp.must_apply(own("DatabaseReplica", "shop", {"storage": {"size": "7Gi", "storageClassName": "rigid"}}), namespace)

    stalled = cp.wait(lambda: condition(cp, namespace, "DatabaseReplica", "shop", "Stalled"), GROWN_SECONDS, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "VolumeCannotGrow"
    assert "allowVolumeExpansion" in stalled["message"]
    assert asked(cp, namespace) == ["5Gi"] * 3
