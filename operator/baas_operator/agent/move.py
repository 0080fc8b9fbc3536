"""A planned move: the primary's own agent makes another member the primary, within a second.

Clients of the pooler are let wait. PostgreSQL is shut down, which ships all of its log to the standbys first; that is told in Patroni's
synchronous state, as news of a death is elsewhere. The agents beside the standbys then do what they do for any primary that is dead
(policy/failover.py): they fence their members and hand the lock over, to the member that was asked for if none has more of the log.

Patroni's own switchover takes three seconds more: it polls each second whether PostgreSQL has gone, and who is not the candidate
sleeps for two before it follows (its source, 4.1.5: `STOP_POLLING_INTERVAL`, and ha.py, `process_unhealthy_cluster`). It is still what
is done where nobody confirms commits (durability async), as no fence would mean anything there.

Whoever dies over this leaves a primary that crashed, and Patroni and the agents to deal with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.desired.database import names
from baas_operator.desired.meta import COMPONENT_LABEL
from baas_operator.observe.addresses import authority
from baas_operator.observe.conditions import READY, is_true
from baas_operator.policy.failover import Sync

_ASK_SECONDS = 3.0
_PAUSE_SECONDS = 8.0
"""A pooler waits 5 s for transactions to end before it says that some still run."""
_HANDED_OVER_SECONDS = 10.0
"""For standbys to take the lock from a primary that has stopped; by then Patroni itself has let go of it."""
_SETTLED_SECONDS = 5.0
"""Twice the time between two renewals, and a little."""
_AGENT_TIMEOUT = aiohttp.ClientTimeout(total=1.0)
"""Within this an agent beside another member says whether it watches."""
_SYNCHRONOUS = ("quorum_standby", "sync_standby")
_log = logging.getLogger("agent.move")
Pods = Mapping[str, Mapping[str, Any]]


class MoveError(Exception):
    """The primary stays where it is; the message is a sentence."""


def goes(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def successor(cluster: Mapping[str, Any], pods: Pods) -> str | None:
    """The standby that should take over, of those that lack nothing that was acknowledged (with durability async: little) and are to stay.
    The youngest pod, so that a rolling update meets the primary once; None if there is none.

    `cluster`: what Patroni's REST API says on /cluster; `pods`: the members' pods by name.
    """
    members = [each for each in cluster.get("members") or [] if each.get("name") in pods and each.get("role") != "leader"]
    synchronous = [each for each in members if each.get("role") in _SYNCHRONOUS]
    fit = [
        each["name"]
        for each in synchronous or members
        if each.get("state") == "streaming" and isinstance(lag := each.get("lag"), int) and lag <= names.MAX_LAG_BYTES
    ]
    staying = [name for name in fit if not goes(pods[name])]
    return max(staying, key=lambda name: (pods[name]["metadata"]["creationTimestamp"], name), default=None)


def poolers(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Addresses of the pooler's pods that are ready."""
    found = [each for each in pods if (each["metadata"].get("labels") or {}).get(COMPONENT_LABEL) == names.POOLER]
    return [address for each in found if is_true(each, READY) and (address := each["status"].get("podIP"))]


