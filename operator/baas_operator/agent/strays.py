"""Ends sessions of `-rw` at a member that led, and is a standby by now.

Patroni makes a standby of it within the moment. Nodes take up to a second more to learn where `-rw` leads now, and who connects in between
comes to the standby. Who writes is refused, and connects anew. Who only reads would stay, and where the member is cut off from its
successor, go on reading what was (seen in 1 of 30 runs with a network cut: for as long as that lasted).

Who came by another Service at that moment connects anew as well: nothing tells them apart. An agent that dies over this does not take it
up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.postgres import Postgres, UnavailableError

_LEARNT_SECONDS = 2.5
"""Nodes have taken in by then where `-rw` leads: kube-proxy changes its rules once a second (its `minSyncPeriod`), when it is not busy."""
_LOOK_SECONDS = 0.2
_log = logging.getLogger("agent.strays")


class Strays:
    """`routed`: whether `-rw` leads to this member."""

    def __init__(self, dcs: Dcs, postgres: Postgres, routed: Callable[[], bool]) -> None:
        self._dcs = dcs
        self._postgres = postgres
        self._routed = routed

    async def run(self) -> None:
        """Until cancelled."""
        led = False
        while True:
            if led and not self._dcs.leads and not self._routed():
                await self._send_away(time.monotonic() + _LEARNT_SECONDS)
            led = self._dcs.leads or (led and self._routed())
            await self._dcs.changed(_LOOK_SECONDS if led and not self._dcs.leads else None)

    async def _send_away(self, learnt: float) -> None:
        """Once PostgreSQL answers again; unless this member leads again by then."""
        await asyncio.sleep(learnt - time.monotonic())
        while not self._dcs.leads:
            try:
                if ended := await self._postgres.end_sessions(older_than_seconds=time.monotonic() - learnt):
                    _log.info("this member leads no more: %d sessions that may have come by -rw are ended", ended)
                return
            except UnavailableError:
                await asyncio.sleep(_LOOK_SECONDS)
