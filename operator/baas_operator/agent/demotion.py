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
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.desired.meta import ROLE_LABEL

_LOOK_SECONDS = 3.0
"""Longer than Patroni takes to note what it did (loop_wait)."""
_LOOKS = 40
_log = logging.getLogger("agent.demotion")


class Demotion:
    """Looks after each loss of the lock."""

    def __init__(self, kube: Kube, identity: Identity, dcs: Dcs, postgres: Postgres, patroni: Patroni) -> None:
        self._kube = kube
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres
        self._patroni = patroni

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
                status, said = await self._patroni.restart()
                _log.warning("it streams, and Patroni takes it for demoted: asked for a restart: %d %s", status, said)
            except (KubeError, UnavailableError, aiohttp.ClientError, TimeoutError, OSError) as error:
                _log.info("could not look at the role: %s", str(error) or type(error).__name__)
