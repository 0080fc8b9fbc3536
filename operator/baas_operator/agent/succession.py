"""What a change of the primary took, noted by the new one's agent: it alone has seen both ends of it.

It begins with the last word that this member's PostgreSQL heard from the old primary, as a standby, and ends when a commit would be
acknowledged here and `-rw` leads here. The note is an annotation of `-rw`'s EndpointSlice, so that it outlives pods, and needs no operator.
A member whose agent was not there as a standby has nothing to note.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp

from baas_operator.agent.dcs import NO_LOCK, Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.desired.database import names
from baas_operator.observe.moments import to_text
from baas_operator.policy.failover import Lock

_LOOK_SECONDS = 0.1
_LONG_SECONDS = 30.0
"""Whoever takes no writes for so long, without standbys to confirm them, is looked at once a second only."""
_AGAIN_SECONDS = 1.0
_log = logging.getLogger("agent.succession")


class Succession:
    """Notes when this member has become the primary. `routed`: whether `-rw` leads to it."""

    def __init__(self, kube: Kube, identity: Identity, dcs: Dcs, postgres: Postgres, routed: Callable[[], bool]) -> None:
        self._kube = kube
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres
        self._routed = routed

    async def run(self) -> None:
        """Until cancelled."""
        before = NO_LOCK
        """The lock while another member last held it."""
        while True:
            lock = self._dcs.state.lock
            if lock.leader not in (None, self._identity.pod):
                before = lock
            elif self._dcs.leads and before.leader is not None:
                await self._note(before)
                before = NO_LOCK
                continue
            await self._dcs.changed()

    async def _note(self, before: Lock) -> None:
        heard, told = self._postgres.heard, self._dcs.state.sync.stopped
        self._postgres.heard = None  # of a primary before this one; there may be another time, without a word from the one before it
        if heard is None or not await self._takes_writes():
            return
        found = {  # as api.database.LastFailover; written without it, because pydantic would be a quarter of an agent's memory
            "at": to_text(datetime.now(UTC)),
            "fromMember": before.leader or "", "toMember": self._identity.pod, "planned": told is not None and told.term == before.term,
            "seconds": round(time.monotonic() - heard, 2),
        }  # fmt: skip
        _log.warning("the primary after %s: %.2f s after its last sign of life", found["fromMember"], found["seconds"])
        text = json.dumps(found)
        while self._dcs.leads:
            try:
                await self._kube.merge(self._identity.slice_path, {"metadata": {"annotations": {names.FAILOVER_ANNOTATION: text}}})
                return
            except (KubeError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                _log.info("could not note that: %s", str(error) or type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _takes_writes(self) -> bool:
        """Returns when this member takes writes; False if it leads no more."""
        since = time.monotonic()
        while self._dcs.leads:
            try:
                if self._routed() and await self._postgres.takes_writes():
                    return True
            except UnavailableError:
                pass
            await asyncio.sleep(_LOOK_SECONDS if time.monotonic() - since < _LONG_SECONDS else _AGAIN_SECONDS)
        return False
