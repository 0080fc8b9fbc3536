"""What a hostile or unlucky world does: crashes, late news, tenants who make objects that look like ours, changes of mind."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from baas_operator.api.group import API_VERSION
from baas_operator.api.kinds import (
    BAAS_INSTANCE,
    CONFIG_MAP,
    DATABASE_REPLICA,
    EVENT_QUEUE,
    OPERATION,
    SECRET,
    STATEFUL_SET,
    VOLUME_CLAIM,
    OwnKind,
)
from baas_operator.desired.meta import ROLE_LABEL, Manifest
from baas_operator.desired.secrets import password
from baas_operator.desired.sql_job import build_sql_job
from baas_operator.engine import applier, jetstream, leader, monitor
from baas_operator.engine.config import Config
from baas_operator.engine.differ import with_hash
from baas_operator.engine.errors import Refused, Waiting
from baas_operator.engine.gather import dependents, view_of
from baas_operator.engine.store import Key, Store, key_of
from baas_operator.engine.teardown import FINALIZER, tear_down
from baas_operator.jetstream.requests import Unreachable
from baas_operator.observe.queue import Group
from baas_operator.observe.view import View
from baas_operator.policy.database import plan_database
from baas_operator.policy.placement import as_made
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, NOW, keyed, nodes, own, owner, pod

DB = owner(DATABASE_REPLICA, "db")


def version(manifest: Manifest, number: int, uid: str) -> Manifest:
    manifest["metadata"] |= {"resourceVersion": str(number), "uid": uid}
    return manifest


def secret(number: int = 5, **data: str) -> Manifest:
    return version(DB.child("v1", "Secret", "db-role-postgres", "postgresql", owned=False, data=data), number, "secret")


# --- the store ------------------------------------------------------------------------------------------------------


def test_a_child_whose_label_was_gone_for_a_while_is_seen_again() -> None:
    """To a watch by label that is a deletion (with the version that the object has then) and an addition, of one uid."""
    store = Store()
    store.put(secret(5))
    store.drop(secret(6))

    assert not store.put(secret(6))
    assert store.put(secret(7))
    assert key_of(secret()) in [key_of(each) for each in store.of_kind("Secret")]


def test_the_next_tenant_of_a_name_is_not_given_the_password_of_the_last() -> None:
    for order in ("secret first", "object first"):
        store, database = Store(), own(DATABASE_REPLICA, "db")
        store.put(database)
        store.put(secret(5, password="b2xk"))
        for each in (secret(6), database) if order == "secret first" else (database, secret(6)):
            store.drop(each)

        assert store.last_seen(key_of(database), key_of(secret())) is None


# --- deletion -------------------------------------------------------------------------------------------------------


def deleted(policy: str, kind: OwnKind = DATABASE_REPLICA) -> Manifest:
    made = own(kind, "db", {"deletionPolicy": policy})
    made["metadata"] |= {"deletionTimestamp": "2026-05-01T12:00:00Z", "finalizers": [FINALIZER], "resourceVersion": "50"}
    return made


async def put_all(api: StandInApi, store: Store, *manifests: Manifest) -> None:
    for each in manifests:
        api.objects[key_of(each)] = each
        store.put(each)


async def test_tear_down_leaves_config_maps_of_others_alone() -> None:
    """`db-config` may be a user's own."""
    api, store, database = StandInApi(), Store(), deleted("Delete")
    theirs = version({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "db-config", "namespace": NAMESPACE}}, 3, "c1")
    ours = version(DB.child("v1", "ConfigMap", "db-leader", "postgresql", owned=False), 4, "c2")
    await put_all(api, store, database, theirs, ours)

    await tear_down(api, store, view_of(store, database, Config()))  # type: ignore[arg-type]

    assert await api.get(CONFIG_MAP, NAMESPACE, "db-config") is not None
    assert await api.get(CONFIG_MAP, NAMESPACE, "db-leader") is None


