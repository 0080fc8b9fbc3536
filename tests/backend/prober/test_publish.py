"""A message's way, all of it real: NATS with the users, TLS and the stream that the operator makes, its dispatcher, and probers as their
pods run them. Of all that is in a cluster only the probers' Service is not there: the webhook leads to one of them, so that the other's
has to be handed on."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE, SERVICE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance import publishing
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.engines import blueprint
from baas_operator.desired.meta import Owner
from baas_operator.jetstream.requests import call
from baas_operator.observe.view import View
from baas_operator.policy.queue.probes import with_probes
from bench.webhooks.processes import own_address
from tests.backend.prober.harness import ProberProcess, cpu_seconds, resident_mebibytes, until
from tests.jetstream.dispatcher.rig import SECRET
from tests.jetstream.dispatcher.whole import Whole, whole
from tests.jetstream.harness.servers import free_ports
from tests.jetstream.users.secured import Secured, secured
from tests.unit.objects import NOW, own, owner

SPEC = BaasInstanceSpec.model_validate({"prober": {"publish": True}})
SHOP = Owner("BaasInstance", "prod", "shop", "uid")
USER = publishing.user("shop")
DEADLINE = 3.0


def queue_spec(port: int) -> EventQueueSpec:
    """As the operator keeps the queue of a backend. Only where the prober is, which its Service has in a cluster, is another."""
    resource = own(EVENT_QUEUE, "shop-events")
    resource["metadata"]["ownerReferences"] = [owner(BAAS_INSTANCE, "shop").reference()]
    backend = own(BAAS_INSTANCE, "shop", {"prober": {"publish": True}})
    service = {"spec": {"clusterIPs": [own_address()]}}
    view = View(
        resource=resource, children={}, nodes={}, now=NOW, others={(BAAS_INSTANCE.name, "shop"): backend},
        other_children={(BAAS_INSTANCE.name, "shop"): {(SERVICE.name, "shop-prober"): service}},
    )  # fmt: skip
    made = with_probes(EventQueueSpec(replicas=1), view)
    hook = made.webhooks[0].model_copy(update={"url": f"http://{own_address()}:{port}/hook"})
    return made.model_copy(update={"webhooks": [hook]})


class Probers:
    """Two, and all that is between them."""

    def __init__(self, folder: Path, servers: Secured, dispatchers: Whole, ports: list[int]) -> None:
        self.servers, self.dispatchers = servers, dispatchers
        self.both = [self._prober(folder / f"prober-{number}", port) for number, port in enumerate(ports)]
        self.hooked, self.other = self.both

    def _prober(self, folder: Path, port: int) -> ProberProcess:
        (component,) = [each for each in blueprint(Given(SHOP, SPEC, Images(), '{"keys": []}')) if each.name == "prober"]
        told = json.loads(component.config["probe.json"])
        told["transactions"] = [each | {"every": 1} for each in told["transactions"] if each["name"] == "publish"]
        told["queue"] |= {"host": "localhost", "port": self.servers.client_ports[self.servers.names[0]]}
        told |= {"intervalSeconds": 1.0, "deadlineSeconds": DEADLINE}
        login = self.servers.logins[USER][0]
        files = {
            "queue-username": login.username, "queue-password": login.password, "queue-ca.crt": self.servers.authority[0],
            "webhook-secret": SECRET,
        }  # fmt: skip
        for mount in _of_the_queue(component):
            where = folder / "secrets" / Path(mount.path).name
            where.mkdir(parents=True)
            for file in mount.items.values():
                (where / file).write_text(files.pop(file))
        assert not files, "what a prober needs is mounted"
        (folder / "probe.json").write_text(json.dumps(told))
        made = ProberProcess(component, folder, host="0.0.0.0")
        made.port = port
        return made


def _of_the_queue(component: Component) -> list[Any]:
    return [each for each in component.mounts if (each.secret or "").startswith("shop-events-")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Probers]:
    ports = free_ports(2)
    with secured(tmp_path, queue_spec(ports[0])) as servers, whole(servers, tmp_path / "dispatchers") as dispatchers:
        made = Probers(tmp_path, servers, dispatchers, ports)
        try:
            yield made
        finally:
            for each in made.both:
                each.process.end(signal.SIGKILL)


@pytest_asyncio.fixture
async def admin(world: Probers) -> AsyncIterator[Nats]:
    """The streams are there, a dispatcher delivers, and both probers probe."""
    await world.servers.wait_whole()
    made = await world.servers.connect()
    await world.dispatchers.streams(made)
    world.dispatchers.start()
    for each in world.both:
        each.start()
    for each in world.both:
        await each.began()
        await each.when("publish", failing=False)
    yield made
    await made.close()


async def state(admin: Nats, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = (await call(admin, f"$JS.API.STREAM.INFO.{stream}"))["state"]
    return found


async def settled(admin: Nats) -> None:
    """Until all that was published was taken."""

    async def so() -> bool:
        consumer = await call(admin, "$JS.API.CONSUMER.INFO.baas-probe.BAAS_webhook_baas-probe")
        return bool(consumer["num_pending"] == consumer["num_ack_pending"] == 0)

    await until(so, "nothing waits for its delivery any more")
    assert (await state(admin, "BAAS_DEAD_baas-probe"))["messages"] == 0, "somebody would have to look at dead letters"


async def test_a_message_comes_back_to_whom_it_is_of(world: Probers, admin: Nats, figure: Callable[[str], None]) -> None:
    for each in world.both:
        process = Path(f"/proc/{each.process.pid}")
        before, spent = (await each.of("publish")).attempts, cpu_seconds(process)
        await asyncio.sleep(12)
        done, spent = (await each.of("publish")).attempts - before, cpu_seconds(process) - spent
        assert done >= 8
        said = await each.of("publish")
        assert (said.failures, said.failure) == (0, None), each.process.said
        direct = "comes straight" if each is world.hooked else "is handed on"
        resident = resident_mebibytes(process)
        figure(
            f"publish, whose webhook {direct}: {1000 * (said.seconds or 0):.0f} ms; {resident:.1f} MiB resident, "
            f"{1000 * spent / done:.0f} ms of CPU a message"
        )
        assert resident < 36, "three of them run beside every backend"
    await settled(admin)
    assert not world.dispatchers.violations()


async def test_a_dispatcher_that_is_gone_is_told_and_what_comes_late_is_forgotten(world: Probers, admin: Nats) -> None:
    (dispatcher,) = world.dispatchers.running
    dispatcher.kill()
    for each in world.both:
        said = await each.when("publish", failing=True)
        assert said.failure == f"webhook of a message that the stream has: no answer within {DEADLINE:g} s"
    world.dispatchers.start()
    for each in world.both:
        await each.when("publish", failing=False)
    await settled(admin)


async def test_a_queue_that_is_gone_is_told_and_costs_one_attempt_a_round(world: Probers, admin: Nats) -> None:
    before = (await world.other.of("publish")).attempts
    world.servers.kill(world.servers.names[0])
    said = await world.other.when("publish", failing=True)
    assert (said.failure or "").startswith("connection to localhost: "), said.failure
    await asyncio.sleep(4)
    assert (await world.other.of("publish")).attempts - before <= 8
    world.servers.start(world.servers.names[0])
    for each in world.both:
        await each.when("publish", failing=False)


async def test_a_stream_that_is_gone_and_a_login_that_is_refused_are_told(world: Probers, admin: Nats) -> None:
    await call(admin, "$JS.API.STREAM.DELETE.baas-probe")
    said = await world.other.when("publish", failing=True)
    assert (said.failure or "").endswith(": no stream takes it"), said.failure
    await world.dispatchers.streams(admin)
    await world.other.when("publish", failing=False)

    password = world.other.folder / "secrets" / "queue" / "queue-password"
    right = password.read_text()
    password.write_text("wrong")
    said = await world.other.when("publish", failing=True)
    assert said.failure == "connection to localhost: Authorization Violation"
    password.write_text(right)
    await world.other.when("publish", failing=False)


async def test_a_webhook_that_another_secret_signs_proves_nothing(world: Probers, admin: Nats) -> None:
    secret = world.hooked.folder / "secrets" / "webhook" / "webhook-secret"
    right = secret.read_text()
    secret.write_text("whsec_" + "A" * 32)
    await world.hooked.when("publish", failing=True)
    await asyncio.sleep(12)  # until the first of them are tried no more
    secret.write_text(f"whsec_{'A' * 32} {right}")  # as while it is rotated
    await world.hooked.when("publish", failing=False)
    secret.write_text(right)
    await world.other.when("publish", failing=False)

    # What was refused is tried no more while it is there; once it is not, as after an hour, nothing is left of it: no dead letter either.
    refused = int((await call(admin, "$JS.API.CONSUMER.INFO.baas-probe.BAAS_webhook_baas-probe"))["num_ack_pending"])
    assert refused > 0
    app = await world.servers.connect("app")
    for number in range(600):
        await app.publish("baas-probe.2", str(number).encode())
    await app.close()
    await settled(admin)


async def test_others_messages_are_taken_and_lead_nowhere(world: Probers, admin: Nats) -> None:
    """Whoever may publish there, as `app` may, makes no prober call anybody; and a full stream takes the probers' all the same."""
    called: list[bytes] = []

    async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.read(100))
        writer.close()

    there = await asyncio.start_server(trap, "127.0.0.1", 0)
    app = await world.servers.connect("app")
    try:
        forged = {"nonce": "0", "host": "127.0.0.1", "port": there.sockets[0].getsockname()[1], "sent": int(NOW.timestamp()), "mac": "0"}
        no_numbers, no_text = json.dumps(forged | {"sent": float("inf")}).encode(), json.dumps(forged | {"nonce": "\ud800"}).encode()
        for payload in (json.dumps(forged).encode(), b"[]", b"\xff\xfe", b"{" * 500, no_numbers, no_text):
            await app.publish("baas-probe.1", payload)
        for number in range(600):
            await app.publish("baas-probe.2", str(number).encode())
        await app.flush()

        async def full() -> bool:
            return bool((await state(admin, "baas-probe"))["messages"] == 500)

        await until(full, "the stream is full")
        for each in world.both:
            await each.when("publish", failing=False)
        await settled(admin)
        assert called == []
        assert "Unhandled exception" not in world.hooked.process.said, "each has an answer, and none is tried again"
    finally:
        await app.close()
        there.close()


async def test_its_login_is_for_nothing_else(world: Probers, admin: Nats) -> None:
    said: list[str] = []

    async def heard(error: Exception) -> None:
        said.append(str(error))

    prober = await world.servers.connect(USER, inbox_prefix=f"_INBOX_{USER}", error_cb=heard)
    try:
        for subject in ("orders.new", "$JS.API.STREAM.DELETE.baas-probe", "$JS.API.STREAM.MSG.GET.baas-probe"):
            with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
                await prober.request(subject, b"", timeout=0.5)
        assert len([each for each in said if "permissions violation" in each.lower()]) == 3, said
    finally:
        await prober.close()
