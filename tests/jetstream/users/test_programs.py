"""examples/worker.py as a pod of a backend's worker: with the files and variables that the operator gives it, its own login and consumer,
against real servers with the configuration that the operator makes. Nothing but the gateway is a stand-in."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from nats.aio.client import Client as Nats

from baas_operator.api.instance.programs import Worker
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.instance.engine import api_keys
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.dead_letters import letters_kept
from baas_operator.desired.queue.names import inbox
from baas_operator.desired.queue.programs import QueueProgram
from baas_operator.desired.queue.streams import all_kept
from baas_operator.desired.queue.users import Login
from baas_operator.engine import jetstream
from baas_operator.jetstream.requests import JetStreamError, call
from baas_operator.observe.queue import QueueObservation
from baas_operator.observe.view import View
from baas_operator.policy.plan import EnsureConsumer, EnsureStream
from baas_operator.policy.programs import look_at_programs
from baas_operator.policy.queue.programs import impossible, programs_of, with_programs
from tests.jetstream.dispatcher.whole import eventually
from tests.jetstream.users.programs import REPOSITORY, StandInGateway, WorkerPod
from tests.jetstream.users.secured import OWNER, Secured, secured
from tests.unit.objects import NOW, keyed, own, owner, secret

(EXAMPLE,) = yaml.safe_load_all((REPOSITORY / "examples" / "workers.yaml").read_text())
STREAMS = EXAMPLE["spec"]["streams"]
ACK_WAIT = 2


def _instance(name: str) -> Manifest:
    """The backend of the example, on a queue that it shares; a message is given to another after 2 s."""
    spec: dict[str, Any] = {key: each for key, each in EXAMPLE["spec"].items() if key != "streams"} | {"queueRef": {"name": OWNER.name}}
    spec["workers"] = [spec["workers"][0] | {"ackWaitSeconds": ACK_WAIT}, *spec["workers"][1:]]
    return own(BAAS_INSTANCE, name, spec)


STORE, BLOG = _instance("store"), _instance("blog")
VIEW = View(
    resource=own(EVENT_QUEUE, OWNER.name), children={}, nodes={}, now=NOW,
    others={(BAAS_INSTANCE.name, each["metadata"]["name"]): each for each in (STORE, BLOG)},
)  # fmt: skip
DECLARED = EventQueueSpec.model_validate({"replicas": 1, "streams": [each for each in STREAMS if each["name"] == "orders"]})
SPEC = with_programs(DECLARED, OWNER.name, programs_of(VIEW))
MAILER, BLOGS = "store.mailer.worker", "blog.mailer.worker"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Secured]:
    with secured(tmp_path / "nats", SPEC) as servers:
        yield servers


@pytest_asyncio.fixture
async def admin(queue: Secured) -> AsyncIterator[Nats]:
    """The operator's connection, once it has made all streams and consumers."""
    await queue.wait_whole()
    made = await queue.connect(inbox_prefix=inbox("admin"))
    for kept in [*all_kept(SPEC, queue=OWNER.name, namespace=OWNER.namespace, shares={}), *letters_kept(SPEC, queue=OWNER.name, shares={})]:
        await jetstream.bring_about(made, EnsureStream(kept.config, exists=False))
        for config in kept.consumers.values():
            await jetstream.bring_about(made, EnsureConsumer(kept.name, config, exists=False))
    yield made
    await made.close()


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[StandInGateway]:
    made = StandInGateway()
    await made.start()
    yield made
    await made.stop()


class Pods:
    """Pods of the store's mailer."""

    def __init__(self, queue: Secured, folder: Path, gateway: StandInGateway) -> None:
        self.mailer = WorkerPod(queue, folder / "credentials", "store", STORE["spec"], "mailer", gateway.url)
        self.log = folder / "mailer.log"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        self.running.append(self.mailer.start(self.log))
        return self.running[-1]

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def pods(queue: Secured, tmp_path: Path, gateway: StandInGateway) -> Iterator[Pods]:
    made = Pods(queue, tmp_path, gateway)
    yield made
    for each in made.running:
        each.kill()
        each.wait()


def violations(queue: Secured) -> list[str]:
    logs = [(queue.folder / f"{name}.log").read_text(errors="replace") for name in queue.names]
    return [line for log in logs for line in log.splitlines() if "Violation" in line]


async def state(admin: Nats, consumer: str = "store_mailer") -> tuple[int, int]:
    info = await call(admin, f"$JS.API.CONSUMER.INFO.orders.{consumer}")
    return int(info["num_pending"]), int(info["num_ack_pending"])


async def mailed(admin: Nats) -> list[str]:
    """Ids of the orders of which the worker has said so, in the order of the stream."""
    last = (await call(admin, "$JS.API.STREAM.INFO.orders"))["state"]["last_seq"]
    found = [await admin.jetstream().get_msg("orders", sequence) for sequence in range(1, last + 1)]
    return [json.loads(each.data or b"")["id"] for each in found if each.subject == "orders.mailed"]


