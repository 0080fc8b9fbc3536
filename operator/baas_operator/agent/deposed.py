"""Stops a PostgreSQL that is a primary although another has the lock, where Patroni does not.

Patroni demotes its primary within seconds of seeing the lock with another, unless it hangs. Such a primary can acknowledge nothing any
more, as its voters have turned away; but who is connected to it would go on reading what was, beside what is.
"""

from __future__ import annotations

import logging
import time

import aiohttp

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import KubeError
from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.policy.failover import voters_of_another

_PATIENCE_SECONDS = 5.0
"""More than Patroni takes to notice (loop_wait) and to shut PostgreSQL down."""
_LOOK_SECONDS = 1.0
_log = logging.getLogger("agent.deposed")


class Deposed:
    """Looks while another has the lock."""

    def __init__(self, identity: Identity, dcs: Dcs, postgres: Postgres) -> None:
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres

    async def run(self) -> None:
        """Until cancelled."""
        term, since, led = "", time.monotonic(), True
        while True:
            lock = self._dcs.state.lock
            if lock.term != term:
                led = led or self._dcs.leads
                term, since = lock.term, time.monotonic()
            # An agent that starts does not know whether its member led, and so looks once. Who won the lock in a race may yet be refused.
            decided = lock.given or not voters_of_another(self._dcs.state.sync, lock)
            watches = led and lock.leader is not None and not self._dcs.leads and decided
            if watches and time.monotonic() - since > _PATIENCE_SECONDS:
                led = not await self._seen_to(lock.term)
            await self._dcs.changed(_LOOK_SECONDS if watches else None)

    async def _seen_to(self, term: str) -> bool:
        """Whether PostgreSQL is no primary any more."""
        try:
            if (await self._postgres.look()).standby:
                return True
            if (await self._dcs.fresh()).lock.term != term:
                return False
            _log.warning("%s has the lock, and PostgreSQL is a primary here: stopping it, as Patroni does not", self._dcs.state.lock.leader)
            await self._postgres.stop(committed_seconds=0)  # nobody confirms anything here
        except (KubeError, UnavailableError, aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.info("could not see to it: %s", str(error) or type(error).__name__)
            return not self._postgres.runs
        return True
