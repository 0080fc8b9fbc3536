"""Before a primary's pod goes, another member takes over; nobody but the API server can make it do that."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from baas_operator.agent import retire as retire_module
from baas_operator.agent.dcs import STOPPED
from tests.unit.agent.moves.world import MOVED, World, member
from tests.unit.agent.stand_in import LOCK, PODS, SYNC, until


async def test_a_primary_whose_pod_is_deleted_hands_over_before_the_pod_may_go(world: World) -> None:
    world.delete("db-0")
    term = world.api.term()

    await world.retire()

    assert world.done == MOVED
    assert world.api.leader() == "db-2"
    assert json.loads(world.api.annotations(SYNC)[STOPPED]) == {"term": term, "to": "db-2"}


@pytest.mark.parametrize("moved_before", [False, True], ids=["moved for this", "moved by the operator"])
async def test_a_pod_that_led_stays_until_nodes_have_learnt_who_leads(
    world: World, monkeypatch: pytest.MonkeyPatch, moved_before: bool
) -> None:
    monkeypatch.setattr(retire_module, "_LINGER_SECONDS", 0.4)
    if moved_before:
        world.api.lead("db-1")
        await until(lambda: not world.mover._dcs.leads)
    world.delete("db-0")
    began = time.monotonic()

    await world.retire()
    assert 0.3 < time.monotonic() - began < 2.0

    await world.retire()
    assert time.monotonic() - began < 2.0, "nobody waits for what is over"


async def test_a_primary_that_is_to_go_waits_for_a_calm_moment_by_whichever_way_it_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others go with it, and what is started in their place has the processors busy: writes go on meanwhile."""
    monkeypatch.setattr(retire_module, "_CALM_SECONDS", 0.5)
    world.delete("db-0")
    world.api.objects[f"{PODS}/db-0"]["metadata"]["deletionGracePeriodSeconds"] = 120
    began = time.monotonic()
    retiring = asyncio.create_task(world.retire())
    await asyncio.sleep(0.1)

    assert (await world.asked_by_the_operator("db-2", patient=True))[0] == 200
    await retiring

    assert world.done == MOVED
    assert 0.4 < time.monotonic() - began < 1.5


async def test_a_primary_whose_node_is_cordoned_waits_for_the_drain_to_have_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retire_module, "_CALM_SECONDS", 0.5)
    began = time.monotonic()

    assert (await world.asked_by_the_operator("db-2", patient=True))[0] == 200

    assert world.done == MOVED
    assert 0.4 < time.monotonic() - began < 1.5
    assert world.patroni_ended == 0, "its pod stays"


async def test_an_eviction_that_follows_a_cordon_begins_the_wait_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the eviction that makes processors busy."""
    monkeypatch.setattr(retire_module, "_CALM_SECONDS", 0.6)
    world.api.objects[f"{PODS}/db-0"]["metadata"]["deletionGracePeriodSeconds"] = 120
    asking = asyncio.create_task(world.asked_by_the_operator("db-2", patient=True))
    await asyncio.sleep(0.4)
    world.delete("db-0")
    evicted = time.monotonic()

    await world.retire()

    assert (await asking)[0] == 200
    assert world.done == MOVED
    assert 0.5 < time.monotonic() - evicted < 1.5


async def test_the_operator_that_asks_again_has_waited_already(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retire_module, "_CALM_SECONDS", 0.8)
    world.unconfirmed = {"db-2"}
    assert (await world.asked_by_the_operator("db-2", patient=True))[0] == 503
    world.unconfirmed = set()
    began = time.monotonic()

    assert (await world.asked_by_the_operator("db-2", patient=True))[0] == 200

    assert time.monotonic() - began < 0.5


async def test_a_grace_period_that_is_shortened_meanwhile_ends_the_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet asks again when it is."""
    monkeypatch.setattr(retire_module, "_CALM_SECONDS", 30.0)
    world.delete("db-0")
    told = world.api.objects[f"{PODS}/db-0"]["metadata"]
    told["deletionGracePeriodSeconds"] = 900
    waiting = asyncio.create_task(world.retire())
    await asyncio.sleep(0.1)
    assert world.done == []

    told["deletionGracePeriodSeconds"] = 1
    await world.retire()

    assert world.done == MOVED
    waiting.cancel()


