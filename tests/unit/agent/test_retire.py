"""Before a primary's pod goes, another member takes over; nobody but the API server can make it do that."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from baas_operator.agent import dcs as dcs_module
from baas_operator.agent import move as move_module
from baas_operator.agent import retire as retire_module
from baas_operator.agent.dcs import STOPPED, Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.move import Mover
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.postgres import UnavailableError
from baas_operator.agent.retire import Requests
from baas_operator.desired.database import names
from baas_operator.desired.meta import COMPONENT_LABEL, NAME_LABEL
from tests.unit.agent.stand_in import LOCK, PODS, SYNC, StandIn, serve, stop, until
from tests.unit.agent.test_successor import LEADER, member

ME = Identity(database="db", namespace="prod", pod="db-0", ip="10.0.0.1", node="node-a")
USER = ("patroni", "secret")


class World:
    """db-0, whose agent this is, leads. Its PostgreSQL shuts down when it is told to, the standbys' agents take the lock when they are
    told of that, and its Patroni switches over when it is asked, unless a story says otherwise."""

    def __init__(self, api: StandIn) -> None:
        self.api = api
        self.members = [LEADER, member("db-1"), member("db-2")]
        self.done: list[str] = []
        """What was done, in order."""
        self.unconfirmed: set[str] = set()
        self.obeys = True
        self.stops = False
        """PostgreSQL is shutting down, and somebody who still receives holds it up."""
        self.paused = False
        self.pooler_says = 200
        self.agents_say = 200
        """What the standbys' agents answer when they are asked whether they watch."""
        self.mover: Mover
        self.requests: Requests
        self.patroni_ended = 0
        for name in ("db-0", "db-1", "db-2"):
            api.put(f"{PODS}/{name}")
            api.objects[f"{PODS}/{name}"]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
            api.objects[f"{PODS}/{name}"]["status"] = {"podIP": "127.0.0.1"}
        api.lead("db-0")
        api.synchronous("db-0", "db-1", "db-2")
        api.renew()
        api.before("PATCH", SYNC, self.standbys_take_over)

    def standbys_take_over(self) -> None:
        self.done.append("told")
        if self.obeys:
            self.api.lead("db-2")

    def start_pooler(self) -> None:
        labels = {COMPONENT_LABEL: "pooler", NAME_LABEL: "db"}
        ready = {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        self.api.put(f"{PODS}/db-pooler-x", metadata={"labels": labels}, status=ready)
        self.api.put(f"{PODS}/db-pooler-y", metadata={"labels": labels}, status=ready | {"conditions": []})

    def delete(self, *pods: str) -> None:
        for name in pods:
            self.api.objects[f"{PODS}/{name}"]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"

    async def cluster(self, _: web.Request) -> web.Response:
        return web.json_response({"members": self.members} | ({"pause": True} if self.paused else {}))

    async def switchover(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == aiohttp.encode_basic_auth(*USER)
        body = await request.json()
        self.done.append(f"Patroni: {body['leader']} to {body['candidate']}")
        if self.obeys:
            self.api.lead(body["candidate"])
            return web.Response(text="Successfully switched over")
        return web.Response(status=412, text="no")

    async def watches(self, _: web.Request) -> web.Response:
        return web.Response(status=self.agents_say)

    async def pooler(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer token"
        self.done.append(request.match_info["what"])
        return web.json_response({}, status=self.pooler_says)

    # its PostgreSQL

    async def checkpoint(self, *, confirmed_by: Collection[str], replayed_by: str) -> set[str]:
        self.done.append("checkpoint")
        return self.unconfirmed & {*confirmed_by, replayed_by}

    async def stop(self) -> None:
        self.done.append("stop")
        if self.stops:
            raise UnavailableError("PostgreSQL does not shut down")

    def end_patroni(self) -> bool:
        self.patroni_ended += 1
        return True

    async def retire(self) -> None:
        answer = await self.requests.retire(None)  # type: ignore[arg-type]
        assert answer.status == 200

    async def asked_by_the_operator(
        self, candidate: str, *, leader: str = "db-0", user: tuple[str, str] = USER, **more: bool
    ) -> tuple[int, str]:
        app = web.Application()
        app.add_routes([web.post("/switchover", self.requests.switch_over)])
        async with TestClient(TestServer(app)) as client:
            headers = {"Authorization": aiohttp.encode_basic_auth(*user)}
            answer = await client.post("/switchover", json={"leader": leader, "candidate": candidate} | more, headers=headers)
            return answer.status, (await answer.text()).strip()


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    api = await StandIn(tmp_path).start()
    made = World(api)
    app = web.Application()
    app.add_routes([
        web.get("/cluster", made.cluster), web.post("/switchover", made.switchover), web.get(names.WATCHES_PATH, made.watches),
        web.post("/{what}", made.pooler),
    ])  # fmt: skip
    runner, port = await serve(app)
    monkeypatch.setattr(names, "PATRONI_PORT", port)
    monkeypatch.setattr(names, "POOLER_AGENT_PORT", port)
    monkeypatch.setattr(names, "AGENT_PORT", port)
    monkeypatch.setattr(retire_module, "_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(retire_module, "_GIVEN_UP_SECONDS", 2.0)
    monkeypatch.setattr(retire_module, "_AWAY_SECONDS", 0.3)
    monkeypatch.setattr(retire_module, "_LINGER_SECONDS", 0.0)
    monkeypatch.setattr(move_module, "_HANDED_OVER_SECONDS", 0.3)
    monkeypatch.setattr(move_module, "_SETTLED_SECONDS", 1.0)
    (tmp_path / "pooler-token").write_text("token\n")
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(api.port), account=tmp_path)
        dcs = Dcs(kube, ME)
        made.mover = Mover(kube, session, ME, dcs, made, Patroni(session, USER), token=tmp_path / "pooler-token")  # type: ignore[arg-type]
        made.requests = Requests(made.mover, ME, dcs, USER, made.end_patroni)
        running = asyncio.create_task(dcs.run())
        await until(lambda: dcs.state.lock.leader == "db-0" and dcs.state.sync.leader == "db-0")
        yield made
        await stop(running)
    await runner.cleanup()
    await api.stop()


MOVED = ["checkpoint", "stop", "told"]


async def test_a_primary_whose_pod_is_deleted_hands_over_before_the_pod_may_go(world: World) -> None:
    world.delete("db-0")
    term = world.api.term()

    await world.retire()

    assert world.done == MOVED
    assert world.api.leader() == "db-2"
    assert json.loads(world.api.annotations(SYNC)[STOPPED]) == {"term": term, "to": "db-2"}


async def test_a_primary_is_not_stopped_while_the_agents_that_hand_the_lock_over_are_away(world: World) -> None:
    """Nobody would take it, and Patroni's own race asks the same agents: a planned move is not worth an outage."""
    world.start_pooler()
    world.agents_say = 503

    status, said = await world.asked_by_the_operator("db-2")

    assert (status, world.api.leader()) == (503, "db-0")
    assert said.startswith("The agent beside db-1, db-2 does not answer, goes, or hears nothing of Patroni's lock")
    assert world.done == ["checkpoint"], "no client waited for it, either"


async def test_one_agent_too_few_is_too_few_and_one_without_a_pod_is_away(world: World) -> None:
    del world.api.objects[f"{PODS}/db-1"]["status"]["podIP"]

    status, said = await world.asked_by_the_operator("db-2")

    assert (status, world.done) == (503, ["checkpoint"])
    assert said.startswith("The agent beside db-1 does not answer")


async def test_an_agent_whose_pod_goes_is_away_as_its_postgresql_goes_before_it(world: World) -> None:
    world.delete("db-1")

    status, said = await world.asked_by_the_operator("db-2")

    assert (status, world.done) == (503, ["checkpoint"])
    assert said.startswith("The agent beside db-1 does not answer, goes")


@pytest.mark.parametrize("gone", [False, True])
async def test_nothing_is_moved_to_a_pod_that_goes(world: World, gone: bool) -> None:
    """It may have been chosen some seconds ago."""
    world.delete("db-2")
    if gone:
        del world.api.objects[f"{PODS}/db-2"]

    assert await world.asked_by_the_operator("db-2") == (503, "db-2 is about to go itself.")
    assert world.done == []


async def test_an_agent_tells_whether_it_hears_of_the_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.renew()
    await until(lambda: world.mover._dcs.up_to_date)
    assert (await world.requests.watches(None)).status == 200  # type: ignore[arg-type]

    monkeypatch.setattr(dcs_module, "_FRESH_SECONDS", 0.0)
    assert (await world.requests.watches(None)).status == 503  # type: ignore[arg-type]


async def test_an_agent_of_an_older_image_is_no_obstacle_to_a_move(world: World) -> None:
    world.agents_say = 404

    assert (await world.asked_by_the_operator("db-2"))[0] == 200


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


@pytest.mark.parametrize("says", [200, 409, 500])
async def test_clients_of_the_pooler_wait_meanwhile_and_what_a_pooler_says_holds_nobody_up(world: World, says: int) -> None:
    world.start_pooler()
    world.pooler_says = says
    world.delete("db-0")

    await world.retire()

    assert world.done == ["checkpoint", "pause", "stop", "told"], "nobody has to come back: poolers go on by themselves"
    assert world.api.leader() == "db-2"


async def test_clients_go_on_when_the_move_did_not_come_about_and_do_not_wait_for_the_next_try(world: World) -> None:
    world.start_pooler()
    world.delete("db-0")
    world.obeys = False

    await world.retire()

    assert world.done[:5] == ["checkpoint", "pause", "stop", "told", "resume"]
    assert world.done.count("pause") == 1
    assert world.done.count("stop") > 1
    assert world.api.leader() == "db-0"


async def test_voters_that_changed_just_now_are_waited_for_before_postgresql_is_stopped(world: World) -> None:
    """Their fences count once the lock was renewed, which a primary that was stopped does not do."""
    world.api.synchronous("db-0", "db-2", quorum=0)
    await until(lambda: world.mover._dcs.state.sync.voters == {"db-2"} and not world.mover._dcs.state.sync.settled)
    world.delete("db-0")
    asking = asyncio.create_task(world.retire())
    await asyncio.sleep(0.1)
    assert world.done == []

    world.api.renew()
    await asking
    assert world.done == MOVED


async def test_a_voter_that_does_not_confirm_is_not_waited_for_with_postgresql_stopped(world: World) -> None:
    world.unconfirmed = {"db-1"}
    assert await world.asked_by_the_operator("db-2") == (
        503, "db-1 does not confirm or replay what was written: a new primary would be waited for.",
    )  # fmt: skip

    assert world.done == ["checkpoint"]


async def test_a_shutdown_that_somebody_holds_up_is_told_all_the_same(world: World) -> None:
    world.stops = True

    assert await world.asked_by_the_operator("db-2") == (200, "db-2 leads.")
    assert world.done == MOVED


async def test_while_patroni_is_paused_it_is_asked_itself(world: World) -> None:
    world.paused = True

    assert await world.asked_by_the_operator("db-2") == (200, "db-2 leads.")
    assert world.done == ["checkpoint", "Patroni: db-0 to db-2"]


async def test_another_term_that_began_meanwhile_is_left_alone(world: World) -> None:
    world.api.before("GET", LOCK, lambda: world.api.lead("db-1"))

    assert await world.asked_by_the_operator("db-2") == (503, "db-1 leads by now.")
    assert world.done == ["checkpoint"]


async def test_where_nobody_confirms_commits_patroni_is_asked(world: World) -> None:
    world.api.synchronous(None, quorum=0)
    await until(lambda: world.mover._dcs.state.sync.leader is None)

    assert await world.asked_by_the_operator("db-1") == (200, "db-1 leads.")

    assert world.done == ["checkpoint", "Patroni: db-0 to db-1"]


async def test_the_operator_shows_a_password_and_asks_the_leader(world: World) -> None:
    assert (await world.asked_by_the_operator("db-2", user=("patroni", "wrong")))[0] == 401
    assert await world.asked_by_the_operator("db-2", leader="db-1") == (412, "db-0 does not lead.")
    assert world.done == []

    assert await world.asked_by_the_operator("db-2") == (200, "db-2 leads.")
    assert world.done == MOVED


async def test_another_than_the_candidate_is_told(world: World) -> None:
    assert await world.asked_by_the_operator("db-1") == (503, "db-2 leads.")


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
