"""Servers come, go and lose their disks, with messages: nothing that was acknowledged is lost. What 2.14.10 does is pinned."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from nats.aio.client import Client as Nats

from baas_operator.engine import jetstream
from baas_operator.jetstream.requests import call
from baas_operator.observe.queue import JetStreamState, QueueObservation
from baas_operator.policy.plan import StepDown
from baas_operator.policy.queue.settled import behind
from baas_operator.policy.queue.spread import balance
from tests.jetstream.streams.cluster import ORDERS, Cluster
from tests.jetstream.streams.driver import compare, settle, spec_of, until_level

pytestmark = pytest.mark.asyncio


async def test_streams_grow_one_after_another_once_the_servers_are_there(five: Cluster) -> None:
    small = spec_of(streams=[ORDERS, {"name": "paid", "subjects": ["paid.>"]}])
    await settle(five.client, small)
    await five.publish()
    large = spec_of(replicas=5, streams=[{**ORDERS, "replicas": 5}, {"name": "paid", "subjects": ["paid.>"], "replicas": 5}])

    state = await five.look()
    early = compare(large, state, ready=4)
    assert early.effects == ()
    assert "waits until 5 servers are ready" in early.resizing
    (one,) = [each for each in compare(large, state, ready=5).effects if each.config["num_replicas"] == 5]  # type: ignore[union-attr]
    assert one.config["name"] == "orders"  # type: ignore[union-attr]

    state = await settle(five.client, large, ready=5)
    assert all(len(each.group.servers()) == 5 for each in state.streams.values())
    await five.ledger()


async def test_an_empty_server_elects_nobody_who_lacks_what_was_acknowledged(three: Cluster) -> None:
    """What 2.14.10 does where our rule was not kept: one copy is stale, one is wiped, and the one that had all is away. The wiped server's
    vote counts for none, so nobody leads, until somebody who has all is back. Without that, 20 acknowledged messages would be gone."""
    state = await settle(three.client, spec_of(streams=[ORDERS]))
    await three.publish()
    leader = state.streams["orders"].leader
    assert leader
    wiped, stale = [each for each in three.servers.names if each != leader]
    three.servers.kill(stale)
    await three.publish()
    three.servers.kill(leader)
    three.servers.kill(wiped)
    three.wipe(wiped)
    three.servers.start(stale)
    three.servers.start(wiped)

    for _ in range(20):  # several elections
        await asyncio.sleep(1)
        assert await _leader(three.client) is None

    three.servers.start(leader)
    await three.ledger()


async def _leader(client: Nats) -> str | None:
    try:
        return (await call(client, "$JS.API.STREAM.INFO.orders"))["cluster"].get("leader")
    except Exception:  # noqa: BLE001 - nobody to ask
        return None


async def test_a_lost_disk_is_made_up_for_where_all_others_were_level(three: Cluster) -> None:
    """Our rule kept: the others are level, the server comes back empty, and whoever of the others dies then takes nothing with it."""
    state = await settle(three.client, spec_of(streams=[ORDERS]))
    await three.publish()
    leader = state.streams["orders"].leader
    assert leader
    wiped, other = [each for each in three.servers.names if each != leader]
    three.servers.kill(wiped)
    await three.publish()
    assert await _rests(three, wiped) == ""
    three.wipe(wiped)
    three.servers.start(wiped)
    three.servers.kill(leader)  # before the empty one has anything: then nobody may lead for a while, and nothing is lost

    three.servers.start(leader)
    await three.ledger()
    three.servers.kill(leader)
    await three.publish()
    assert (await three.look()).streams["orders"].messages == three.published
    assert other in (await three.look()).streams["orders"].group.servers()


async def _rests(cluster: Cluster, without: str) -> str:
    for _ in range(100):
        if not (wait := behind_without(await cluster.look(), without)):
            break
        await asyncio.sleep(0.2)
    return wait


def behind_without(state: JetStreamState, name: str) -> str:
    return behind(QueueObservation((), state), without=(name,))


async def test_a_stale_copy_keeps_a_lost_disk_from_being_replaced(three: Cluster) -> None:
    state = await settle(three.client, spec_of(streams=[ORDERS]))
    leader = state.streams["orders"].leader
    first, second = [each for each in three.servers.names if each != leader]
    three.servers.kill(first)
    await three.publish()
    assert behind_without(await three.look(), second), f"{first} lacks what was published, and so {second} is needed"

    three.servers.start(first)
    await until_level(three.client)
    assert await _rests(three, second) == ""


async def test_leaders_are_spread_again_after_a_roll(three: Cluster) -> None:
    streams = [{"name": f"s{number}", "subjects": [f"s{number}.>"]} for number in range(3)]
    await settle(three.client, spec_of(streams=streams))
    for each in streams:
        while (state := await jetstream.look(three.client)).streams[each["name"]].leader != "nats-1":
            await jetstream.bring_about(three.client, StepDown("nats-1", each["name"]))
            await asyncio.sleep(0.5)

    _, seen = await three.view(3, three.servers.names)
    assert balance(seen) is None, "leaders have just changed"
    for _ in range(2):
        _, seen = await three.view(3, three.servers.names)
        assert seen.jetstream
        calm = {name: replace(each, led_seconds=100.0) for name, each in seen.jetstream.streams.items()}
        step = balance(QueueObservation(seen.servers, JetStreamState("nats-0", calm)))
        assert step is not None
        await jetstream.bring_about(three.client, step)
        await until_level(three.client)
    state = await jetstream.look(three.client)
    assert {each.leader for each in state.streams.values()} == set(three.servers.names)
