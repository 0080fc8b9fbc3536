"""Has commits wait for a standby from the first moment of a promotion.

Patroni promotes a member with `synchronous_standby_names` empty, or as `ANY 0`, which PostgreSQL refuses; it sets what it should be a
second later, when it has written the synchronous state (its source, 4.1.5, ha.py: `process_sync_replication_prepromote`). What was
acknowledged in between would be on the new primary alone. So the agent says `ANY n (…)` by ALTER SYSTEM, which counts more than Patroni's
file, before it lets the member be promoted; and takes that back when Patroni has said which standbys count.

It names whom Patroni will make voters: those of before, and who led. With `*` any standby that streams would confirm, voter or not, and
Patroni takes that for nobody at all. What is named here Patroni takes for its own, and where that is what it wants, it writes nothing until
something changes. So an agent that is away leaves commits waiting for voters.

A copy of the primary's data (pg_basebackup, pg_rewind) has its ALTER SYSTEM, too. So whoever leads anew looks for what was left.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.postgres import Postgres, UnavailableError

_LOOK_SECONDS = 0.2
_AFTER_ERROR_SECONDS = 1.0
_ALONE_SECONDS = 1.0
"""For so long has Patroni to have said that no standby counts (durability quorum, and none is there)."""
_OURS = re.compile(r'ANY \d+ \((\*|"[^", ]+"(,"[^", ]+")*)\)')
"""As it is written here, and was by older agents."""
_NOBODY = re.compile(r"\s*$|\s*(ANY|FIRST)?\s*0\b", re.IGNORECASE)
_log = logging.getLogger("agent.synchronous")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Synchronous:
    """Holds commits, and lets go."""

    def __init__(self, identity: Identity, dcs: Dcs, postgres: Postgres) -> None:
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres
        self._look = asyncio.Event()
        self._look.set()  # an agent that starts does not know
        self._term = ""
        """The last in which this member was seen to lead."""
        self._since = 0.0
        """When Patroni was first seen to say that nobody counts."""

    async def hold(self) -> None:
        """Before a promotion: have commits wait for as many standbys as they did, of the voters and who led. Not where they wait for none.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        sync = self._dcs.state.sync
        if not sync.voters or sync.leader in (None, self._identity.pod):
            return
        count = max(1, min(len(sync.voters) - sync.quorum, len(sync.voters) - 1))
        named = sorted((sync.voters | {sync.leader}) - {self._identity.pod})
        await self._postgres.override_synchronous(f"ANY {count} ({','.join(map(_quoted, named))})")
        self._since = 0.0
        self._look.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            lock = self._dcs.state.lock
            if self._dcs.leads and lock.term != self._term:
                self._term, self._since = lock.term, 0.0
                self._look.set()
            if not self._look.is_set():
                await self._dcs.changed()  # whatever was held is taken back for something that Patroni writes there
                continue
            try:
                override, file = await self._postgres.synchronous()
                if override is None or not _OURS.fullmatch(override):
                    self._look.clear()
                    continue
                if await self._is_over(file):
                    await self._postgres.override_synchronous(None)
                    _log.info("Patroni has said which standbys commits wait for: %s", file or "none")
                    continue
            except UnavailableError:
                await asyncio.sleep(_AFTER_ERROR_SECONDS)  # it starts, or is away: what is held stays held
            calm = self._dcs.leads and self._dcs.state.sync.leader == self._identity.pod and bool(self._dcs.state.sync.voters)
            await self._dcs.changed(None if calm else _LOOK_SECONDS)

    async def _is_over(self, file: str) -> bool:
        if not self._dcs.leads:
            return (await self._postgres.look()).standby  # it was not promoted after all; a primary without the lock is stopped
        sync = self._dcs.state.sync
        if sync.leader not in (None, self._identity.pod):
            return False
        if not _NOBODY.match(file):
            return True
        self._since = self._since or time.monotonic()
        return not sync.voters and time.monotonic() - self._since > _ALONE_SECONDS
