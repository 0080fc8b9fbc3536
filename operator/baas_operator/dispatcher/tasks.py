"""Tasks that go on until they are ended, whatever fails."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0
"""How long after it failed something is begun anew, at first and at the most: each further time it takes twice as long."""
_WELL_SECONDS = 120.0
"""What has worked for so long begins with the shortest wait again."""
_log = logging.getLogger("dispatcher")


async def lasting(what: str, work: Callable[[], Awaitable[None]], failed: Callable[[str], None] = lambda _: None) -> None:
    """Do `work`, and begin it anew when it ends or raises, until cancelled: a mistake in one thing must not end the others. `failed` is
    told the sentence."""
    delay = FIRST_SECONDS
    while True:
        began = time.monotonic()
        try:
            await work()
            said = f"{what}: it ended by itself"
            _log.error("%s, and is begun anew", said)
        except Exception as error:  # noqa: BLE001 - as above
            said = f"{what}: the dispatcher itself failed: {type(error).__name__}"
            _log.exception("%s: begins anew after an error of the dispatcher's own", what)
        failed(said)
        if time.monotonic() - began > _WELL_SECONDS:
            delay = FIRST_SECONDS
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - replicas that failed together do not come back together
        delay = min(2 * delay, MOST_SECONDS)
