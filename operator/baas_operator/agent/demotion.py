"""After this member led, sees to it that Patroni knows it for a standby again.

When Patroni is woken twice within the moment in which it starts a former primary as a standby, it takes it for `demoted` for good,
although it streams (its source, 4.1.5: ha.py, `demote`, the FIXME on racy updates; seen in one of five planned moves). The label is
what `-ro` selects by. A restart of that standby's PostgreSQL puts it right.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.desired.database import names
from baas_operator.desired.meta import ROLE_LABEL

_LOOK_SECONDS = 3.0
"""Longer than Patroni takes to note what it did (loop_wait)."""
_LOOKS = 40
_RESTART_SECONDS = 60.0
_log = logging.getLogger("agent.demotion")


class Demotion:
    """`credentials`: of Patroni's REST API."""

    def __init__(
        self, kube: Kube, session: aiohttp.ClientSession, identity: Identity, dcs: Dcs, postgres: Postgres, credentials: tuple[str, str]
    ) -> None:
        self._kube = kube
        self._session = session
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres
        self._headers = {"Authorization": aiohttp.encode_basic_auth(*credentials)}

    async def run(self) -> None:
        """Until cancelled. An agent that starts does not know who led before, and so looks once."""
        led = True
        while True:
            if led and not self._dcs.leads and self._dcs.state.lock.leader:
                await self._see_to_it()
            led = self._dcs.leads or (led and not self._dcs.state.lock.leader)
            await self._dcs.changed()

    async def _see_to_it(self) -> None:
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_SECONDS)
            if self._dcs.leads:
                return
            try:
                look = await self._postgres.look()
                if not look.standby or look.silence is None:
                    continue  # it is on its way
                pod = await self._kube.get(self._identity.pod_path(self._identity.pod))
                if (pod["metadata"].get("labels") or {}).get(ROLE_LABEL) != "demoted":
                    return
                await self._restart()
            except (KubeError, UnavailableError, aiohttp.ClientError, TimeoutError, OSError) as error:
                _log.info("could not look at the role: %s", str(error) or type(error).__name__)

    async def _restart(self) -> None:
        """Not with a role in the request: Patroni compares it with just the one that is wrong."""
        url, timeout = f"http://127.0.0.1:{names.PATRONI_PORT}/restart", aiohttp.ClientTimeout(total=_RESTART_SECONDS)
        async with self._session.post(url, json={}, headers=self._headers, timeout=timeout) as response:
            said = (await response.text()).strip()[:300]
        _log.warning("it streams, and Patroni takes it for demoted: asked for a restart: %d %s", response.status, said)