async def test_patroni_stays_where_nobody_else_would_confirm_what_the_successor_commits(world: World) -> None:
    world.api.synchronous("db-0", "db-2", quorum=0)
    world.api.renew()
    await until(lambda: world.mover._dcs.state.sync.voters == {"db-2"} and world.mover._dcs.state.sync.settled)
    world.delete("db-0")

    await world.retire()

    assert world.done == MOVED
    assert world.patroni_ended == 0


async def test_patroni_is_ended_once_its_pod_goes_and_leads_no_more(world: World) -> None:
    """It would start PostgreSQL once more, for nothing, when processors are needed elsewhere."""
    world.delete("db-0")
    await world.retire()
    assert world.patroni_ended == 1


async def test_patroni_of_a_pod_that_still_leads_or_never_led_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retire_module, "_GIVEN_UP_SECONDS", 0.3)
    world.delete("db-0")
    world.obeys = False
    await world.retire()
    assert world.api.leader() == "db-0"
    assert world.patroni_ended == 0


async def test_a_grace_period_that_was_cut_short_leaves_no_time_to_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retire_module, "_CALM_SECONDS", 30.0)
    world.delete("db-0")
    world.api.objects[f"{PODS}/db-0"]["metadata"]["deletionGracePeriodSeconds"] = 3

    await world.retire()

    assert world.done == MOVED


async def test_a_primary_that_was_replaced_while_it_waited_has_nothing_to_hand_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retire_module, "_CALM_SECONDS", 1.5)
    world.delete("db-0")
    world.api.objects[f"{PODS}/db-0"]["metadata"]["deletionGracePeriodSeconds"] = 120
    retiring = asyncio.create_task(world.retire())
    await asyncio.sleep(0.1)
    began = time.monotonic()

    world.api.lead("db-1")
    await retiring

    assert world.done == []
    assert time.monotonic() - began < 1.0


async def test_somebody_who_just_asks_moves_nothing(world: World) -> None:
    await world.retire()

    assert world.done == []


async def test_a_standby_may_go_at_once(world: World) -> None:
    world.delete("db-0")
    world.api.lead("db-1")
    await until(lambda: not world.mover._dcs.leads)

    await world.retire()

    assert world.done == []


async def test_where_all_go_nobody_is_waited_for(world: World) -> None:
    world.delete("db-0", "db-1", "db-2")

    async with asyncio.timeout(0.5):
        await world.retire()

    assert world.done == []


async def test_one_that_becomes_fit_a_moment_later_is_waited_for(world: World) -> None:
    world.delete("db-0")
    world.members[1:] = [member("db-1", state="starting"), member("db-2", state="starting")]
    asking = asyncio.create_task(world.retire())
    await asyncio.sleep(0.1)
    assert not asking.done()

    world.members[1] = member("db-1")
    await asking

    assert world.done == MOVED


async def test_a_move_that_does_not_come_about_keeps_the_pod_for_so_long_and_no_longer(world: World) -> None:
    world.delete("db-0")
    world.unconfirmed = {"db-1"}

    async with asyncio.timeout(4):
        await world.retire()

    assert len(world.done) > 2
    assert world.api.leader() == "db-0"


async def test_without_the_api_server_the_pod_may_go(world: World) -> None:
    world.delete("db-0")
    world.api.fail("refuse")

    await world.retire()

    assert world.done == []


async def test_an_api_server_that_fails_for_a_moment_is_asked_again(world: World) -> None:
    world.delete("db-0")
    world.api.fail("refuse")
    asyncio.get_running_loop().call_later(0.1, world.api.fail, None)

    await world.retire()

    assert world.api.annotations(LOCK)["leader"] == "db-2"


async def test_whose_rights_are_deleted_at_the_worst_moment_goes_soon(world: World) -> None:
    """`kubectl delete --cascade=foreground` deletes the Role and the pods in any order."""
    world.delete("db-0")
    world.api.before("GET", LOCK, lambda: world.api.fail("forbid"))

    async with asyncio.timeout(1.5):
        await world.retire()

    assert world.done == ["checkpoint", "stop"], "nobody was told, and the pod goes"