@pytest.mark.parametrize("kind", [DATABASE_REPLICA, EVENT_QUEUE], ids=lambda kind: str(kind.name))
async def test_data_is_kept_when_the_policy_was_changed_to_retain_just_before_the_object_was_deleted(kind: OwnKind) -> None:
    """As in `kubectl patch … && kubectl delete …` while no operator runs: the StatefulSet still says Delete."""
    api, store, resource, it = StandInApi(), Store(), deleted("Retain", kind), owner(kind, "db")
    policy = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    workload = version(it.child("apps/v1", "StatefulSet", "db", "c", spec={"persistentVolumeClaimRetentionPolicy": policy}), 3, "sts")
    claim = version(it.child("v1", "PersistentVolumeClaim", "data-db-0", "c", owned=False), 4, "pvc")
    claim["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "sts"}]
    password = version(it.child("v1", "Secret", "db-password", "c", data={}), 5, "secret")
    made_again = version(with_hash(it.child("v1", "Secret", "db-auth", "c", data={})), 6, "auth")
    await put_all(api, store, resource, workload, claim, password, made_again)

    for _ in range(3):
        try:
            await tear_down(api, store, view_of(store, store.get(*key_of(resource)) or {}, Config()))  # type: ignore[arg-type]
        except Waiting:
            continue

    def references(key: Key) -> Any:
        return api.objects[key]["metadata"].get("ownerReferences")

    assert api.objects[key_of(workload)]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert not references(Key(VOLUME_CLAIM.name, NAMESPACE, "data-db-0"))
    assert not references(key_of(password))
    assert references(key_of(made_again)), "what can be made again goes with the object"
    assert FINALIZER not in api.objects[key_of(resource)]["metadata"]["finalizers"]
    assert ("delete", f"{STATEFUL_SET.name}/db") not in api.writes


async def test_what_an_instance_made_keeps_its_data_too_before_the_instance_is_let_go_of() -> None:
    api, store, instance, it = StandInApi(), Store(), deleted("Retain", BAAS_INSTANCE), owner(BAAS_INSTANCE, "db")
    keys = version(it.child("v1", "Secret", "db-signing-key", "instance", data={}), 3, "keys")
    made = [
        version(it.child(API_VERSION, kind.name, f"db-{kind.singular}", "c", spec={"deletionPolicy": "Delete"}), 4, kind.singular)
        for kind in (DATABASE_REPLICA, EVENT_QUEUE)
    ]
    await put_all(api, store, instance, keys, *made)

    await tear_down(api, store, view_of(store, instance, Config()))  # type: ignore[arg-type]

    assert not api.objects[key_of(keys)]["metadata"].get("ownerReferences")
    assert [api.objects[key_of(each)]["spec"]["deletionPolicy"] for each in made] == ["Retain", "Retain"]
    assert api.writes[-1] == ("merge", "BaasInstance/db"), "first the data is safe"
    assert FINALIZER not in api.objects[key_of(instance)]["metadata"]["finalizers"]


# --- the Lease ------------------------------------------------------------------------------------------------------


async def test_whoever_lets_go_of_the_lease_has_stopped_writing_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library leaves what it started running when it is cancelled, as it is by SIGTERM."""
    at_work, ended = asyncio.Event(), asyncio.Event()

    class Election:
        def __init__(self, config: Any) -> None:
            self.config = config

        async def run(self) -> None:
            self.task = asyncio.create_task(self.config.onstarted_leading())
            await asyncio.Event().wait()

    class StandInClient:
        api = None
        may_write: Any = None

    async def work() -> None:
        at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(leader.leaderelection, "LeaderElection", Election)
    monkeypatch.setattr(leader, "_BoundedLock", lambda *_: SimpleNamespace(held=lambda: True))
    monkeypatch.setattr(leader.electionconfig, "Config", lambda *_, **more: SimpleNamespace(**more))
    leading = asyncio.create_task(leader.lead(StandInClient(), leader.Config(), work))  # type: ignore[arg-type]
    await asyncio.wait_for(at_work.wait(), 5)
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading

    assert ended.is_set()


# --- operands and annotations that lie ------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [
    {"transitions": "many"}, {"optime": "²"}, {"ttl": "9" * 30}, {"renewTime": "9999-12-31T23:59:59+00:00"}, {"renewTime": "soon"},
])  # fmt: skip
def test_a_lock_with_garbage_in_it_ends_no_reconcile(lock: dict[str, str]) -> None:
    good = {"leader": "db-0", "ttl": "20", "renewTime": NOW.isoformat(), "transitions": "1", "optime": "5"}
    leader_map = DB.child("v1", "ConfigMap", "db-leader", "postgresql", owned=False, annotations=good | lock)
    status = {"status": json.dumps({"timeline": "one", "state": ["no"], "xlog_location": "far"})}
    member = pod(DB, "db-0", "postgresql", on="node-zone-a", annotations=status, labels={ROLE_LABEL: "primary"})
    nested = pod(DB, "db-1", "postgresql", on="node-zone-a", annotations={"status": "[" * 100_000})
    view = View(resource=own(DATABASE_REPLICA, "db"), children=keyed(leader_map, member, nested), nodes=nodes("zone-a"), now=NOW)

    assert plan_database(view).conditions


async def serve(answer: Any, host: str = "127.0.0.1") -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    return runner, runner.addresses[0][1]


async def test_an_operand_can_neither_send_the_operator_elsewhere_nor_fill_its_memory() -> None:
    """Users choose the images of their operands."""
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/jsz" and len(asked) > 1:
            return web.Response(body=b" " * 3 * 2**20 + b'{"meta_cluster": {"leader": "evil"}}')
        if request.path == "/elsewhere":
            return web.json_response({"meta_cluster": {"leader": "evil"}})
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    runner, port = await serve(answer)
    try:
        assert await monitor.nats_meta("127.0.0.1", port) is None
        assert await monitor.nats_meta("127.0.0.1", port) is None
        status, _ = await monitor.switch_over("127.0.0.1", port, leader="a", candidate="b", username="u", password="p")
    finally:
        await runner.cleanup()

    assert status == 307
    assert "/elsewhere" not in asked


async def test_operands_with_ipv6_addresses_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"meta_cluster": {"leader": "mq-0"}})

    async def connect(server: str, **_: Any) -> Any:
        assert server == "nats://[::1]:4222"
        raise TimeoutError

    runner, port = await serve(answer, "::1")
    try:
        assert await monitor.nats_meta("::1", port) == Group("mq-0")
        status, _ = await monitor.switch_over("::1", port, leader="a", candidate="b", username="u", password="p")
    finally:
        await runner.cleanup()
    assert status == 200

    monkeypatch.setattr(jetstream.nats, "connect", connect)
    with pytest.raises(TimeoutError):
        async with jetstream.connect("::1", 4222, "admin", "p"):
            pass


@pytest.mark.parametrize("said", [b"garbage", b"[]", b"null", b"{}", b'{"config": {}, "cluster": {"replicas": [1]}}'])
async def test_garbage_from_jetstream_is_no_answer(said: bytes) -> None:
    class Connection:
        async def request(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(data=said)

    with pytest.raises(Unreachable):
        await jetstream.look(Connection())  # type: ignore[arg-type]


def test_operations_that_are_over_are_not_woken() -> None:
    store = Store()
    for name, phase in (("old", "Succeeded"), ("new", "Running")):
        store.put(own(OPERATION, name, {"target": {"name": "db"}}, status={"phase": phase}))

    assert [each.name for each in dependents(store, Key("DatabaseReplica", NAMESPACE, "db"))] == ["new"]


# --- what was kept ------------------------------------------------------------------------------------------------------


async def test_a_kept_secret_of_another_database_is_not_used_in_silence() -> None:
    """An instance that is made anew on another database finds its old Secret: clients would go on in the old database."""
    api, store = StandInApi(), Store()
    before, after = (
        password(DB, "shop-role-owner", "instance", "shop_owner", owned=False, uri=f"postgresql://{{username}}:{{password}}@{host}/shop")
        for host in ("db1-rw.prod.svc", "db2-rw.prod.svc")
    )
    await applier.ensure_secret(api, store, before)  # type: ignore[arg-type]
    kept = next(iter(api.objects.values()))["data"]

    await applier.ensure_secret(api, store, before)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"db1-rw\.prod\.svc.*db2-rw\.prod\.svc"):
        await applier.ensure_secret(api, store, after)  # type: ignore[arg-type]

    assert next(iter(api.objects.values()))["data"] == kept


def test_a_job_that_gave_up_makes_way_for_a_new_one_and_one_that_runs_keeps_its_image() -> None:
    def jobs(live: Manifest | None, image: str) -> list[Manifest]:
        made = build_sql_job(DB, "db-databases", "databases", image=image, sql="", host="db-rw", superuser_secret="s", roles={})
        view = View(own(DATABASE_REPLICA, "db"), keyed(live) if live else {}, {}, NOW)
        return [each for each in as_made(view, made) if each["kind"] == "Job"]

    (first,) = jobs(None, "postgres:1")
    (running,) = jobs(first, "postgres:2")
    assert running == first
    assert jobs(first | {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}, "postgres:1") == []


async def test_a_secret_made_by_hand_that_lacks_keys_is_told_and_not_overwritten() -> None:
    api, store = StandInApi(), Store()
    request = password(DB, "db-role-postgres", "postgresql", "postgres", owned=False)
    by_hand = DB.child("v1", "Secret", "db-role-postgres", "postgresql", owned=False, data={"username": "cG9zdGdyZXM=", "password": "/w=="})
    await api.create(SECRET, by_hand)

    with pytest.raises(Refused, match="lacks password"):
        await applier.ensure_secret(api, store, request)  # type: ignore[arg-type]

    assert next(iter(api.objects.values()))["data"]["password"] == "/w=="
