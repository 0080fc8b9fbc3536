"""Parameters of the spec that PostgreSQL does not take, noted on the primary's own pod for the operator to tell.

Patroni keeps what can not be from PostgreSQL, and says so in its log alone: names that the server does not know and values that are none
are left out, numbers beyond their bounds are drawn to them (its source, postgresql/validator.py), others keep what they were (config.py,
`CMDLINE_OPTIONS`). Texts it passes on: a running PostgreSQL keeps what it had, and one that starts would not. So what Patroni was asked
is held against what stands in the files, as PostgreSQL itself reads them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import asyncpg

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.postgres import SESSION
from baas_operator.desired.database import names

_EVERY_SECONDS = 15.0
"""Twice as long as Patroni and PostgreSQL take at the most to load what was changed: what is seen twice stays."""
_SECONDS = 5.0
_log = logging.getLogger("agent.settings")

# pg_file_settings reads the files anew, whether or not they were loaded; the last entry of a name counts (PostgreSQL manual,
# "pg_file_settings"). What waits for a restart has an `error` there, too.
_LOOK = """
WITH files AS MATERIALIZED (
  SELECT DISTINCT ON (lower(name)) lower(name) AS name, setting, error FROM pg_file_settings
   WHERE name IS NOT NULL ORDER BY lower(name), seqno DESC)
SELECT asked.name, known.name IS NOT NULL AS known, vartype, unit, min_val, max_val, enumvals, files.setting,
       files.setting = asked.value AS taken
  FROM unnest($1::text[], $2::text[]) AS asked (name, value)
  LEFT JOIN pg_settings AS known ON lower(known.name) = lower(asked.name)
  LEFT JOIN files ON files.name = lower(asked.name)
 WHERE files.setting IS DISTINCT FROM asked.value OR (files.error IS NOT NULL AND NOT coalesce(pending_restart, false))
"""


def sentence(found: Mapping[str, Any]) -> str:
    """Why a parameter is not as it was asked to be, from a row of the look. The value may be a secret, and is not repeated."""
    if not found["known"]:
        return "PostgreSQL does not know it"
    setting = found["setting"]
    instead = "it is left out" if setting is None else f"{setting!r} is used instead"
    match found["vartype"]:
        case "bool":
            return f"it is on or off; {instead}"
        case "enum":
            return f"it is one of {', '.join(found['enumvals'] or ())}; {instead}"
        case "integer" | "real":
            unit = f", without a unit in {found['unit']}" if found["unit"] else ""
            return f"it is a number from {found['min_val']} to {found['max_val']}{unit} (Patroni may take fewer); {instead}"
        case _:
            return "the value is not one that it takes" + ("; it would not start with it" if found["taken"] else "")


class Settings:
    """Looks while this member leads."""

    def __init__(self, kube: Kube, identity: Identity, dcs: Dcs, patroni: Patroni, socket: str) -> None:
        self._kube = kube
        self._patroni = patroni
        self._identity = identity
        self._dcs = dcs
        self._socket = socket
        self._seen: str | None = None
        self._noted: str | None = ""
        """What the pod was last found to say; an agent that starts does not know, and writes."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - it tells people something, and must never end what fails over beside it
                _log.info("could not look at the parameters: %s", str(error) or type(error).__name__)
            await asyncio.sleep(_EVERY_SECONDS)

    async def look(self) -> None:
        """Look once, and note what was found twice in a row, or nothing.

        Raises:
            Exception: PostgreSQL, Patroni or the API server gave no answer, or none of use.
        """
        found = await self._refused(await self._asked()) if self._dcs.leads else {}
        text = json.dumps(found, sort_keys=True) if found else None
        before, self._seen = self._seen, text
        if text != self._noted and (text is None or text == before):
            path = self._identity.pod_path(self._identity.pod)
            await self._kube.merge(path, {"metadata": {"annotations": {names.PARAMETERS_ANNOTATION: text}}})
            self._noted = text

    async def _asked(self) -> dict[str, str]:
        """The parameters that Patroni has been asked for."""
        found = (await self._patroni.config())["postgresql"]["parameters"]
        return {str(name): value for name, value in found.items() if isinstance(value, str)}

    async def _refused(self, asked: Mapping[str, str]) -> dict[str, str]:
        connection = await asyncpg.connect(
            host=self._socket, user="postgres", database="postgres", timeout=_SECONDS, command_timeout=_SECONDS,
            server_settings={"application_name": "baas-agent-settings"} | SESSION, statement_cache_size=0,
        )  # fmt: skip
        try:
            rows = await connection.fetch(_LOOK, list(asked), list(asked.values()))
        finally:
            connection.terminate()
        return {row["name"]: sentence(row) for row in rows}
