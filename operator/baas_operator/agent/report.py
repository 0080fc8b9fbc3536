"""Tells the operator what only this pod can see: how full the member's volume is, and whether the primary lets the member in.

Written into an annotation of the pod when it is another by a step, so that an idle member writes nothing. Whether it is let in is tried
only while the member does not stream: a login as for streaming, over TLS with the same certificate, and nothing further.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from pathlib import Path

import aiohttp
import asyncpg

from baas_operator.agent.credentials import Credentials
from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.agent.postgres import BROKEN, Postgres, UnavailableError
from baas_operator.desired.database import names
from baas_operator.observe.report import REPORT, Report, Volume

_LOOK_SECONDS = 10.0
_ALONE_LOOKS = 3
"""So often in a row it must be seen not to stream: who only starts, or follows a new primary, needs no trying."""
_TRY_EVERY_LOOKS = 3
_AGAIN_SECONDS = 1.0
_LOGIN_SECONDS = 5.0
_MEASURE_SECONDS = 2.0
_log = logging.getLogger("agent.report")


def volume_of(path: Path) -> Volume:
    """The file system that a folder is in.

    Raises:
        OSError: it can not be read.
    """
    found = os.statvfs(path)
    return Volume(size=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)


class Reporter:
    """`volume`: where the data is; `certificate`: the folder of the one that standbys stream with."""

    def __init__(
        self, kube: Kube, identity: Identity, dcs: Dcs, postgres: Postgres, credentials: Credentials, *, volume: Path, certificate: Path,
        port: int = names.POSTGRES_PORT,
    ) -> None:  # fmt: skip
        self._kube = kube
        self._identity = identity
        self._dcs = dcs
        self._postgres = postgres
        self._credentials = credentials
        self._volume = volume
        self._certificate = certificate
        self._port = port
        self._measured: asyncio.Task[Volume] | None = None
        self._told: Report | None = None
        """What was last told. An agent that starts does not know, and so tells it once."""
        self._alone = 0
        self._admitted: bool | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except (KubeError, aiohttp.ClientError, TimeoutError, OSError) as error:
                _log.info("could not report: %s", str(error) or type(error).__name__)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Look once, and tell what is another by a step. Raises as Kube.get, OSError; what was not told stays to be told."""
        found = Report(await self._measure(), await self._is_admitted())
        if self._told is not None and found.as_good_as(self._told):
            return
        patch = {"metadata": {"annotations": {REPORT: found.text()}}}
        await self._kube.merge(self._identity.pod_path(self._identity.pod), patch)
        self._told = found

    async def _measure(self) -> Volume | None:
        """In a thread, as a file system whose disk is away does not answer; a thread that hangs is left alone, and none put beside it."""
        if self._measured is None:
            self._measured = asyncio.create_task(asyncio.to_thread(volume_of, self._volume))
        done, _ = await asyncio.wait({self._measured}, timeout=_MEASURE_SECONDS)
        if not done:
            return self._told.volume if self._told else None
        measured, self._measured = self._measured, None
        return measured.result()

    async def _is_admitted(self) -> bool | None:
        leader = self._dcs.state.lock.leader
        # Who was turned away from the primary on purpose must not follow it, and so is no case for a repair.
        if self._dcs.leads or not leader or not self._credentials.connected or await self._follows():
            self._alone, self._admitted = 0, None
            return None
        self._alone += 1
        if self._alone >= _ALONE_LOOKS and (self._alone - _ALONE_LOOKS) % _TRY_EVERY_LOOKS == 0:
            self._admitted = await self._log_in(leader)
        return self._admitted

    async def _follows(self) -> bool:
        if not self._alone:
            return await self._receives()
        # The primary refuses what it no longer has after the connection is made: for a moment that looks like streaming.
        if not await self._receives():
            return False
        await asyncio.sleep(_AGAIN_SECONDS)
        return await self._receives()

    async def _receives(self) -> bool:
        try:
            look = await self._postgres.look()
        except UnavailableError:
            return False
        return not look.standby or look.silence is not None

    async def _log_in(self, leader: str) -> bool:
        """Whether the primary takes this member for one that may stream."""
        try:
            pod = await self._kube.get(self._identity.pod_path(leader))
            if not (host := (pod.get("status") or {}).get("podIP")):  # asyncpg would take none for the socket of this member's own
                _log.info("%s has no address", leader)
                return False
            connection = await asyncpg.connect(
                host=host, port=self._port, user=names.REPLICATOR, database="postgres",
                ssl=self._tls(), timeout=_LOGIN_SECONDS, server_settings={"replication": "true", "application_name": "baas-agent"},
            )  # fmt: skip
            connection.terminate()
        except (KubeError, aiohttp.ClientError, *BROKEN, ValueError) as error:
            _log.info("%s does not let this member in: %s", leader, str(error) or type(error).__name__)
            return False
        return True

    def _tls(self) -> ssl.SSLContext:
        """As PostgreSQL's `verify-ca`: who signed is verified, the name is not (desired/templates/patroni.yml.j2)."""
        made = ssl.create_default_context(cafile=str(self._certificate / "ca.crt"))
        made.check_hostname = False
        made.load_cert_chain(self._certificate / "tls.crt", self._certificate / "tls.key")
        return made
