"""Watches the primary from beside a standby, and does what `policy/failover.py` decides (docs/decisions/early-release.md).

Whatever fails here leaves things as they were: without enough fences the lock runs out by itself, as with Patroni alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import aiohttp

from baas_operator.agent.credentials import Credentials
from baas_operator.agent.dcs import Dcs, State
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.postgres import Look, Postgres, UnavailableError
from baas_operator.policy.failover import (
    ASK_AHEAD_SECONDS,
    Fence,
    Here,
    Lock,
    Step,
    decide,
    has_fenced,
    heir,
    stopped,
    usurped,
    voters_of_another,
)

_CALM_SECONDS = 0.5
_ALARMED_SECONDS = 0.1
_NEWS_SECONDS = 1.0
"""A silence is no older news than this when a fence is published for it."""
_OWN_PATRONI_SECONDS = 0.5
"""It answers within milliseconds, and a failover waits for this."""
_NO_ANSWER = (KubeError, aiohttp.ClientError, TimeoutError, OSError, UnavailableError)
_log = logging.getLogger("agent.failover")


def _why_cut(here: Here, state: State) -> str:
    leader = state.lock.leader
    if state.lock.given and not here.follows:
        return f"{leader} has the lock, and PostgreSQL receives from another: cutting it off"
    if usurped(state.sync, state.lock):
        return f"{leader} has the lock: turning away from {state.sync.leader}"
    why = "was stopped for a planned move" if stopped(state.sync, state.lock) else f"is silent for {here.silence:.1f} s and does not answer"
    return f"{leader} {why}: cutting off from it"


class Watcher:
    """Suspects, fences, releases; one step at a time."""

    def __init__(
        self, kube: Kube, identity: Identity, dcs: Dcs, credentials: Credentials, postgres: Postgres, patroni: Patroni,
        *, detection_seconds: float,
    ) -> None:  # fmt: skip
        self._kube = kube
        self._identity = identity
        self._dcs = dcs
        self._credentials = credentials
        self._postgres = postgres
        self._patroni = patroni
        self._detection = detection_seconds
        self._term = ""
        self._heard = time.monotonic()
        self._answers: bool | None = None
        self._dead = False
        self._asked = 0.0
        """When the last answer, or its absence, was known."""
        self._in_doubt = ""
        """Term of a fence that was sent without an answer: it may be published, or be so in a moment."""
        self._address: str | None = None
        self._withdrawn: int | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause = _CALM_SECONDS
            try:
                pause = await self._tick()
            except _NO_ANSWER as error:
                _log.info("could not look after the primary: %s", str(error) or type(error).__name__)
            await self._dcs.changed(pause)

    async def _tick(self) -> float:
        """One look and one step; the seconds until the next if nothing changes before."""
        look = await self._look()
        if self._withdrawn is None:
            # Just started, perhaps in the middle of something: what is published now decides, and nothing read before.
            self._withdrawn = (await self._dcs.fresh()).lock.version
        state = self._dcs.state  # from here to the decision nothing is waited for
        lock = state.lock
        if lock.leader == self._identity.pod and look is not None and not look.standby and stopped(state.sync, lock):
            # It was shut down for a move that did not come about, and is the primary again. Fences that were made for it must not count:
            # in a new term none does.
            await self._dcs.begin_term(lock)
            _log.warning("PostgreSQL is the primary again after it was stopped: a new term begins")
            return _ALARMED_SECONDS
        if lock.term != self._term:
            self._term, self._heard, self._answers, self._dead, self._address = lock.term, time.monotonic(), None, False, None
        receives = look is None or not look.standby or look.silence is not None
        here = Here(
            name=self._identity.pod, connected=self._credentials.connected, silence=time.monotonic() - self._heard,
            answers=self._answers, dead=self._dead, receives=receives, withdrawn=self._withdrawn,
        )  # fmt: skip
        led_before = voters_of_another(state.sync, lock)
        if state.lock.leader and (not here.connected or (lock.given and led_before and self._identity.pod in state.sync.fences)):
            here = replace(here, follows=await self._follows(look, state.lock.leader))
            if self._dcs.state.lock.term != lock.term:
                return 0.0
        match decide(here, state.lock, state.sync, detection_seconds=self._detection):
            case Step.FOLLOW:
                return await self._follow(here)
            case Step.ASK:
                await self._ask()
            case Step.CUT:
                _log.warning("%s", _why_cut(here, state))
                self._credentials.disconnect()
                if lock.given and not here.follows:
                    await self._postgres.end_receivers()
                return 0.0
            case Step.RELEASE:
                await self._release(state.lock)
            case Step.TURN:
                await self._turn(state.lock, state.sync.leader or "")
            case Step.WITHDRAW:
                await self._withdraw()
            case Step.CONNECT if self._in_doubt == lock.term:
                await self._withdraw()
            case Step.CONNECT:
                self._credentials.connect()
                self._heard = time.monotonic()
                _log.info("may receive from %s", state.lock.leader)
            case Step.WAIT:
                return _ALARMED_SECONDS if state.lock.leader else _CALM_SECONDS
        return _ALARMED_SECONDS

    async def _turn(self, lock: Lock, before: str) -> None:
        """Publish that this member confirms nothing more to the one who led before; the new leader is promoted when enough have."""
        calls = lock.leader == self._identity.pod
        look = await (self._postgres.look() if calls else self._postgres.end_receivers())
        reach = await self._postgres.reach()
        if look.standby and reach and self._dcs.state.lock.term == lock.term:
            await self._dcs.publish(Fence(lock.term, reach.timeline, reach.position, against=before))
            _log.warning("%s has the lock: %s", lock.leader, f"voters of {before} have to turn away" if calls else f"turned from {before}")

    async def _patroni_lives(self) -> bool:
        """Whether the Patroni beside this agent answers: the lock is of no use to a member where it does not."""
        try:
            await self._patroni.knock(seconds=_OWN_PATRONI_SECONDS)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
        return True

    async def _withdraw(self) -> None:
        await self._dcs.publish(None)
        self._in_doubt = ""
        self._withdrawn = (await self._dcs.fresh()).lock.version
        _log.info("%s answers again: the fence is taken back", self._dcs.state.lock.leader)

    async def _follows(self, look: Look | None, leader: str) -> bool:
        """Whether PostgreSQL would receive from the leader, and from nobody else. One that does not run will: Patroni tells it at its
        start, and needs the certificate for a first copy. One that runs and does not answer may still name the old one."""
        if look is None:
            return not self._postgres.runs
        if leader == self._identity.pod:
            return not look.standby
        if self._address is None:
            self._address = await self._address_of(leader)
        follows = look.standby and look.upstream is not None and look.upstream == self._address
        if not follows:
            self._address = None  # a pod that was made anew has another
        return follows

    async def _address_of(self, member: str) -> str | None:
        """None if it has no pod, or one that has not started."""
        try:
            pod = await self._kube.get(self._identity.pod_path(member))
        except KubeError as error:
            if error.status != 404:
                raise
            return None
        return (pod.get("status") or {}).get("podIP")

    async def _look(self) -> Look | None:
        try:
            look = await self._postgres.look()
        except UnavailableError:
            return None
        if not look.standby:
            self._heard = time.monotonic()
        elif look.silence is not None:
            self._heard = max(self._heard, time.monotonic() - look.silence)
        return look

    async def _follow(self, here: Here) -> float:
        left = self._detection - ASK_AHEAD_SECONDS - here.silence
        if here.receives and left > 0:
            self._answers, self._dead = None, False
            return min(_CALM_SECONDS, max(left, _ALARMED_SECONDS))
        await self._ask_again()
        return _ALARMED_SECONDS if self._answers is False else _CALM_SECONDS

    async def _ask_again(self) -> None:
        if self._answers is not None and time.monotonic() - self._asked > _CALM_SECONDS:
            await self._ask()

    async def _ask(self) -> None:
        """Whether the primary's Patroni answers, whatever it says; a refused connection or a pod that is gone is the news of its death."""
        leader = self._dcs.state.lock.leader
        if leader is None or leader == self._identity.pod:
            return
        try:
            await self._ask_patroni(leader)
        finally:
            self._asked = time.monotonic()

    async def _ask_patroni(self, leader: str) -> None:
        if self._address is None:
            self._address = await self._address_of(leader)
        if self._address is None:
            self._answers, self._dead = False, True
            return
        try:
            await self._patroni.knock(self._address, seconds=ASK_AHEAD_SECONDS)
            self._answers, self._dead = True, False
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            refused = isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError)
            self._answers, self._dead = False, refused
            if refused:
                self._address = None  # a pod that was made anew has another

    async def _release(self, lock: Lock) -> None:
        """Publish this member's fence and, if it completes the set, hand the lock over (the order: policy/failover.py)."""
        me, leader = self._identity.pod, lock.leader
        sync = self._dcs.state.sync
        if leader is None or (has_fenced(sync, lock, me) and heir(sync, lock, me) is None):
            await self._ask_again()
            return
        if not stopped(self._dcs.state.sync, lock) and time.monotonic() - self._asked > _NEWS_SECONDS:
            await self._ask()
            if self._answers is not False:
                return
        look, lives = await asyncio.gather(self._postgres.end_receivers(), self._patroni_lives())
        reach = await self._postgres.reach()
        if not look.standby or reach is None or self._dcs.state.lock.term != lock.term:
            return
        self._in_doubt = lock.term
        await self._dcs.publish(Fence(lock.term, reach.timeline, reach.position, against=leader, lives=lives))
        self._in_doubt = ""
        if (chosen := heir(self._dcs.state.sync, lock, me)) is None:
            _log.info("fenced against %s at %d of timeline %d, waiting for others", leader, reach.position, reach.timeline)
            return
        await self._dcs.hand_over(lock, chosen)
        _log.warning("%s can acknowledge nothing more: the lock is handed to %s", leader, chosen)