async def place(admin: Nats, *orders: str) -> bool:
    """True once the stream has them."""
    for each in orders:
        await admin.jetstream().publish("orders.placed", json.dumps({"id": each}).encode())
    return True


async def test_it_logs_in_works_acknowledges_and_says_so(queue: Secured, admin: Nats, pods: Pods, gateway: StandInGateway) -> None:
    orders = [f"o-{number}" for number in range(25)]
    await place(admin, *orders)
    await admin.jetstream().publish("orders.placed", b"garbage")
    await admin.jetstream().publish("orders.paid", b'{"id": "not mine"}')

    for _ in range(2):
        pods.start()

    async def done() -> bool:
        return await state(admin) == (0, 0) and len(await mailed(admin)) == len(orders)

    await eventually(done, "all orders are mailed")
    assert sorted(await mailed(admin)) == sorted(orders)
    method, path, headers = gateway.asked[0]
    assert (method, path.split("?")[0]) == ("PATCH", "/rest/v1/orders")
    assert headers["apikey"].count(".") == 2, "the service key, a token"
    assert headers["authorization"] == f"Bearer {headers['apikey']}"
    assert violations(queue) == []
    assert await state(admin, "blog_mailer") == (26, 0), "another backend's worker gets all of them, too"


async def test_sigterm_finishes_what_is_in_hand(admin: Nats, pods: Pods, gateway: StandInGateway) -> None:
    gateway.hold = asyncio.Event()
    await place(admin, "a", "b", "c")
    pod = pods.start()
    await eventually(lambda: gateway.begun == 3, "it has them in hand")

    pod.send_signal(signal.SIGTERM)
    await place(admin, "later")
    await asyncio.sleep(0.3)
    assert pod.poll() is None, "it works on"
    gateway.hold.set()

    assert await asyncio.to_thread(pod.wait, 20) == 0, pods.said()
    assert sorted(await mailed(admin)) == ["a", "b", "c"]
    assert await state(admin) == (1, 0), "nothing new was taken, and nothing is left without an answer"


async def test_what_a_pod_had_in_hand_when_it_was_killed_comes_to_another(admin: Nats, pods: Pods, gateway: StandInGateway) -> None:
    gateway.hold = asyncio.Event()
    await place(admin, "a", "b")
    pod = pods.start()
    await eventually(lambda: gateway.begun == 2, "it has them in hand")
    pod.kill()
    pod.wait()
    gateway.hold.set()
    assert await mailed(admin) == []

    pods.start()

    async def done() -> bool:
        return sorted(await mailed(admin)) == ["a", "b"] and await state(admin) == (0, 0)

    await eventually(done, "the other has done them")


async def test_what_fails_is_tried_again(admin: Nats, pods: Pods, gateway: StandInGateway) -> None:
    gateway.status = 503
    await place(admin, "a")
    pods.start()
    await eventually(lambda: len(gateway.asked) >= 2, "it was tried again")
    gateway.status = 204

    async def done() -> bool:
        return await mailed(admin) == ["a"] and await state(admin) == (0, 0)

    await eventually(done, "it worked")
    assert (await call(admin, "$JS.API.CONSUMER.INFO.orders.store_mailer"))["config"]["max_deliver"] == 5, "as the stream's deadLetter says"


async def test_a_rotation_is_read_from_the_files(queue: Secured, admin: Nats, pods: Pods) -> None:
    pod = pods.start()
    await place(admin, "before")
    await eventually(lambda: "mailed order before" in pods.said(), "it works")

    queue.logins[MAILER] = (Login(f"{MAILER}-alt", "another"),)
    pods.mailer.mount()
    (server,) = queue.names
    queue.kill(server, signal.SIGTERM)
    queue.start(server)
    await eventually(lambda: place(admin, "after"), "the server is back")

    await eventually(lambda: "mailed order after" in pods.said(), "it came in with the other name and password")
    assert pod.poll() is None


async def test_backends_on_one_queue_are_closed_to_one_another(queue: Secured, admin: Nats) -> None:
    await place(admin, "a")
    said: list[str] = []

    async def heard(error: Exception) -> None:
        said.append(str(error).lower())

    store = await queue.connect(MAILER, inbox_prefix=inbox(MAILER), error_cb=heard)
    own_orders = await store.jetstream().pull_subscribe_bind("store_mailer", stream="orders")
    (message,) = await own_orders.fetch(1, timeout=3)
    await message.ack_sync(timeout=3)
    await store.jetstream().publish("orders.mailed", b'{"id": "a"}')
    assert said == []

    refused = [
        "$JS.API.CONSUMER.MSG.NEXT.orders.blog_mailer", "$JS.API.CONSUMER.DELETE.orders.store_mailer", "$JS.API.CONSUMER.CREATE.orders.x",
        "$JS.API.CONSUMER.DURABLE.CREATE.orders.x", "$JS.ACK.orders.blog_mailer.1.1.1.1.1", "$JS.API.STREAM.MSG.GET.orders",
        "orders.placed",
    ]  # fmt: skip
    for subject in refused:
        await store.publish(subject, b"")
    for subject in ("orders.>", "_INBOX.>", f"{inbox(BLOGS)}.>", ">"):
        await store.subscribe(subject)
    await store.flush()
    await eventually(lambda: len(said) == len(refused) + 4, "all are refused")
    assert all("permissions violation" in each for each in said)
    app = await queue.connect("app", error_cb=heard)
    with pytest.raises((TimeoutError, JetStreamError)):
        await call(app, "$JS.API.CONSUMER.DELETE.orders.store_mailer", seconds=1)
    for each in (store, app):
        await each.close()


