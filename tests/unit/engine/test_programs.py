"""What a backend's programs need of a queue reaches it: the queue is shown the backends that use it, is woken by what they ask for, and not
by what is only told of them."""

from __future__ import annotations

import base64
import copy
from typing import Any, cast

from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE
from baas_operator.desired.meta import Manifest
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.gather import view_of
from baas_operator.engine.reconcile import Reconciler
from baas_operator.engine.runtime import Runtime
from baas_operator.engine.store import Key, Store
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, ZONES, nodes, own

WORKER = {"name": "mailer", "image": "mailer:1", "stream": "orders"}
QUEUE, SHOP = Key(EVENT_QUEUE.name, NAMESPACE, "mq"), Key(BAAS_INSTANCE.name, NAMESPACE, "shop")


def backend(name: str = "shop", **spec: Any) -> Manifest:
    return own(BAAS_INSTANCE, name, {"queueRef": {"name": "mq"}} | spec)


def queue() -> Manifest:
    return own(EVENT_QUEUE, "mq", {"streams": [{"name": "orders", "subjects": ["orders.>"]}]})


def test_a_queue_is_shown_the_backends_that_use_it() -> None:
    store = Store()
    for each in (queue(), backend(), backend("other", queueRef={"name": "theirs"}), own(BAAS_INSTANCE, "mq")):
        store.put(each)

    others = view_of(store, queue(), Config()).others
    assert set(others) == {("BaasInstance", "shop")}


def test_a_backend_is_shown_the_others_on_its_queue() -> None:
    """Their programs may come before its own there."""
    store = Store()
    own_queue = own(BAAS_INSTANCE, "alone")
    for each in (queue(), backend(), backend("alpha"), backend("other", queueRef={"name": "theirs"}), own_queue):
        store.put(each)

    assert set(view_of(store, backend(), Config()).others) == {("EventQueue", "mq"), ("BaasInstance", "alpha")}
    assert not view_of(store, own_queue, Config()).others


async def test_its_servers_know_a_workers_login_that_was_drawn() -> None:
    api, store = StandInApi(), Store()
    for each in [*nodes(*ZONES).values(), backend(workers=[WORKER])]:
        store.put(each)
    api.objects[QUEUE] = queue()
    store.put(copy.deepcopy(api.objects[QUEUE]))

    await Reconciler(cast(Client, api), store, Config()).reconcile(QUEUE)

    login = api.objects[Key("Secret", NAMESPACE, "mq-user-shop.mailer.worker")]
    drawn = {key: base64.b64decode(text).decode() for key, text in login["data"].items()}
    assert drawn["username"] == "shop.mailer.worker"
    accounts = base64.b64decode(api.objects[Key("Secret", NAMESPACE, "mq-auth")]["data"]["accounts.conf"]).decode()
    assert '"shop.mailer.worker"' in accounts
    assert drawn["password"] in accounts


async def event(runtime: Runtime, resource: Manifest, version: int, *, generation: int = 1, deleted: bool = False) -> set[Key]:
    """What is to be reconciled for an event."""
    resource = copy.deepcopy(resource)
    resource["metadata"] |= {"resourceVersion": str(version), "generation": generation}
    runtime.event(resource, deleted=deleted)
    found = set()
    while len(runtime.queue):
        found.add(key := await runtime.queue.get())
        runtime.queue.done(key)
    return found


async def test_a_queue_is_woken_by_a_backends_spec_and_not_by_its_status() -> None:
    """The status of a backend has its backlog, which is the queue's: one would wake the other for ever."""
    runtime = Runtime(cast(Client, StandInApi()), Config())
    await event(runtime, queue(), 1)
    assert await event(runtime, backend(), 2) == {SHOP, QUEUE}

    assert await event(runtime, backend() | {"status": {"programs": [{"name": "mailer", "backlog": 7}]}}, 3) == {SHOP}
    assert await event(runtime, backend(workers=[WORKER]), 4, generation=2) == {SHOP, QUEUE}
    assert await event(runtime, queue() | {"status": {"streams": []}}, 5) == {SHOP, QUEUE}, "and it hears of the queue's"
    assert await event(runtime, backend(), 6, generation=2, deleted=True) == {SHOP, QUEUE}
