"""HTTP requests to operands: NATS' monitoring port and Patroni's REST API. Always with a deadline."""

from __future__ import annotations

from typing import Any

import aiohttp

_SECONDS = aiohttp.ClientTimeout(total=3.0)
_SWITCHOVER_SECONDS = aiohttp.ClientTimeout(total=20.0)


async def nats_meta_leader(host: str, port: int) -> str | None:
    """Name of the server that leads JetStream's metadata group, as any server sees it; None without an answer or a leader."""
    try:
        async with aiohttp.ClientSession(timeout=_SECONDS) as session, session.get(f"http://{host}:{port}/jsz") as response:
            answer: Any = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    # Whatever listens there may be no NATS (a proxy that says `null`): that is no answer, and no reason to fail a reconcile.
    cluster = answer.get("meta_cluster") if isinstance(answer, dict) else None
    leader = cluster.get("leader") if isinstance(cluster, dict) else None
    return str(leader) if leader else None


async def patroni_switchover(host: str, port: int, *, leader: str, candidate: str, username: str, password: str) -> tuple[int, str]:
    """Ask Patroni's leader to hand over to a candidate: HTTP status and its sentence (Patroni documentation, "REST API").

    Raises:
        aiohttp.ClientError, TimeoutError: there was no answer; it may have happened all the same.
    """
    body = {"leader": leader, "candidate": candidate}
    async with (
        aiohttp.ClientSession(timeout=_SWITCHOVER_SECONDS, auth=aiohttp.BasicAuth(username, password)) as session,
        session.post(f"http://{host}:{port}/switchover", json=body) as response,
    ):
        return response.status, (await response.text()).strip()
