"""The router: `-rw` leads to this member exactly while it leads, whoever else writes and whatever it believes of itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from baas_operator.agent import router as router_module
from baas_operator.agent.kube import Kube
from baas_operator.agent.router import Identity, Router, leads_here
from baas_operator.desired.database import names
from tests.unit.agent.stand_in import StandIn

HERE, THERE = "10.0.0.1", "10.0.0.2"
ME = Identity(database="db", namespace="prod", pod="db-1", ip=HERE, node="node-b")


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandIn]:
    """A database that another member leads, with this member's agent running."""
    made = await StandIn(tmp_path).start()
    made.leader = "db-0"
    made.edit(THERE)
    monkeypatch.setattr(names, "PATRONI_PORT", made.patroni_port)
    monkeypatch.setattr(router_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(router_module, "_ASK_SECONDS", 60.0)
    monkeypatch.setattr(router_module, "_AFTER_ERROR_SECONDS", 0.01)
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(made.api_port), account=tmp_path)
        running = asyncio.create_task(Router(kube, session, ME).run())
        yield made
        assert not running.done(), "an agent never ends by itself"
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    await made.stop()


async def looks(world: StandIn, times: int) -> None:
    """The agent has looked at the lock so many times more."""
    goal = world.lock_reads + times
    await world.until(lambda: world.lock_reads >= goal)


async def test_a_member_that_was_promoted_is_routed_to(world: StandIn) -> None:
    world.leader, world.primary = "db-1", True

    await world.until(lambda: world.leads_to() == [HERE])

    (endpoint,) = world.slice["endpoints"]
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert endpoint["targetRef"] == {"kind": "Pod", "name": "db-1", "namespace": "prod"}
    assert endpoint["nodeName"] == "node-b"


async def test_what_is_right_is_not_written_again(world: StandIn) -> None:
    world.leader, world.primary = "db-1", True
    await world.until(lambda: world.leads_to() == [HERE])
    reads = world.lock_reads

    for _ in range(20):
        await asyncio.sleep(0.01)  # nothing to wait for: that nothing happens is the point

    assert world.written() == [[HERE]]
    assert world.lock_reads <= reads + 1, "a database at rest costs the API server nothing"


async def test_a_frozen_primary_that_wakes_up_does_not_steal(world: StandIn) -> None:
    """Its Patroni still says that it is the primary; the lock says that another is."""
    world.primary = True

    await looks(world, 5)

    assert world.patches == []
    assert world.leads_to() == [THERE]


async def test_a_lock_that_nobody_holds_is_not_ours(world: StandIn) -> None:
    world.leader, world.primary = None, True

    await looks(world, 3)

    assert world.patches == []


async def test_the_lock_alone_is_not_enough(world: StandIn) -> None:
    """The lock is taken before PostgreSQL has been promoted: until then writes would fail here."""
    world.leader = "db-1"
    world.edit("10.9.9.9")
    await world.tell()
    for _ in range(10):
        await asyncio.sleep(0.01)  # as above
    assert world.patches == []

    world.primary = True
    await world.until(lambda: world.leads_to() == [HERE])


async def test_a_write_that_comes_late_overwrites_nothing(world: StandIn) -> None:
    """Between our look at the slice and our write another member was promoted, and has written."""

    def another_is_promoted() -> None:
        world.leader, world.primary = "db-2", False
        world.edit("10.0.0.3")

    world.before_patch = another_is_promoted
    world.leader, world.primary = "db-1", True

    await world.until(lambda: bool(world.patches))

    assert world.patches[0][0] == 409
    assert world.leads_to() == ["10.0.0.3"]
    for _ in range(5):
        await asyncio.sleep(0.01)  # as above
    assert world.written() == []


async def test_a_conflict_while_we_still_lead_is_tried_again(world: StandIn) -> None:
    world.before_patch = lambda: world.edit(THERE)
    world.leader, world.primary = "db-1", True

    await world.until(lambda: world.leads_to() == [HERE])

    assert world.patches[0][0] == 409
    assert world.written() == [[HERE]]


@pytest.mark.parametrize("by_hand", [("10.9.9.9",), (), (HERE, "10.9.9.9")], ids=["another", "emptied", "one more"])
async def test_a_slice_that_was_edited_by_hand_is_put_back_as_the_watch_tells(world: StandIn, by_hand: tuple[str, ...]) -> None:
    world.leader, world.primary = "db-1", True
    await world.until(lambda: world.leads_to() == [HERE])
    world.patroni_hangs = True  # so that the next look at Patroni is not what puts it back
    await world.until(lambda: world.hanging > 0)

    world.edit(*by_hand)
    await world.tell()

    await world.until(lambda: world.leads_to() == [HERE])


async def test_a_member_that_was_demoted_leaves_the_slice_to_its_successor(world: StandIn) -> None:
    world.leader, world.primary = "db-1", True
    await world.until(lambda: world.leads_to() == [HERE])

    world.leader, world.primary = "db-0", False
    world.edit(THERE)
    await world.tell()
    for _ in range(5):
        await asyncio.sleep(0.01)  # as above

    assert world.leads_to() == [THERE]


@pytest.mark.parametrize(
    ("found", "here"),
    [
        ([{"addresses": [HERE]}], True),
        ([{"addresses": [THERE]}], False),
        ([{"addresses": [HERE]}, {"addresses": [THERE]}], False),
        ([{"addresses": [HERE, THERE]}], False),
        ([], False),
        (None, False),
    ],
)
def test_leading_here_means_here_and_nowhere_else(found: list[dict[str, list[str]]] | None, here: bool) -> None:
    assert leads_here({"endpoints": found}, ME) is here
