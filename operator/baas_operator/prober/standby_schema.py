"""What standbys have of the database's schema, as the pods that read from them see it.

PostgREST keeps the schema in memory, and hears of no change on a standby: its pods are started anew for one (policy/standby_schema.py).
What for is asked of these very pods, so that the answer is what a standby has replayed. Each is asked by itself, and they have to agree:
while one says something else, or nothing, a standby lags or a pod is on its way, and nothing is told.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

from baas_operator.prober.client import Client, Gateway
from baas_operator.prober.config import Config, ConfigError, Place, Secrets
from baas_operator.prober.failure import Failure

_SCHEMA = "baas_probe"
_VIEW = "/schema_state?select=state"
_log = logging.getLogger("prober")


class StandbySchema:
    """What was told last. `state`: of all pods; None while there is no such; `rounds`: in how many rounds in a row it was that."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self.state: str | None = None
        self.rounds = 0
        self._every = 0.0
        self._looked: float | None = None
        self._trouble = ""

    def report(self, now: float) -> dict[str, Any]:
        """As observe/probes.py reads it."""
        ago = None if self._looked is None else round(now - self._looked, 1)
        return {"state": self.state, "rounds": self.rounds, "everySeconds": self._every, "secondsAgo": ago}

    async def look(self, told: Config) -> None:
        """Ask all pods. What keeps them from an answer is no failure of the backend's: it is told nowhere but here."""
        trouble, found = "", None
        if told.standby_schema is not None:
            try:
                async with asyncio.timeout(told.deadline):
                    found = await self._ask(told.standby_schema)
            except TimeoutError:
                trouble = f"no answer within {told.deadline:g} s"
            except (Failure, ConfigError, OSError) as error:
                trouble = str(error)
            except Exception as error:  # noqa: BLE001 - a mistake here must not end the transactions
                _log.exception("the schema of the standbys: the prober itself failed")
                trouble = f"the prober itself failed: {type(error).__name__}"
        if trouble and trouble != self._trouble:
            _log.info("the schema of the standbys is not known: %s", trouble)
        self._trouble = trouble
        self.rounds = (self.rounds if found == self.state else 0) + 1 if found is not None else 0
        self.state, self._every, self._looked = found, told.interval, time.monotonic()

    async def _ask(self, place: Place) -> str:
        """What all of them say.

        Raises:
            Failure: one gave no answer, or they do not agree. ConfigError: there is no key. OSError: their name leads nowhere.
        """
        key = self._secrets["probe"]
        headers = {"Authorization": f"Bearer {key}", "Accept-Profile": _SCHEMA}
        found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        pods = sorted({str(address[0]) for *_, address in found})
        # All are waited for: none goes on by itself when another has failed.
        answers = await asyncio.gather(
            *(_state(Client(Gateway(each, place.port, place.host)), headers) for each in pods), return_exceptions=True
        )
        said = set()
        for each in answers:
            if isinstance(each, BaseException):
                raise each
            said.add(each)
        if len(said) != 1:
            raise Failure("value", f"{len(pods)} pods see {len(said)} states of it")
        return said.pop()


async def _state(client: Client, headers: dict[str, str]) -> str:
    answer = await client.expect("GET", _VIEW, headers)
    match answer.json():
        case [{"state": str(state)}]:
            return state
    raise client.failure("value", "what was read is no state")
