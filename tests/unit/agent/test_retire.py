"""Before a primary's pod goes, another member takes over; nobody but the API server can make it do that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from baas_operator.agent import retire as retire_module
from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.retire import Retirement, successor
from baas_operator.desired.database import names
from baas_operator.desired.meta import COMPONENT_LABEL, NAME_LABEL
from tests.unit.agent.stand_in import PODS, StandIn, serve, stop, until

ME = Identity(database="db", namespace="prod", pod="db-0", ip="10.0.0.1", node="node-a")
USER = ("patroni", "secret")


def pod(name: str, *, made: str = "2026-01-01T00:00:00Z", goes: bool = False) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": made} | ({"deletionTimestamp": "2026-01-02T00:00:00Z"} if goes else {})
    return {"metadata": metadata}


def member(name: str, role: str = "quorum_standby", state: str = "streaming", lag: Any = 0) -> dict[str, Any]:
    return {"name": name, "role": role, "state": state, "lag": lag}


LEADER = member("db-0", "leader", "running")


def chosen(*members: dict[str, Any], **pods: dict[str, Any]) -> str | None:
    known = {"db-0": pod("db-0", goes=True)} | {name: pod(name) for name in ("db-1", "db-2")}
    return successor({"members": [LEADER, *members]}, known | {name.replace("_", "-"): each for name, each in pods.items()})


def test_a_synchronous_standby_takes_over_and_no_other_where_there_is_one() -> None:
    assert chosen(member("db-1"), member("db-2", "replica")) == "db-1"
    assert chosen(member("db-1", state="starting"), member("db-2", "replica")) is None


def test_without_synchronous_standbys_one_that_hardly_lags_does() -> None:
    assert chosen(member("db-1", "replica", lag=64 * 2**20), member("db-2", "replica", lag=100)) == "db-2"
    assert chosen(member("db-1", "replica", lag="unknown")) is None


def test_one_that_goes_too_is_passed_over() -> None:
    assert chosen(member("db-1"), member("db-2"), db_2=pod("db-2", goes=True)) == "db-1"


def test_the_youngest_pod_is_taken_so_that_a_rolling_update_does_not_meet_the_primary_again() -> None:
    assert chosen(member("db-1"), member("db-2"), db_1=pod("db-1", made="2026-01-03T00:00:00Z")) == "db-1"


def test_a_member_whose_pod_is_not_known_is_passed_over() -> None:
    assert chosen(member("db-7")) is None


class World:
    """db-0, whose agent this is, leads; its Patroni does what it is asked, unless a story says otherwise."""

    def __init__(self, api: StandIn) -> None:
        self.api = api
        self.members = [LEADER, member("db-1"), member("db-2")]
        self.asked: list[dict[str, Any]] = []
        self.authorized: list[str | None] = []
        self.obeys = True
        self.poolers: list[tuple[str, str, int]] = []
        """What a pooler was asked, with which token, and after how many switchovers."""
        self.pooler_says = 200
        self.retirement: Retirement
        for name in ("db-0", "db-1", "db-2"):
            api.put(f"{PODS}/{name}")
            api.objects[f"{PODS}/{name}"]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        api.lead("db-0")

    def delete(self, *pods: str) -> None:
        for name in pods:
            self.api.objects[f"{PODS}/{name}"]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"

    async def cluster(self, _: web.Request) -> web.Response:
        return web.json_response({"members": self.members})

    async def pooler(self, request: web.Request) -> web.Response:
        self.poolers.append((request.match_info["what"], request.headers["Authorization"], len(self.asked)))
        return web.json_response({}, status=self.pooler_says)

    async def switchover(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.authorized.append(request.headers.get("Authorization"))
        if self.obeys:
            self.api.lead(self.asked[-1]["candidate"])
            return web.Response(text="Successfully switched over")
        return web.Response(status=412, text="no")

    async def retire(self) -> None:
        answer = await self.retirement.answer(None)  # type: ignore[arg-type]
        assert answer.status == 200


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    api = await StandIn(tmp_path).start()
    made = World(api)
    app = web.Application()
    app.add_routes([web.get("/cluster", made.cluster), web.post("/switchover", made.switchover), web.post("/{what}", made.pooler)])
    runner, port = await serve(app)
    monkeypatch.setattr(names, "PATRONI_PORT", port)
    monkeypatch.setattr(names, "POOLER_AGENT_PORT", port)
    monkeypatch.setattr(retire_module, "_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(retire_module, "_GIVEN_UP_SECONDS", 1.0)
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(api.port), account=tmp_path)
        dcs = Dcs(kube, ME)
        (tmp_path / "pooler-token").write_text("token\n")
        made.retirement = Retirement(kube, session, ME, dcs, USER, token=tmp_path / "pooler-token")
        running = asyncio.create_task(dcs.run())
        await until(lambda: dcs.state.lock.leader == "db-0")
        yield made
        await stop(running)
    await runner.cleanup()
    await api.stop()


async def test_a_primary_whose_pod_is_deleted_hands_over_before_the_pod_may_go(world: World) -> None:
    world.delete("db-0")

    await world.retire()

    assert world.asked == [{"leader": "db-0", "candidate": "db-2"}]
    assert world.authorized == [aiohttp.encode_basic_auth(*USER)]
    assert world.api.leader() == "db-2"


@pytest.mark.parametrize("says", [200, 409, 500])
async def test_clients_of_the_pooler_wait_meanwhile_and_what_a_pooler_says_holds_nobody_up(world: World, says: int) -> None:
    world.pooler_says = says
    world.api.put(f"{PODS}/db-pooler-x", metadata={"labels": {COMPONENT_LABEL: "pooler", NAME_LABEL: "db"}}, status={"podIP": "127.0.0.1"})
    world.delete("db-0")

    await world.retire()

    assert world.poolers == [("pause", "Bearer token", 0)]
    assert world.api.leader() == "db-2"


async def test_clients_go_on_when_the_switchover_did_not_come_about(world: World) -> None:
    world.api.put(f"{PODS}/db-pooler-x", metadata={"labels": {COMPONENT_LABEL: "pooler", NAME_LABEL: "db"}}, status={"podIP": "127.0.0.1"})
    world.delete("db-0")
    world.obeys = False

    await world.retire()

    assert world.poolers[:2] == [("pause", "Bearer token", 0), ("resume", "Bearer token", 1)]


async def test_somebody_who_just_asks_moves_nothing(world: World) -> None:
    await world.retire()

    assert world.asked == []


async def test_a_standby_may_go_at_once(world: World) -> None:
    world.delete("db-0")
    world.api.lead("db-1")
    await until(lambda: world.retirement._dcs.state.lock.leader == "db-1")

    await world.retire()

    assert world.asked == []


async def test_where_all_go_nobody_is_waited_for(world: World) -> None:
    world.delete("db-0", "db-1", "db-2")

    async with asyncio.timeout(0.5):
        await world.retire()

    assert world.asked == []


async def test_one_that_becomes_fit_a_moment_later_is_waited_for(world: World) -> None:
    world.delete("db-0")
    world.members[1:] = [member("db-1", state="starting"), member("db-2", state="starting")]
    asking = asyncio.create_task(world.retire())
    await asyncio.sleep(0.1)
    assert not asking.done()

    world.members[1] = member("db-1")
    await asking

    assert [each["candidate"] for each in world.asked] == ["db-1"]


async def test_a_patroni_that_refuses_is_asked_again_and_keeps_the_pod_for_so_long_and_no_longer(world: World) -> None:
    world.delete("db-0")
    world.obeys = False

    async with asyncio.timeout(3):
        await world.retire()

    assert len(world.asked) > 2
    assert world.api.leader() == "db-0"


async def test_without_the_api_server_the_pod_may_go(world: World) -> None:
    world.delete("db-0")
    world.api.fail("refuse")

    await world.retire()

    assert world.asked == []
