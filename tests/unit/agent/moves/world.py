"""A primary that is to be moved, and all that its agent speaks with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from baas_operator.agent.identity import Identity
from baas_operator.agent.move import Mover
from baas_operator.agent.postgres import UnavailableError
from baas_operator.agent.retire import Requests
from baas_operator.desired.meta import COMPONENT_LABEL, NAME_LABEL
from tests.unit.agent.stand_in import PODS, SYNC, StandIn

ME = Identity(database="db", namespace="prod", pod="db-0", ip="10.0.0.1", node="node-a")
USER = ("patroni", "secret")
MOVED = ["checkpoint", "stop", "told"]


def member(name: str, role: str = "quorum_standby", state: str = "streaming", lag: Any = 0) -> dict[str, Any]:
    return {"name": name, "role": role, "state": state, "lag": lag}


LEADER = member("db-0", "leader", "running")


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
