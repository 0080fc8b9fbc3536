"""Apply: what others do to our children is undone, but nobody is fought over and over."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.kinds import SECRET
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.pods import service
from baas_operator.desired.secrets import password
from baas_operator.engine import applier
from baas_operator.engine.errors import Refused
from baas_operator.engine.store import Store, key_of
from tests.unit.engine.api import StandInApi

OWNER = Owner("DatabaseReplica", "shop", "db", uid="owner-uid")
THEIR_PORT = {"name": "theirs", "port": 1}


class Server:
    """An API server with one object; `webhook` puts a port of its own into whatever is written."""

    def __init__(self, *, live: Manifest | None = None, webhook: bool = False) -> None:
        self.live = live
        self.webhook = webhook
        self.writes: list[str] = []
        self._version = 1

    async def get(self, *_: Any) -> Manifest | None:
        return copy.deepcopy(self.live)

    async def apply(self, _kind: Any, manifest: Manifest, **_: Any) -> Manifest:
        """Server-side apply: the ports of others stay."""
        self.writes.append("apply")
        theirs = [THEIR_PORT] if self.live and THEIR_PORT in self.live["spec"]["ports"] else []
        return self._stored(manifest, theirs)

    async def merge(self, _kind: Any, _namespace: str, _name: str, patch: dict[str, Any]) -> Manifest:
        """A merge patch: a list is a whole."""
        self.writes.append("merge")
        assert self.live is not None
        return self._stored({**self.live, "spec": patch["spec"]}, [])

    def _stored(self, manifest: Manifest, theirs: list[dict[str, Any]]) -> Manifest:
        made = copy.deepcopy(manifest)
        made["spec"]["ports"] += [THEIR_PORT] if self.webhook else theirs
        self._version += 1
        made["metadata"] |= {"uid": "child-uid", "resourceVersion": str(self._version)}
        self.live = made
        return copy.deepcopy(made)


def wanted() -> Manifest:
    return service(OWNER, "db-rw", "postgresql", {"postgresql": 5432}, selector=None)


def ports(server: Server) -> list[str]:
    assert server.live is not None
    return [each["name"] for each in server.live["spec"]["ports"]]


async def test_unchanged_child_is_not_written() -> None:
    server, store = Server(), Store()
    assert await applier.apply(server, store, wanted())  # type: ignore[arg-type]

    assert not await applier.apply(server, store, wanted())  # type: ignore[arg-type]

    assert server.writes == ["apply"]


async def test_a_large_child_that_is_unchanged_is_not_written_either() -> None:
    """The store has only a part of it."""
    api, store = StandInApi(), Store()
    large = OWNER.child("v1", "ConfigMap", "db-databases", "databases", data={"run.sql": "-" * 100_000, "more.sql": "-"})
    assert await applier.apply(api, store, large)  # type: ignore[arg-type]

    assert not await applier.apply(api, store, large)  # type: ignore[arg-type]

    api.objects[key_of(large)]["data"]["run.sql"] = "drop everything"
    assert await applier.apply(api, store, large)  # type: ignore[arg-type]


async def test_port_of_somebody_else_is_taken_out() -> None:
    server, store = Server(), Store()
    await applier.apply(server, store, wanted())  # type: ignore[arg-type]
    assert server.live is not None
    server.live["spec"]["ports"].append(THEIR_PORT)
    server.live["metadata"]["resourceVersion"] = "100"
    server._version = 100
    store.put(copy.deepcopy(server.live))

    await applier.apply(server, store, wanted())  # type: ignore[arg-type]

    assert ports(server) == ["postgresql"]


async def test_webhook_that_insists_is_fought_once() -> None:
    server, store = Server(webhook=True), Store()

    for _ in range(3):
        await applier.apply(server, store, wanted())  # type: ignore[arg-type]

    assert server.writes.count("merge") == 1


async def test_child_without_labels_is_ours_by_its_owner_reference() -> None:
    server = Server()
    await applier.apply(server, Store(), wanted())  # type: ignore[arg-type]
    assert server.live is not None
    server.live["metadata"]["labels"] = {}

    assert await applier.apply(server, Store(), wanted())  # type: ignore[arg-type]

    assert server.live["metadata"]["labels"]["baas-operator.io/name"] == "db"


@pytest.mark.parametrize(
    "labels",
    [{}, {"baas-operator.io/kind": "EventQueue", "baas-operator.io/name": "db"}],
    ids=["somebody-else", "another-kind-of-that-name"],
)
async def test_object_of_others_is_not_taken_over(labels: dict[str, str]) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db-rw", "namespace": "shop", "uid": "x", "resourceVersion": "1", "labels": labels},
        "spec": {"ports": []},
    }
    server = Server(live=theirs)

    with pytest.raises(Refused, match="'db-rw'"):
        await applier.apply(server, Store(), wanted())  # type: ignore[arg-type]

    assert server.writes == []


SEALED = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "db-role-shop", "uid": "sealed-uid", "controller": True}
EARLIER = {"apiVersion": "baas-operator.io/v1alpha1", "kind": "DatabaseReplica", "name": "db", "uid": "earlier-uid", "controller": True}


async def brought(*owners: Manifest) -> tuple[StandInApi, Manifest]:
    """A Secret with our labels, which others own."""
    api = StandInApi()
    secret = OWNER.child("v1", "Secret", "db-role-shop", "postgresql", owned=False, data={"password": "bWluZQ=="})
    secret["metadata"]["ownerReferences"] = list(owners)
    return api, await api.create(SECRET, secret)


def owners_of(api: StandInApi, secret: Manifest) -> list[tuple[str, bool]]:
    found = api.objects[key_of(secret)]["metadata"]["ownerReferences"]
    return [(each["uid"], each["controller"]) for each in found]


@pytest.mark.parametrize("owned", [False, True], ids=["retained", "deleted-with-it"])
async def test_a_secret_that_another_controller_keeps_is_used_and_stays_its(owned: bool) -> None:
    api, secret = await brought(SEALED)
    store, request = Store(), password(OWNER, "db-role-shop", "postgresql", "shop", owned=owned)

    await applier.ensure_secret(api, store, replace(request, fixed={}))  # type: ignore[arg-type]

    assert owners_of(api, secret) == [("sealed-uid", True), *([("owner-uid", False)] if owned else [])]
    api.writes.clear()
    await applier.ensure_secret(api, store, replace(request, fixed={}))  # type: ignore[arg-type]
    assert api.writes == []


async def test_what_an_earlier_object_owned_beside_another_controller_is_adopted() -> None:
    api, secret = await brought(SEALED, EARLIER | {"controller": False})

    await applier.ensure_secret(api, Store(), replace(password(OWNER, "db-role-shop", "x", "shop", owned=True), fixed={}))  # type: ignore[arg-type]

    assert owners_of(api, secret) == [("sealed-uid", True), ("owner-uid", False)]
