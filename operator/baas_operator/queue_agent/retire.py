"""Moves away what the server leads, before it ends.

The server's preStop hook leaves a file and waits for another (desired/queue/servers.py), so whatever takes the pod away waits for this, and
nobody outside the pod can ask for it. A leader that is told to make way names who comes next, and clients wait for a moment; one that
just goes is missed for seconds. NATS itself gives leaders away as a lame duck, but to anybody who is online, level or not (its source,
2.14.10, raft.go, `StepDown`), and a second later stops all that is left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path

from baas_operator.desired.queue import names
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.queue_agent.cluster import META, Cluster, Key
from baas_operator.queue_agent.server import Server

GIVEN_UP_SECONDS = 40.0
"""Less than the hook waits (desired/queue/servers.py)."""
_AGAIN_SECONDS = 0.2
_log = logging.getLogger("queue_agent.retire")


def successors(cluster: Cluster, server: str) -> dict[Key, str]:
    """Who is to lead what this server leads: of the level copies one that knows of all the others, of those one in another zone, and of
    those the one with the least to lead. What has no level copy has nobody. Consumers go before streams, and the metadata last: it answers
    for the others."""
    load = Counter(group.leader for group in cluster.groups.values())
    zone = cluster.zones.get(server)
    made: dict[Key, str] = {}
    for key in sorted(cluster.leads(server), key=lambda each: (each == META, not each.consumer, each)):
        fit = [each.server for each in cluster.groups[key].copies if each.level and each.server in cluster.held]
        if fit:
            made[key] = min(fit, key=lambda each: (
                not cluster.knows_all(each, key), cluster.zones.get(each) == zone and zone is not None, load[each], each,
            ))  # fmt: skip
            load[made[key]] += 1
    return made


def missing(cluster: Cluster, server: str, seen: set[Key]) -> str | None:
    """Why a server should not go yet; None when it may. What has but one copy is no reason, as nothing could help it. `seen`, which grows:
    groups whose other copies were level since it was asked. Those that are written to all the time are never all level at once."""
    seen |= {key for key, group in cluster.groups.items() if group.majority_without(server)}
    if server not in cluster.held:
        return "the server does not tell what it holds"
    for key in sorted(cluster.held[server]):
        group = cluster.groups.get(key)
        if group is None:
            return f"nobody leads {key}"
        if not group.copies:
            continue
        if group.leader == server:
            return f"it still leads {key}"
        if key not in seen:
            return f"the other copies of {key} are not level"
    return None


class Retirement:
    """Watches `folder` for the hook's file."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self.under_way = False
        self._seen: set[Key] = set()

    def asked(self) -> bool:
        """Whether the server's end has begun, and was not answered."""
        return (self._folder / names.RETIRE_FILE).exists() and not (self._folder / names.RETIRED_FILE).exists()

    async def retire(self) -> None:
        """Move all away, and say that it is done; at the latest when it is given up."""
        self.under_way = True
        started = time.monotonic()
        (self._folder / names.RETIRING_FILE).touch()
        _log.info("the server is to go: what it leads is moved away")
        why: str | None = "nothing was answered"
        try:
            async with asyncio.timeout(GIVEN_UP_SECONDS):
                why = await self._step()
                while why is not None:
                    await asyncio.sleep(_AGAIN_SECONDS)
                    why = await self._step()
        except TimeoutError:
            _log.warning("given up, the server goes as it is: %s", why)
        finally:
            (self._folder / names.RETIRED_FILE).touch()
            self.under_way = False
        _log.info("the server may go, after %.1f s", time.monotonic() - started)

    async def _step(self) -> str | None:
        """One round; why it was not the last."""
        try:
            cluster = await self._server.look()
            if (why := missing(cluster, self._server.name, self._seen)) is None:
                return None
            for key, to in successors(cluster, self._server.name).items():
                try:
                    await self._server.hand_over(key, to)
                except JetStreamError as refused:
                    _log.info("%s does not go to %s: %s", key, to, refused)
            return why
        except Unreachable as error:
            return f"the server does not answer: {error!r}"