async def test_the_backlog_that_jetstream_tells_decides_how_many_there_are(admin: Nats) -> None:
    """What the operator does at each look, but for the API server between the two objects."""
    scaling = {"minReplicas": 0, "maxReplicas": 12, "backlogPerReplica": 50}
    spec = STORE["spec"] | {"workers": [STORE["spec"]["workers"][0] | {"replicas": 0, "autoscaling": scaling}], "jobs": []}
    resource = own(BAAS_INSTANCE, "store", spec)
    keys = api_keys(owner(BAAS_INSTANCE, "store"))
    deployment = owner(BAAS_INSTANCE, "store").child(
        "apps/v1", "Deployment", "store-worker-mailer", "worker-mailer", spec={"replicas": 0, "template": {"spec": {}}}
    )
    logins = keyed(secret(OWNER, f"{OWNER.name}-user-{MAILER}", "nats", username=MAILER))

    async def wanted() -> tuple[int | None, int]:
        seen = QueueObservation((), await jetstream.look(admin))
        told = seen.stream_status("orders", [each.name for each in SPEC.streams[0].consumers])
        assert told
        status = {"streams": [told.model_dump(by_alias=True, exclude_none=True, mode="json")]}
        others = {(EVENT_QUEUE.name, OWNER.name): own(EVENT_QUEUE, OWNER.name, {"streams": STREAMS}, status=status)}
        view = View(
            resource=resource, children=keyed(deployment), nodes={}, now=NOW, others=others,
            other_children={(EVENT_QUEUE.name, OWNER.name): logins},
        )  # fmt: skip
        found = look_at_programs(BaasInstanceSpec.model_validate(spec), view, keys)
        return found.statuses[0].backlog, found.facts.scaled["mailer"].replicas

    assert await wanted() == (0, 0)
    await place(admin, "first")
    began = time.perf_counter()
    assert await wanted() == (1, 1), "awake by the next look"
    assert time.perf_counter() - began < 1, "a look costs nothing that would keep it from being frequent"

    await place(admin, *(f"o-{number}" for number in range(122)))
    assert await wanted() == (130, 3), "123, with two digits that are exact"
    worker = await admin.jetstream().pull_subscribe_bind("store_mailer", stream="orders")
    await worker.fetch(100, timeout=5)
    assert await wanted() == (130, 3), "what is under way waits, too"


@pytest.mark.parametrize(
    ("taken", "wanted", "refused"),
    [
        (None, None, True), (None, "work.a", True), ("work.a", "work.a", True), ("work.*", "work.a", True), ("work.a", "work.b", False),
    ],
)  # fmt: skip
async def test_a_workqueue_takes_just_the_consumers_that_are_not_called_contested(
    admin: Nats, taken: str | None, wanted: str | None, refused: bool
) -> None:
    worker = {"name": "mailer", "image": "mailer:1", "stream": "work"} | ({"filter": wanted} if wanted else {})
    other = {"name": "other"} | ({"filters": [taken]} if taken else {})
    stream = {"name": "work", "subjects": ["work.*"], "retention": "workqueue", "consumers": [other]}
    declared = EventQueueSpec.model_validate({"replicas": 1, "streams": [stream]})
    program = QueueProgram("store", Worker.model_validate(worker))
    spec = with_programs(declared, OWNER.name, [program])
    assert (impossible(declared, OWNER.name, program) is not None) == refused

    (kept,) = all_kept(spec, queue=OWNER.name, namespace=OWNER.namespace, shares={})
    await jetstream.bring_about(admin, EnsureStream(kept.config, exists=False))
    for config in kept.consumers.values():
        await jetstream.bring_about(admin, EnsureConsumer("work", config, exists=False))
    if refused:
        mine = dict(kept.consumers["other"]) | {"name": "mine", "durable_name": "mine", "filter_subject": wanted or ""}
        with pytest.raises(JetStreamError, match="workqueue"):
            await jetstream.bring_about(admin, EnsureConsumer("work", mine, exists=False))


async def test_a_filter_that_matches_nothing_is_taken_by_jetstream_and_would_wait_for_ever(admin: Nats) -> None:
    config = dict(all_kept(SPEC, queue=OWNER.name, namespace=OWNER.namespace, shares={})[0].consumers["store_mailer"])
    config |= {"name": "mine", "durable_name": "mine", "filter_subject": "bills.>"}
    await jetstream.bring_about(admin, EnsureConsumer("orders", config, exists=False))
    assert await state(admin, "mine") == (0, 0)