class Mover:
    """Moves the primary away from this member, where it is. `token`: file with what the poolers want to be shown."""

    def __init__(
        self, kube: Kube, session: aiohttp.ClientSession, identity: Identity, dcs: Dcs, postgres: Postgres, patroni: Patroni,
        *, token: Path,
    ) -> None:  # fmt: skip
        self._kube = kube
        self._session = session
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres
        self.patroni = patroni
        self._token = token
        self._turn = asyncio.Lock()
        self._tried = ""
        """The last term in which a move was tried."""

    async def pods(self) -> dict[str, dict[str, Any]]:
        """All pods of the database by name. Raises as Kube.get."""
        return {each["metadata"]["name"]: each for each in await self._kube.list(self._identity.pods, label=self._identity.scope_label)}

    async def move(self, to: str) -> None:
        """Make `to` the primary; returns when this member leads no more.

        Raises:
            MoveError: it still leads. As Kube.get; UnavailableError: PostgreSQL does not answer.
        """
        async with self._turn:
            term = self._dcs.state.lock.term
            if not self._dcs.leads:
                return
            pods = await self.pods()
            # An agent outlives PostgreSQL in a pod that goes, and would answer.
            staying = {name: each for name, each in pods.items() if not goes(each)}
            if to not in staying:
                raise MoveError(f"{to} is about to go itself.")
            addresses = poolers(pods.values())
            paused = (await self.patroni.cluster()).get("pause")  # then Patroni promotes nobody by itself
            await self._settled()
            voters = self._dcs.state.sync.voters
            if missing := await self._postgres.checkpoint(confirmed_by=voters, replayed_by=to):
                raise MoveError(
                    f"{', '.join(sorted(missing))} does not confirm or replay what was written: a new primary would be waited for."
                )
            if agents := to in voters and not paused:
                await self._ask_voters(self._dcs.state.sync, staying)
            if self._tried != term:  # clients should not have to wait again and again for a move that does not come about
                await self._ask_poolers("pause", addresses)
            self._tried = term
            started = time.monotonic()
            try:
                if agents:
                    await self._stop_and_tell(term, to)
                else:
                    await self._ask_patroni(to)
            finally:
                if self._dcs.leads:
                    await self._ask_poolers("resume", addresses)
            _log.warning("the primary has moved to %s after %.1f s", self._dcs.state.lock.leader, time.monotonic() - started)

    async def _settled(self) -> None:
        """Until the lock was renewed after the voters last changed, and the history tells of this member's timeline: before that no fence
        counts, and who was stopped renews no lock."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLED_SECONDS):
                while (sync := self._dcs.state.sync).voters and not (sync.settled and sync.timeline):
                    await self._dcs.changed()

    async def _ask_voters(self, sync: Sync, staying: Pods) -> None:
        """Raises MoveError unless the agents that have to hand the lock over are there: a primary that has stopped takes no writes, and
        nobody else would."""
        voters = sorted(sync.voters)
        there = await asyncio.gather(*(self._watches((staying.get(each) or {}).get("status") or {}) for each in voters))
        silent = [name for name, answers in zip(voters, there, strict=True) if not answers]
        if not len(voters) - len(silent) > sync.quorum >= len(silent):
            raise MoveError(
                f"The agent beside {', '.join(silent)} does not answer, goes, or hears nothing of Patroni's lock, and is needed to hand "
                "it over."
            )

    async def _watches(self, status: Mapping[str, Any]) -> bool:
        """Whether the agent of a pod says that it watches. One of an older image does not know the question, and counts."""
        if not status.get("podIP"):
            return False
        url = f"http://{authority(status['podIP'], names.AGENT_PORT)}{names.WATCHES_PATH}"
        try:
            async with self._session.get(url, timeout=_AGENT_TIMEOUT, allow_redirects=False) as response:
                return response.status < 500
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _stop_and_tell(self, term: str, to: str) -> None:
        now = (await self._dcs.fresh()).lock  # and the API server is there: without it nobody could take over
        if now.term != term:
            raise MoveError(f"{now.leader} leads by now.")
        try:
            await self._postgres.stop()
        except UnavailableError as error:
            _log.warning("%s; it takes no writes any more, so others may", error)
        await self._dcs.tell_stopped(term, to)
        with suppress(TimeoutError):
            async with asyncio.timeout(_HANDED_OVER_SECONDS):
                while self._dcs.state.lock.term == term:
                    await self._dcs.changed()
        if self._dcs.leads:
            raise MoveError("The standbys did not take the lock: the primary is started again.")

    async def _ask_patroni(self, to: str) -> None:
        status, said = await self.patroni.switch_over(self._identity.pod, to)
        if status != 200:
            raise MoveError(f"Patroni did not switch over: {said}")
        async with asyncio.timeout(_ASK_SECONDS):
            while self._dcs.leads:
                await self._dcs.changed()

    async def _ask_poolers(self, what: str, addresses: list[str]) -> None:
        """Let clients wait, or go on. A pooler that does not answer loses its clients what they would have lost without it."""
        try:
            headers = {"Authorization": f"Bearer {self._token.read_text().strip()}"}
        except OSError:
            return  # there is no pooler
        timeout = aiohttp.ClientTimeout(total=_PAUSE_SECONDS, sock_connect=1.0)

        async def ask(address: str) -> None:
            url = f"http://{authority(address, names.POOLER_AGENT_PORT)}/{what}"
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._session.post(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
                    _log.info("asked the pooler at %s to %s: %d", address, what, response.status)

        await asyncio.gather(*map(ask, addresses))
