"""Servers go by the policy's own steps, with messages: nothing that was acknowledged is lost, and no copy that others do not have."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from nats.js.errors import ServiceUnavailableError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from baas_operator.api.kinds import POD
from baas_operator.api.queue import EventQueueSpec
from baas_operator.engine import jetstream
from baas_operator.jetstream.requests import JetStreamError, Unreachable, call
from baas_operator.observe.queue import JetStreamState, QueueObservation
from baas_operator.policy.plan import EnsureStream, Evacuate, QueueEffect, RemoveServer, Scale, StepDown
from baas_operator.policy.queue.forgotten import forgotten
from baas_operator.policy.queue.scaling import size
from baas_operator.policy.queue.settled import behind
from tests.jetstream.harness.servers import publish
from tests.jetstream.streams.cluster import ORDERS, Cluster, clustered
from tests.jetstream.streams.driver import compare, settle, spec_of, until_level

pytestmark = pytest.mark.asyncio
ZONED = {"spec": {"topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]}}
"""The template of a StatefulSet whose servers give each zone one copy."""


class Shrinking:
    """Five servers that become three by the policy's own steps. What is asserted at each look: no stream has fewer level copies, on servers
    that are there, than `least` says. `have`: servers by the StatefulSet; `there`: pods."""

    def __init__(self, cluster: Cluster, spec: EventQueueSpec, least: Mapping[str, int]) -> None:
        self.cluster, self.spec, self.least = cluster, spec, least
        self.have, self.there = 5, list(cluster.servers.names)
        self.steps: list[QueueEffect | Scale | str] = []
        self.told: list[str] = []
        self.over = False

    async def look(self) -> list[QueueEffect | Scale]:
        """What the policy says next, all of it."""
        view, seen = await self.cluster.view(3, self.there)
        workload = {"metadata": {"name": "nats", "resourceVersion": "1"}, "spec": {"replicas": self.have, "template": ZONED}}
        step = size(self.spec, view, workload, list(view.all(POD)), seen, zoned=True)
        self.told.append(step.told.message if step.told else "")
        assert seen.jetstream
        for name, least in self.least.items():
            if name in seen.jetstream.streams and seen.jetstream.streams[name].leader is not None:
                level = [each for each in seen.jetstream.streams[name].current_servers() if each in self.there]
                assert len(level) >= least, f"{name} has {level}, after {self.steps}"
        wait = behind(seen)
        kept = compare(self.spec, seen.jetstream, resting=wait, copies=step.copies)
        self.over = self.have == 3 and step.told is None and not wait and not kept.effects and not kept.resizing
        return [*kept.effects, *forgotten(seen), *step.effects]

    async def do(self, effects: Sequence[QueueEffect | Scale]) -> None:
        """Bring it about."""
        for effect in effects:
            if isinstance(effect, Scale):
                self.have = effect.replicas
                self.steps.append(self.there[-1])
                self.cluster.servers.kill(self.there.pop(), signal.SIGTERM)
                continue
            try:
                await jetstream.bring_about(self.cluster.system if jetstream.of_servers(effect) else self.cluster.client, effect)
                self.steps.append(effect)
            except JetStreamError as error:
                # What servers have set aside is told every 10 s, so that one which has just let go seems full for so long.
                if "no suitable peers" not in str(error):
                    raise
                await asyncio.sleep(1)
            except Unreachable:
                return  # who is asked while another takes over may not answer: the next look tells what came of it, as in a reconcile

    async def step(self) -> bool:
        """One look and what follows from it. Whether all is done."""
        await self.do(await self.look())
        return self.over


async def test_five_servers_become_three_and_no_stream_is_ever_a_copy_short(five: Cluster) -> None:
    """The policy's own steps, one after another, with messages all the while, and a server that is killed in between. An application's own
    stream, and a consumer with a single copy, keep what they have."""
    # Three copies are where JetStream likes: that of four streams none has one on the servers that go is one case in 10,000.
    others = [{"name": each, "subjects": [f"{each}.>"]} for each in ("paid", "sent", "billed", "returned")]
    spec = spec_of(replicas=5, streams=[{**ORDERS, "replicas": 5}, *others])
    await settle(five.client, spec, ready=5)
    await five.publish()
    await call(five.client, "$JS.API.STREAM.CREATE.theirs", {
        "name": "theirs", "subjects": ["theirs.>"], "num_replicas": 1, "storage": "file",
    })  # fmt: skip
    alone = {"durable_name": "alone", "name": "alone", "ack_policy": "explicit", "deliver_policy": "all", "num_replicas": 1}
    floors = {}
    for stream in ("orders", "theirs"):
        for number in range(4):
            await publish(five.client, f"{stream}.new", b"x", f"{stream}-{number}")
        five.published += 4 * (stream == "orders")
        await call(five.client, f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.alone", {
            "stream_name": stream, "config": alone, "action": "create",
        })  # fmt: skip
        reader = await five.client.jetstream().pull_subscribe_bind("alone", stream)
        async for attempt in AsyncRetrying(  # a consumer that was just made may have no leader yet
            retry=retry_if_exception_type(ServiceUnavailableError), stop=stop_after_delay(10), wait=wait_fixed(0.2)
        ):
            with attempt:
                found = await reader.fetch(3, timeout=5)
        for message in found:
            await message.ack_sync()
        floors[stream] = 3
    asked = spec_of(replicas=3, streams=[ORDERS, *others])
    least = {"orders": 3, "theirs": 1, **{each["name"]: 3 for each in others}}
    shrinking = Shrinking(five, asked, least)
    killed = False
    for _ in range(300):
        await five.publish(2)
        if await shrinking.step():
            break
        if not killed and shrinking.steps:
            killed = True
            # A single copy of a reader's place is on disk some 100 ms after it is acknowledged, so those that have one are left alone.
            single = {each.leader for *_, each in (await five.look()).groups() if len(each.servers()) == 1}
            victim = min({"nats-0", "nats-1", "nats-2"} - single)
            five.servers.kill(victim)
            await five.publish()
            five.servers.start(victim)
            await until_level(five.client)
        await asyncio.sleep(0.2)
    else:
        raise AssertionError(f"it never ended: {shrinking.steps[-5:]}, {shrinking.told[-5:]}")
    assert killed
    assert not [each for each in shrinking.steps if isinstance(each, Evacuate)]
    state = await five.look()
    for what, *_, group in state.groups():
        assert set(group.servers()) <= {"nats-0", "nats-1", "nats-2"}, what
    assert {name: len(each.group.servers()) for name, each in state.streams.items()} == {
        "orders": 3, "theirs": 1, **{each["name"]: 3 for each in others},
    }  # fmt: skip
    for stream, floor in floors.items():
        info = await call(five.client, f"$JS.API.CONSUMER.INFO.{stream}.alone")
        assert info["ack_floor"]["stream_seq"] == floor, f"the place of {stream}'s reader"
    await five.ledger()
    five.servers.kill("nats-2")
    await five.publish()
    assert (await five.look()).streams["orders"].messages == five.published


async def test_a_new_copy_that_is_not_filled_takes_none_away(five: Cluster) -> None:
    """The servers of the new copies stand still: nothing goes for as long, and all three copies stay as they are."""
    placed = {"name": "orders", "subjects": ["orders.>"], "num_replicas": 3, "storage": "file", "placement": {"tags": ["keeps"]}}
    await call(five.client, "$JS.API.STREAM.CREATE.orders", placed)  # on nats-0, 3 and 4
    await call(five.client, "$JS.API.STREAM.UPDATE.orders", {key: value for key, value in placed.items() if key != "placement"})
    await five.publish()
    await until_level(five.client)
    state = await five.look()
    assert set(state.streams["orders"].group.servers()) == {"nats-0", "nats-3", "nats-4"}
    if state.meta_leader in ("nats-1", "nats-2"):
        await jetstream.bring_about(five.system, StepDown("nats-0"))
        await asyncio.sleep(2)
    shrinking = Shrinking(five, spec_of(replicas=3, streams=[{**ORDERS, "consumers": []}]), {"orders": 3})
    effects: list[QueueEffect] = []
    for _ in range(40):
        effects = await shrinking.look()
        if any(isinstance(each, EnsureStream) and each.config.get("num_replicas") == 5 for each in effects):
            break
        await shrinking.do(effects)
        await asyncio.sleep(0.3)
    else:
        raise AssertionError(f"it never gets more copies: {shrinking.told[-3:]}")
    stays = await five.servers.connect(user="admin", password="a", servers=[f"nats://127.0.0.1:{five.servers.client_ports['nats-0']}"])
    for each in ("nats-1", "nats-2"):
        five.servers.signal(each, signal.SIGSTOP)
    try:
        for each in effects:
            await jetstream.bring_about(stays, each)
        for _ in range(15):
            found = (await jetstream.look(stays)).streams["orders"]
            assert {"nats-0", "nats-3", "nats-4"} <= set(found.current_servers()), found
            seen = QueueObservation((), JetStreamState("nats-0", {"orders": found}))
            assert "stream orders is level on nats-" in behind(seen, without=["nats-4"]), "so nothing goes"
            await publish(stays, "orders.new", b"x", str(five.published))
            five.published += 1
            await asyncio.sleep(0.3)
    finally:
        for each in ("nats-1", "nats-2"):
            five.servers.signal(each, signal.SIGCONT)
        await stays.close()
    await five.ledger()


async def test_in_three_zones_there_is_no_fourth_copy_so_one_is_moved(tmp_path: Path) -> None:
    """`unique_tag`: a stream that has a copy in each zone gets no other. It has a copy less while one is moved, which is told."""
    async for five in clustered(tmp_path, 5, zones=("a", "b", "c", "a", "b")):
        stream = {"name": "orders", "subjects": ["orders.>"], "storage": "file"}
        with pytest.raises(JetStreamError, match="no suitable peers"):
            await call(five.client, "$JS.API.STREAM.CREATE.orders", stream | {"num_replicas": 5})
        await settle(five.client, spec_of(replicas=5, streams=[ORDERS]), ready=5)
        with pytest.raises(JetStreamError, match="no suitable peers"):
            await call(five.client, "$JS.API.STREAM.UPDATE.orders", stream | {"num_replicas": 4})
        shrinking = Shrinking(five, spec_of(replicas=3, streams=[ORDERS]), {"orders": 2})
        before = set((await five.look()).streams["orders"].group.servers())
        for _ in range(200):
            await five.publish(2)
            if await shrinking.step():
                break
            await asyncio.sleep(0.2)
        else:
            raise AssertionError(f"it never ended: {shrinking.steps[-5:]}, {shrinking.told[-5:]}")
        moved = [each for each in shrinking.steps if isinstance(each, Evacuate)]
        assert len(moved) == len(before & {"nats-3", "nats-4"})
        if moved:
            assert any("It has one less until the new one is filled" in each for each in shrinking.told)
        assert set((await five.look()).streams["orders"].group.servers()) == {"nats-0", "nats-1", "nats-2"}
        await five.ledger()


async def test_servers_that_somebody_else_took_away_are_not_struck_off_with_the_only_good_copies(five: Cluster) -> None:
    """Two of three copies are on servers that are gone, and only they have what was acknowledged last. JetStream would give them up."""
    placed = {"name": "orders", "subjects": ["orders.>"]}
    await call(five.client, "$JS.API.STREAM.CREATE.orders", placed | {
        "num_replicas": 3, "storage": "file", "placement": {"tags": ["keeps"]},
    })  # fmt: skip
    await five.publish()
    five.servers.kill("nats-0")
    await five.publish()
    for each in ("nats-3", "nats-4"):
        five.servers.kill(each)
    five.servers.start("nats-0")
    asked, workload = spec_of(replicas=3), {"metadata": {"name": "nats"}, "spec": {"replicas": 3}}
    told = set()
    for _ in range(12):
        view, seen = await five.view(3, ["nats-0", "nats-1", "nats-2"])
        step = size(asked, view, workload, list(view.all(POD)), seen, zoned=True)
        if step.effects:  # what the operator would do
            with suppress(JetStreamError):
                await jetstream.bring_about(five.system, step.effects[0])
        told.add(step.told.message if step.told else "")
        await asyncio.sleep(0.5)
    assert any("once stream orders has a leader. If that needs what it has, make spec.replicas larger" in each for each in told), told

    for each in ("nats-3", "nats-4"):
        five.servers.start(each)
    await five.ledger()


async def test_servers_whose_names_no_leader_has_heard_are_known_and_struck_off(five: Cluster) -> None:
    """Names come from the servers themselves. Were one that went before the others started somebody unknown, it would count as one that is
    late for ever: nothing would be rolled any more, and no lost volume be made up for."""
    await settle(five.client, spec_of(replicas=5, streams=[ORDERS]), ready=5)
    for each in five.servers.names:
        five.servers.kill(each)
    stay = ["nats-0", "nats-1", "nats-2"]
    for each in stay:
        five.servers.start(each)
    state = await five.look()
    assert state.meta
    assert set(state.meta.servers()) == set(five.servers.names)
    for what, *_, group in state.groups():
        assert set(group.servers()) <= set(five.servers.names), what

    await jetstream.bring_about(five.system, RemoveServer("nats-4"))
    for _ in range(100):
        state = await five.look()
        if state.meta and "nats-4" not in state.meta.servers():
            break
        await asyncio.sleep(0.2)
    assert state.meta
    assert set(state.meta.servers()) == {*stay, "nats-3"}
