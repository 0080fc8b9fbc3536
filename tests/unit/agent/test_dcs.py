"""What agents know of Patroni's objects: read whatever stands in them, and never taken for newer or older than it is."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from baas_operator.agent import dcs as dcs_module
from baas_operator.agent.dcs import FENCE, NO_SYNC, Dcs, read_history, read_lock, read_sync
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.policy.failover import Electorate, Fence, History, Lock, Sync, settled
from tests.unit.agent.stand_in import CONFIG_MAPS, LOCK, SYNC, StandIn, stop, until

ME = Identity(database="db", namespace="prod", pod="db-1", ip="10.0.0.1", node="node-b")


def found(annotations: dict[str, str] | None, version: int = 7) -> dict[str, Any]:
    return {"metadata": {"name": "db-sync", "resourceVersion": str(version), "annotations": annotations}}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_lock_is_read() -> None:
    lock = read_lock(found({"leader": "db-0", "transitions": "3", "acquireTime": "2026-01-01", "optime": "1000", "ttl": "20"}))

    assert (lock.leader, lock.version, lock.position) == ("db-0", 7, 1000)


def test_a_renewal_is_the_same_term_and_a_lock_that_is_taken_anew_another() -> None:
    said = {"leader": "db-0", "transitions": "3", "acquireTime": "10:00", "renewTime": "10:05", "optime": "1000"}
    term = read_lock(found(said)).term

    assert read_lock(found(said | {"renewTime": "10:07", "optime": "2000"}, 8)).term == term
    others = [{"leader": "db-1"}, {"transitions": "4"}, {"acquireTime": "10:09"}]
    assert len({term} | {read_lock(found(said | each)).term for each in others}) == 4


@pytest.mark.parametrize("said", [None, {}, {"leader": ""}], ids=["none", "empty", "no name"])
def test_a_lock_that_names_nobody_is_nobodys(said: dict[str, str] | None) -> None:
    lock = read_lock(found(said))

    assert lock.leader is None
    assert lock.version == 7


@pytest.mark.parametrize("optime", ["", "-5", "1e3", "0x10", "٣", "²", "9" * 20, pytest.param("9" * 5000, id="long"), "None"])
def test_a_position_that_is_no_number_is_none(optime: str) -> None:
    assert read_lock(found({"leader": "db-0", "optime": optime})).position == 0


def test_a_synchronous_state_is_read_with_its_fences() -> None:
    fence = json.dumps({"term": "t", "timeline": 1, "position": 1000, "against": "db-0", "lives": False, "at": 1})
    sync = read_sync(found({"leader": "db-0", "sync_standby": "db-1,db-2", "quorum": "1", f"{FENCE}db-1": fence, "other": fence}), NO_SYNC)

    assert sync == Sync("db-0", frozenset({"db-1", "db-2"}), 1, 7, None, {"db-1": Fence("t", 1, 1000, "db-0", lives=False)})


@pytest.mark.parametrize("said", [None, {}, {"leader": "", "sync_standby": "", "quorum": ""}, {"sync_standby": ",,", "quorum": "one"}])
def test_a_synchronous_state_of_nobody_has_no_voters(said: dict[str, str] | None) -> None:
    sync = read_sync(found(said), NO_SYNC)

    assert (sync.leader, sync.voters, sync.quorum, sync.fences) == (None, frozenset(), 0, {})


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "7", '"term"', "[]", "{}", "{", '{"term": "t"}', '{"position": 1}', '{"term": "t", "position": null}',
        '{"term": "t", "position": [], "against": "db-0"}', '{"term": "t", "position": "x", "against": "db-0"}',
        '{"term": "t", "position": NaN, "against": "db-0"}',
        pytest.param("[" * 100_000, id="deep"),
        '{"term": "t", "position": Infinity, "against": "db-0"}',
        '{"term": "t", "position": 1e999, "against": "db-0"}',
        '{"term": "t", "position": 1}',
        pytest.param('{"term": "t", "position": 1, "against": "db-0"}', id="of an agent that knew of no timelines"),
    ],
)  # fmt: skip
def test_a_fence_that_somebody_made_by_hand_counts_for_nobody_and_harms_nobody(text: str) -> None:
    good = json.dumps({"term": "t", "timeline": 1, "position": 1, "against": "db-0"})

    sync = read_sync(found({f"{FENCE}db-1": text, f"{FENCE}db-2": good}), NO_SYNC)

    assert sync.fences == {"db-2": Fence("t", 1, 1, "db-0")}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (None, History()),
        ("[]", History()),
        ('[[1, 100, "", "2026-01-01", "db-1"], [4, 200, "", "2026-01-02", "db-0"]]', History(5, "db-0")),
        ('[[4, 200, "", "2026-01-02"]]', None),
        ('[[4, 200, ""]]', None),
        ("{", None),
        ("7", None),
        ('{"a": 1}', None),
        ('[["x", 200, "", "", "db-0"]]', None),
        pytest.param("[" * 100_000, None, id="deep"),
    ],
)
def test_the_history_tells_who_began_the_newest_timeline(text: str | None, read: History | None) -> None:
    assert read_history(found({"config": "{}"} | ({"history": text} if text else {}))) == read


BEFORE = {"leader": "db-0", "sync_standby": "db-1,db-2", "quorum": "1"}


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ({}, 7),
        ({"sync_standby": "db-2,db-1"}, 7),
        ({f"{FENCE}db-1": '{"term": "t", "position": 1, "against": "db-0"}'}, 7),
        ({"something": "else"}, 7),
        ({"leader": "db-1"}, 9),
        ({"sync_standby": "db-1"}, 9),
        ({"quorum": "0"}, 9),
    ],
    ids=["nothing", "their order", "a fence", "something else", "leader", "voters", "quorum"],
)
def test_it_has_changed_when_leader_voters_or_quorum_have(after: dict[str, str], changed: int) -> None:
    before = read_sync(found(BEFORE, 7), NO_SYNC)

    assert read_sync(found(BEFORE | after, 9), before).changed == changed


def test_until_the_lock_is_renewed_it_is_known_who_voted_since_it_was_last() -> None:
    one, both, none = (Electorate(frozenset(names), quorum) for names, quorum in ((("db-1",), 0), (("db-1", "db-2"), 1), ((), 0)))
    lock = Lock("db-0", "t", 8, 1000)
    first = settled(read_sync(found(BEFORE | {"sync_standby": "db-1", "quorum": "0"}, 7), NO_SYNC), lock, None)
    assert (first.floor, first.electorates, first.settled) == (1000, (one,), True)

    second = settled(read_sync(found(BEFORE, 9), first), lock, None)
    assert (second.floor, second.electorates, second.settled) == (1000, (one, both), False)
    third = settled(read_sync(found(BEFORE | {"sync_standby": "", "quorum": "0"}, 10), second), lock, None)
    assert third.electorates == (one, both, none)

    after = settled(third, dataclasses.replace(lock, version=11, position=1200), None)
    assert (after.floor, after.electorates, after.settled) == (1200, (none,), True)


@pytest.mark.parametrize("before", [NO_SYNC, read_sync(found(BEFORE, 7), NO_SYNC)], ids=["seen for the first time", "never renewed"])
def test_where_it_was_never_settled_there_is_no_floor_after_a_change_either(before: Sync) -> None:
    sync = read_sync(found(BEFORE | {"quorum": "0"}, 9), before)

    assert (sync.floor, sync.earlier) == (None, ())


def test_who_voted_for_another_leader_says_nothing_of_this_one() -> None:
    before = settled(read_sync(found(BEFORE, 7), NO_SYNC), Lock("db-0", "t", 8, 1000), None)

    sync = read_sync(found(BEFORE | {"leader": "db-1", "sync_standby": "db-2", "quorum": "0"}, 9), before)

    assert (sync.floor, sync.earlier) == (None, ())


# --- the watch --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[StandIn]:
    made = await StandIn(tmp_path).start()
    made.lead("db-0")
    made.synchronous("db-0", "db-1", "db-2")
    yield made
    await made.stop()


@pytest.fixture
async def idle(api: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Dcs]:
    """Without a watch."""
    monkeypatch.setattr(dcs_module, "_AFTER_ERROR_SECONDS", 0.01)
    async with aiohttp.ClientSession() as session:
        yield Dcs(Kube(session, "127.0.0.1", str(api.port), account=api.folder), ME)


@pytest.fixture
async def dcs(api: StandIn, idle: Dcs) -> AsyncIterator[Dcs]:
    """With a watch that has brought what is."""
    running = asyncio.create_task(idle.run())
    await until(lambda: knows(idle, api) and api.watches > 0)  # it knows both before it watches, from its list
    yield idle
    await stop(running)


def knows(dcs: Dcs, api: StandIn) -> bool:
    return (dcs.state.lock.version, dcs.state.version) == (api.version(LOCK), api.version(SYNC))


async def test_the_watch_brings_both_objects_and_whoever_waits_is_told(api: StandIn, dcs: Dcs) -> None:
    waiting = [asyncio.create_task(dcs.changed()) for _ in range(2)]
    await asyncio.sleep(0)

    api.renew(position=2000)

    await asyncio.gather(*waiting)
    assert dcs.state.lock.position == 2000
    assert dcs.state.sync.voters == {"db-1", "db-2"}


async def test_other_objects_of_the_database_tell_nobody_anything(api: StandIn, dcs: Dcs) -> None:
    state, waiting = dcs.state, asyncio.create_task(dcs.changed())
    await asyncio.sleep(0)

    api.put(f"{CONFIG_MAPS}/db-config", annotations={"config": '{"ttl": 20}'})
    api.put(f"{CONFIG_MAPS}/db-failover", annotations={"leader": "db-2"})
    await asyncio.sleep(0.05)  # nothing to wait for: that nothing happens is the point

    assert dcs.state is state
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize("mebibytes", [3, 9], ids=["read", "too long"])
async def test_an_object_however_large_does_not_end_the_watch(api: StandIn, dcs: Dcs, mebibytes: int) -> None:
    api.put(f"{CONFIG_MAPS}/db-failover", data={"large": "x" * (mebibytes * 2**20)})
    await asyncio.sleep(0.1)
    api.delete(f"{CONFIG_MAPS}/db-failover")
    api.forget(f"{CONFIG_MAPS}/db-failover")
    api.renew(position=2000)

    await until(lambda: knows(dcs, api))
    assert dcs.state.lock.position == 2000


async def test_waiting_ends_when_its_time_is_over(dcs: Dcs) -> None:
    async with asyncio.timeout(5):
        await dcs.changed(0.01)
        await dcs.changed(0.0)


async def test_voters_that_changed_twice_while_the_watch_looked_have_changed(api: StandIn, dcs: Dcs) -> None:
    api.synchronous("db-0", "db-2", quorum=0)
    api.synchronous("db-0", "db-1", "db-2")
    await until(lambda: knows(dcs, api))

    assert dcs.state.sync.changed == api.version(SYNC)


async def test_voters_that_changed_twice_while_no_watch_looked_have_changed(api: StandIn, dcs: Dcs) -> None:
    api.hold(CONFIG_MAPS)
    api.synchronous("db-0", "db-2", quorum=0)
    api.synchronous("db-0", "db-1", "db-2")
    api.end_watches()
    await until(lambda: knows(dcs, api))

    assert dcs.state.sync.changed == api.version(SYNC)


async def test_what_is_the_same_after_the_watch_was_broken_has_not_changed(api: StandIn, dcs: Dcs) -> None:
    changed, watches = dcs.state.sync.changed, api.watches

    api.end_watches()
    await until(lambda: api.watches > watches)
    api.renew()
    await until(lambda: knows(dcs, api))

    assert dcs.state.sync.changed == changed


@pytest.mark.parametrize("how", ["cut", "refuse"])
async def test_a_watch_that_breaks_is_begun_again(api: StandIn, dcs: Dcs, how: str) -> None:
    api.fail(how)
    api.lead("db-2")
    await asyncio.sleep(0.05)  # as above
    assert dcs.state.lock.leader == "db-0"

    api.fail(None)

    await until(lambda: dcs.state.lock.leader == "db-2")


# --- asking -----------------------------------------------------------------------------------------------------------


async def test_what_is_read_afresh_counts_as_changed_just_now(api: StandIn, dcs: Dcs) -> None:
    """Between what the watch brought and this, the voters may have changed twice."""
    api.hold(CONFIG_MAPS)
    api.fence("db-2")
    api.renew(position=2000)

    state = await dcs.fresh()

    assert state.sync.changed == state.version == api.version(SYNC)
    assert (state.lock.version, state.lock.position) == (api.version(LOCK), 2000)


async def test_what_the_watch_has_brought_already_is_not_newer_when_it_is_read_again(api: StandIn, dcs: Dcs) -> None:
    api.fence("db-2")
    await until(lambda: knows(dcs, api))
    state = dcs.state

    assert await dcs.fresh() is state
    assert state.sync.changed < state.version


async def test_what_the_watch_brings_late_undoes_nothing(api: StandIn, dcs: Dcs) -> None:
    api.hold(CONFIG_MAPS)
    api.lead("db-2")
    api.lead("db-0")
    state = await dcs.fresh()

    api.let_go(CONFIG_MAPS)
    api.renew()

    await dcs.changed(5)
    assert dcs.state.lock.term == state.lock.term
    assert dcs.state.lock.version == api.version(LOCK)


async def test_of_a_database_without_a_lock_nothing_is_known(api: StandIn, idle: Dcs) -> None:
    api.delete(LOCK)
    api.delete(SYNC)

    state = await idle.fresh()

    assert (state.lock.leader, state.lock.version, state.version) == (None, 0, 0)


# --- writing ----------------------------------------------------------------------------------------------------------


async def test_publishing_waits_for_the_watch(api: StandIn, dcs: Dcs) -> None:
    api.hold(CONFIG_MAPS)
    publishing = asyncio.create_task(dcs.publish(Fence("t", 1, 1000, "db-0")))
    await until(lambda: api.fence_of("db-1") is not None)
    await asyncio.sleep(0.05)  # as above
    assert not publishing.done()

    api.let_go(CONFIG_MAPS)
    await publishing

    assert dcs.state.sync.fences == {"db-1": Fence("t", 1, 1000, "db-0")}
    assert dcs.state.sync.changed < dcs.state.version, "a fence does not change the voters"


async def test_publishing_sees_what_happened_before_it(api: StandIn, dcs: Dcs) -> None:
    """Voters that changed after the agent last looked, and before its fence."""
    api.before("PATCH", SYNC, lambda: api.synchronous("db-0", "db-2", quorum=0))

    await dcs.publish(Fence("t", 1, 1000, "db-0"))

    assert dcs.state.sync.voters == {"db-2"}
    assert dcs.state.sync.changed < dcs.state.version


async def test_publishing_gives_up_when_no_watch_brings_it(idle: Dcs) -> None:
    with pytest.raises(TimeoutError):
        await idle.publish(Fence("t", 1, 1000, "db-0"))


async def test_the_same_fence_said_again_is_another_version_and_one_taken_off_is_gone(api: StandIn, dcs: Dcs) -> None:
    await dcs.publish(Fence("t", 1, 1000, "db-0"))
    version = dcs.state.version
    await dcs.publish(Fence("t", 1, 1000, "db-0"))
    assert dcs.state.version > version

    await dcs.publish(None)
    await dcs.publish(None)

    assert dcs.state.sync.fences == {}
    assert api.annotations(SYNC).keys() == {"leader", "sync_standby", "quorum"}


async def test_the_lock_is_handed_over_at_the_version_that_was_read_and_at_no_other(api: StandIn, dcs: Dcs) -> None:
    lock = dcs.state.lock
    api.renew()
    with pytest.raises(KubeError) as refused:
        await dcs.hand_over(lock, "db-1")
    assert refused.value.status == 409
    assert api.leader() == "db-0"

    await until(lambda: knows(dcs, api))
    before = api.annotations(LOCK)
    await dcs.hand_over(dcs.state.lock, "db-1")

    assert dcs.state.lock.leader == "db-1", "known before the watch brings it"
    after = api.annotations(LOCK)
    assert (after["leader"], after["transitions"]) == ("db-1", str(int(before["transitions"]) + 1))
    assert after["acquireTime"] == after["renewTime"] != before["acquireTime"]
    assert after["optime"] == before["optime"], "all else stays"
