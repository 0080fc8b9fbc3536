"""Keeps one PgBouncer in line with the primary, from what is now: the `-rw` slice, the primary's port, and PgBouncer's own console.

What PgBouncer does by itself when a primary goes is not enough (docs/decisions/pooler.md): after one refused connection every client is
turned away, and a query that was sent to a server that froze hangs. So:

- PostgreSQL ends the connection that this agent holds to it, or refuses it: PAUSE. Queries wait, up to query_wait_timeout.
- The slice leads to another member: RELOAD with its address, the clients whose queries the old one holds are turned away (nobody can
  tell them what became of these), and RESUME as soon as it takes writes. All others keep their connections.
- A move is planned: PAUSE, until the slice leads elsewhere, somebody says resume, or the time that was asked for is over.

Nothing is remembered that matters: an agent that is started anew reads the slice and asks the console.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from baas_operator.agent.kube import Kube, KubeError
from baas_operator.desired.database import names
from baas_operator.pooler import primary
from baas_operator.pooler.console import Console, ConsoleError, Row
from baas_operator.pooler.files import NOWHERE, Certificate, Files

_LOOK_SECONDS = 1.0
"""How often PgBouncer is held against what should be where nothing tells of a change: it may have been started anew, unpaused."""
_DOUBT_SECONDS = 1.0
"""How often the primary's Patroni is asked. While it does not say that it is the primary, the slice is read rather than waited for: a
watch whose connection died with a node says nothing for minutes."""
_AGAIN_SECONDS = 0.1
_PAUSE_SECONDS = 0.2
"""PgBouncer is paused as soon as it has the command; it answers when no transaction runs any more, which is asked for elsewhere."""
_log = logging.getLogger("pooler")


@dataclass(frozen=True)
class Pause:
    """A planned pause: `until` is by the monotonic clock."""

    until: float
    left: str | None
    """Where the slice led when it began."""


def address_of(found: dict[str, object]) -> str | None:
    """Where an EndpointSlice leads to, if to one place."""
    present = found.get("endpoints")
    addresses = [each for endpoint in present for each in endpoint.get("addresses") or []] if isinstance(present, list) else []
    return str(addresses[0]) if len(addresses) == 1 else None


class Follower:
    """One PgBouncer. `slices` is the path of the namespace's EndpointSlices, `database` the DatabaseReplica's name."""

    def __init__(self, kube: Kube, session: aiohttp.ClientSession, console: Console, files: Files, *, slices: str, database: str) -> None:
        self._kube, self._session, self._console, self._files = kube, session, console, files
        self._slices, self._name = slices, names.rw_service(database)
        self.target: str | None = None
        self._known = False
        """Whether the slice was read once. Before that, PgBouncer stays where it is: the API server may be away."""
        self.answered = 0.0
        """When PgBouncer last did what it was told, by the monotonic clock."""
        self._told: Certificate | None = None
        """The certificate that PgBouncer was last told of. An agent that starts does not know, and so tells it once."""
        self._gone: str | None = None
        self._proven: str | None = None
        """Who was last seen to take writes. `-rw` leads to the heir of a failover a moment before it is promoted."""
        self._planned: Pause | None = None
        self._turn = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._files.begin()
        async with asyncio.TaskGroup() as tasks:
            for each in (self._watch(), self._doubt(), self._feel(), self._steer()):
                tasks.create_task(each)

    # --- planned moves ------------------------------------------------------------------------------------------------

    @property
    def planned(self) -> bool:
        """Whether a planned pause lasts."""
        now, pause = time.monotonic(), self._planned
        return pause is not None and now < pause.until and pause.left == self.target

    async def pause(self, *, wait_seconds: float, hold_seconds: float) -> bool:
        """Let running transactions end, `wait_seconds` at the most, and no new ones begin. True: none runs, and clients wait for
        `hold_seconds` more or until the primary has moved. False: some still ran, and clients go on."""
        started = time.monotonic()
        self._planned = mine = Pause(started + wait_seconds + hold_seconds, self.target)
        self._turn.set()
        while time.monotonic() < started + wait_seconds and self._planned is mine:
            with suppress(ConsoleError):
                if self.planned and await self._paused() and not await self._console.run("SHOW SERVERS"):
                    self._planned = Pause(time.monotonic() + hold_seconds, mine.left)
                    return True
            await asyncio.sleep(_AGAIN_SECONDS / 2)
        if self._planned is mine:
            self.resume()
        return False

    def resume(self) -> None:
        """End a planned pause."""
        self._planned = None
        self._turn.set()

    # --- what is seen -------------------------------------------------------------------------------------------------

    def _seen(self, found: dict[str, object]) -> None:
        target = address_of(found)
        self._known = True
        if target != self.target:
            _log.info("%s leads to %s, after %s", self._name, target, self.target)
            self.target = target
            self._turn.set()

    async def _watch(self) -> None:
        while True:
            try:
                async for found in self._kube.watch(self._slices, field=f"metadata.name={self._name}"):
                    self._seen(found)
            except (KubeError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                _log.info("the watch of %s ended: %r", self._name, error)
                await asyncio.sleep(_DOUBT_SECONDS)

    async def _doubt(self) -> None:
        while True:
            if self.target is None or self.planned or not await primary.says_primary(self._session, self.target):
                with suppress(KubeError, aiohttp.ClientError, TimeoutError, OSError, ValueError):
                    self._seen(await self._kube.get(f"{self._slices}/{self._name}"))
            await asyncio.sleep(_DOUBT_SECONDS)

    async def _feel(self) -> None:
        """Hold the primary's hand: `_gone` is who let go of it and did not come back."""
        while True:
            target = self.target
            if target is None:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if target != self._proven:
                await self._until_back(target)
                self._proven = target if self.target == target else None
                self._turn.set()
                continue
            holding = asyncio.create_task(primary.until_gone(target))
            try:
                while not holding.done() and self.target == target:
                    await asyncio.wait((holding,), timeout=_AGAIN_SECONDS)
                gone = self.target == target and holding.done() and holding.result()
            finally:
                holding.cancel()
            if not gone:
                continue
            _log.warning("PostgreSQL at %s is gone; queries wait", target)
            self._gone = target
            self._turn.set()
            await self._until_back(target)
            self._gone = None
            self._turn.set()

    async def _until_back(self, target: str) -> None:
        while True:
            if self.target != target or await primary.is_back(self._session, target):
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    # --- what is done -------------------------------------------------------------------------------------------------

    async def _steer(self) -> None:
        while True:
            self._turn.clear()
            try:
                await self._converge()
                self.answered = time.monotonic()
                wait = _LOOK_SECONDS
            except ConsoleError as error:
                _log.warning("PgBouncer: %s", error)
                wait = _AGAIN_SECONDS * 2
            if self._planned:
                wait = min(wait, max(0.0, self._planned.until - time.monotonic()))
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._turn.wait()

    @property
    def _hold(self) -> bool:
        return self.target in (None, self._gone) or self.target != self._proven or self.planned

    async def _paused(self) -> bool:
        state = {row.get("key"): row.get("value") for row in await self._console.run("SHOW STATE")}
        return state.get("paused") == "yes"

    async def _converge(self) -> None:
        """One look at PgBouncer, and what it takes to make it what it should be. May end anywhere, and be begun again."""
        if self._planned and not self.planned:
            self._planned = None
        databases = {row["name"]: row for row in await self._console.run("SHOW DATABASES")}
        loaded = databases.get(names.AUTH_DATABASE, {}).get("host", NOWHERE)
        if not self._known and loaded != NOWHERE:
            self.target = loaded
        target = self.target
        if self._proven is None and loaded == target and not await self._paused():
            self._proven = target  # by the agent that was here before
        changed = self._files.write(target)
        if self._hold and not await self._paused():
            # Before RELOAD: what RELOAD has no server for must already be waiting.
            with suppress(ConsoleError):
                await self._console.run("PAUSE", seconds=_PAUSE_SECONDS)
        certificate = self._files.read_certificate() or self._told
        if changed or loaded != (target or NOWHERE) or certificate != self._told:
            await self._console.run("RELOAD")
            self._told = certificate
        stale = await self._stale(target)
        await self._turn_away(stale)
        if databases.get(names.AUTH_DATABASE, {}).get("paused") == "1":
            await self._console.run(f'RESUME "{names.AUTH_DATABASE}"')
        # `_hold` speaks of where the slice leads now. If that changed meanwhile, PgBouncer does not go there yet: the next look has it all.
        if await self._paused() and self.target == target and not self._hold:
            await self._console.run("RESUME")
            _log.info("queries go to %s", target)
        if any(row["database"] == names.AUTH_DATABASE for row in stale) and not await self._paused():
            # Somebody logs in whose secret the old server was asked for. SHOW CLIENTS does not know them, so all who log in begin again.
            # Not before queries go on: a PgBouncer that is paused refuses to KILL.
            await self._console.run(f'KILL "{names.AUTH_DATABASE}"')
            await self._console.run(f'RESUME "{names.AUTH_DATABASE}"')
            _log.info("who was logging in begins again")

    async def _stale(self, target: str | None) -> list[Row]:
        """Servers that hold a query and are no primary any more: one may be frozen, and never answer."""
        if target is None:
            return []
        return [row for row in await self._console.run("SHOW SERVERS") if row["link"] and row["addr"] not in (target, "")]

    async def _turn_away(self, stale: list[Row]) -> None:
        clients = await self._clients_of(stale) if stale else []
        for client in clients:
            with suppress(ConsoleError):  # it may be gone already
                await self._console.run(f"KILL_CLIENT {int(client['id'])}")
        if clients:
            _log.info("turned %d away whose queries were with an old primary", len(clients))

    async def _clients_of(self, servers: list[Row]) -> list[Row]:
        links = {row["link"] for row in servers}
        return [row for row in await self._console.run("SHOW CLIENTS") if row["ptr"] in links]
