"""A database as the watchers of its standbys find it: who tells its stories is in test_fencing.py, test_taking_back.py and test_turning.py.

The API server and each Patroni are stand-ins that speak HTTP. The member's own PostgreSQL is a class that is as an agent finds one: unit
tests have no PostgreSQL, so that what its views and signals really do is for the tests with a cluster to tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from baas_operator.agent.credentials import Credentials
from baas_operator.agent.dcs import Dcs
from baas_operator.agent.failover import Watcher
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.patroni import Patroni as Rest
from baas_operator.agent.postgres import Look, UnavailableError
from baas_operator.policy.failover import Reach
from tests.unit.agent.stand_in import PODS, SYNC, Patroni, StandIn, stop, until
from tests.unit.agent.test_credentials import Volume

PRIMARY_IP = "127.0.0.2"
PRIMARY_POD = f"{PODS}/db-0"
DETECTION_SECONDS, ASK_AHEAD_SECONDS = 0.35, 0.3


class Postgres:
    """A standby's. It streams while the primary speaks; a receiver that is ended comes back only with a key."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._last = time.monotonic()
        self.standby = True
        self.primary_speaks = True
        self.receiving = True
        self.away = False
        self.has_read = True
        """All of the log that it had when it was started."""
        self.runs = True
        self.timeline, self.position = 1, 1000
        self.looks = 0
        self.override: str | None = None
        """`synchronous_standby_names` by ALTER SYSTEM."""
        self.file = ""
        """And as Patroni has it."""
        self.while_looking: Callable[[], None] | None = None
        self.upstream: Callable[[], str | None] = lambda: None
        """Patroni's word to PostgreSQL: the address of the member that the lock names, unless a story says otherwise."""

    async def look(self) -> Look:
        self.looks += 1
        if self.away:
            raise UnavailableError("starting up")
        if self.while_looking:
            happens, self.while_looking = self.while_looking, None
            happens()
            await asyncio.sleep(0.1)  # as long as a PostgreSQL under load takes: longer than the watch
        if self.primary_speaks:
            self.receiving |= self._credentials.connected
            self._last = time.monotonic()
        silence = time.monotonic() - self._last if self.standby and self.receiving else None
        return Look(self.standby, silence, (7,) if self.receiving else (), self.upstream())

    async def reach(self) -> Reach | None:
        if self.away:
            raise UnavailableError("starting up")
        return Reach(self.timeline, self.position) if self.has_read else None

    async def synchronous(self) -> tuple[str | None, str]:
        if self.away:
            raise UnavailableError("starting up")
        return self.override, self.file

    async def override_synchronous(self, names: str | None) -> None:
        self.override = names

    async def end_receivers(self) -> Look:
        await self.look()
        self.receiving = False
        return await self.look()


class Member:
    """A standby with its agent."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        folder.mkdir()
        (folder / "lent").mkdir()
        self.credentials = Credentials(Volume(folder / "secret").folder, folder / "lent")
        self.credentials.connect()
        self.postgres = Postgres(self.credentials)
        self.identity = Identity(database="db", namespace="prod", pod=name, ip="10.0.0.9", node="node")
        self._world = world
        self._running: list[asyncio.Task[None]] = []

    async def start(self, *, detection_seconds: float = DETECTION_SECONDS) -> None:
        """Start the agent; returns when it knows what is."""
        world = self._world
        self.dcs = Dcs(world.kube, self.identity)
        watcher = Watcher(
            world.kube, self.identity, self.dcs, self.credentials, self.postgres,  # type: ignore[arg-type]
            Rest(world.session, ("patroni", "secret")), detection_seconds=detection_seconds,
        )  # fmt: skip
        self._running = [asyncio.create_task(each) for each in (self.dcs.run(), watcher.run())]
        await until(lambda: self.dcs.state.version == world.api.version(SYNC))
        await self.looks(2)

    async def stop(self) -> None:
        """Kill the agent."""
        running, self._running = self._running, []
        await stop(*running)

    async def looks(self, times: int = 10) -> None:
        """Until it has looked so many times more."""
        goal = self.postgres.looks + times
        await until(lambda: self.postgres.looks >= goal)

    @property
    def connected(self) -> bool:
        return self.credentials.connected


class World:
    """db-0 leads; db-1 and db-2 are its voters, and one of them has to confirm each commit."""

    def __init__(self, api: StandIn, session: aiohttp.ClientSession, folder: Path) -> None:
        self.api = api
        self.session = session
        self.kube = Kube(session, "127.0.0.1", str(api.port), account=api.folder)
        self.patroni = Patroni(PRIMARY_IP)
        self.own_patroni = Patroni("127.0.0.1")  # beside each agent: they all share one loopback here
        self.me = Member(self, "db-1", folder / "db-1")
        self.other = Member(self, "db-2", folder / "db-2")
        api.lead("db-0")
        api.synchronous("db-0", "db-1", "db-2")
        api.renew()
        api.put(PRIMARY_POD, status={"podIP": PRIMARY_IP})
        api.put(f"{PODS}/db-1", status={"podIP": "127.0.0.8"})
        api.put(f"{PODS}/db-2", status={"podIP": "127.0.0.9"})
        for each in (self.me, self.other):
            each.postgres.upstream = self.leaders_address

    def leaders_address(self) -> str | None:
        """Where Patroni has PostgreSQL receive from, as soon as the lock names somebody."""
        found = self.api.objects.get(f"{PODS}/{self.api.leader()}") or {}
        address: str | None = found.get("status", {}).get("podIP")
        return address

    def power_cut(self, *, hangs: bool = False) -> None:
        """The primary falls silent, and answers nobody: connections hang, or (quicker to tell) break without a word."""
        self.patroni.hangs, self.patroni.breaks = hangs, not hangs
        for each in (self.me, self.other):
            each.postgres.primary_speaks = False

    async def process_dies(self) -> None:
        """The primary's connections break, and its host refuses new ones."""
        await self.patroni.stop()
        for each in (self.me, self.other):
            each.postgres.primary_speaks = each.postgres.receiving = False

    def comes_back(self) -> None:
        """The primary speaks and answers again."""
        self.patroni.hangs = self.patroni.breaks = False
        for each in (self.me, self.other):
            each.postgres.primary_speaks = True

    async def fenced(self) -> None:
        """Until this member's fence is published."""
        await until(lambda: self.api.fence_of("db-1") is not None)

    async def released(self, *, seconds: float = 10.0) -> None:
        """Until the old primary has the lock no more."""
        await until(lambda: self.api.leader() != "db-0", seconds=seconds)

    @property
    def untouched(self) -> bool:
        """Whether nobody wrote anything."""
        return self.api.writes == []
