"""Whether this member may be promoted, which its Patroni asks before each promotion (its documentation, `pre_promote`).

Patroni promotes whoever has the lock. Where the lock ran out by itself, those who voted may still confirm commits of the primary that had
it: so the answer waits until enough of them have turned away, and is no if they do not, or have more of the log. Patroni gives the
lock back then, and there is another race. Before a yes, commits are made to wait for a standby (`synchronous.py`).
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp
from aiohttp import web

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import KubeError
from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.agent.synchronous import Synchronous
from baas_operator.policy.failover import hindrance

_GIVEN_UP_SECONDS = 6.0
"""Patroni renews the lock meanwhile. Agents need less than a second, unless their PostgreSQL does not answer."""
_AGAIN_SECONDS = 0.1
_log = logging.getLogger("agent.promotion")


class Promotion:
    """The endpoint."""

    def __init__(self, identity: Identity, dcs: Dcs, postgres: Postgres, synchronous: Synchronous) -> None:
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres
        self._synchronous = synchronous

    async def ask(self, _: web.Request) -> web.Response:
        """200 if this member may be promoted, 409 with the reason if not."""
        why = "it is not known who has the lock"
        try:
            async with asyncio.timeout(_GIVEN_UP_SECONDS):
                while why := await self._hindrance():
                    await self._dcs.changed(_AGAIN_SECONDS)
        except TimeoutError:
            _log.warning("not to be promoted: %s", why)
            return web.Response(status=409, text=f"{why}\n")
        return web.Response(text="ok\n")

    async def _hindrance(self) -> str:
        try:
            state = self._dcs.state
            if not (self._dcs.leads and state.lock.given):
                state = await self._dcs.fresh()
            if why := hindrance(state.sync, state.lock, self._identity.pod, await self._postgres.reach()):
                return why
            await self._synchronous.hold()
        except (KubeError, UnavailableError, aiohttp.ClientError, OSError) as error:
            return str(error) or type(error).__name__
        return ""
