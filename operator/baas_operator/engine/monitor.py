"""HTTP requests to operands: NATS' monitoring port, Patroni's REST API and the agents beside it. Always with a deadline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

from baas_operator.desired.database import names
from baas_operator.desired.instance.prober import PORT, REPORT_PATH
from baas_operator.desired.queue import names as queue_names
from baas_operator.engine import jetstream
from baas_operator.engine.errors import Waiting
from baas_operator.observe.addresses import authority
from baas_operator.observe.dispatchers import DispatcherReport
from baas_operator.observe.probes import ProberReport
from baas_operator.observe.queue import Group

_SECONDS = aiohttp.ClientTimeout(total=3.0)
_PROBER_SECONDS = aiohttp.ClientTimeout(total=2.0)
"""The status of a backend waits for it: one in a zone that is cut off is not worth more."""
_SWITCHOVER_SECONDS = aiohttp.ClientTimeout(total=24.0)
"""Four of them the primary may go on, until the moment is calm."""
_MOST_BYTES = 1024 * 1024
_MOST_OF_PROBER = 64 * 1024
"""What is read of an answer, and of a prober's, which has a hundredth of it. Operands run images that their users choose: one may send
without end, or to somewhere else."""


@contextmanager
def answered(who: str, *, again_seconds: float = 1.0) -> Iterator[None]:
    """Around a question to an operand. Raises Waiting where there is no answer: it may have been done all the same."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Waiting("NoAnswer", f"{who} did not answer: {error!r}", again_seconds) from error


async def _read(response: aiohttp.ClientResponse, most: int = _MOST_BYTES) -> bytes:
    made = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        made += chunk
        if len(made) > most:
            raise aiohttp.ClientPayloadError("the answer is far too long")
    return bytes(made)


async def nats_meta(host: str, port: int) -> Group | None:
    """The servers that know which streams there are, as any server sees them: the leader's name, and, from the leader itself, the others;
    None without an answer or a leader."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_SECONDS) as session,
            session.get(f"http://{authority(host, port)}/jsz", allow_redirects=False) as response,
        ):
            answer: Any = json.loads(await _read(response))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
        return None
    # Whatever listens there may be no NATS (a proxy that says `null`): that is no answer, and no reason to fail a reconcile.
    cluster = answer.get("meta_cluster") if isinstance(answer, dict) else None
    if not isinstance(cluster, dict) or not (leader := cluster.get("leader")):
        return None
    try:
        return Group(str(leader), jetstream.replicas_of(cluster, str(leader)))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


async def dispatcher_report(host: str, port: int) -> DispatcherReport | None:
    """What a dispatcher says of its work; None where there is no answer that can be understood."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_SECONDS) as session,
            session.get(f"http://{authority(host, port)}{queue_names.STATUS_PATH}", allow_redirects=False) as response,
        ):
            return DispatcherReport.model_validate_json(await _read(response))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):  # pydantic's ValidationError is a ValueError
        return None


async def prober_report(host: str, port: int = PORT) -> ProberReport | None:
    """What a prober says of its transactions; None where there is no answer that can be understood."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_PROBER_SECONDS) as session,
            session.get(f"http://{authority(host, port)}{REPORT_PATH}", allow_redirects=False) as response,
        ):
            return ProberReport.model_validate_json(await _read(response, _MOST_OF_PROBER))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
        return None


async def switch_over(
    host: str, port: int, *, leader: str, candidate: str, username: str, password: str, patient: bool = False
) -> tuple[int, str]:
    """Ask the agent beside the leader to hand over to a candidate, some seconds later if it is to be patient: HTTP status and its sentence.

    Raises:
        aiohttp.ClientError, TimeoutError: there was no answer; it may have happened all the same.
    """
    body = {"leader": leader, "candidate": candidate} | ({"patient": True} if patient else {})
    return await _ask_member(f"http://{authority(host, port)}{names.SWITCHOVER_PATH}", body, username, password)


async def patroni_switch_over(host: str, port: int, *, leader: str, candidate: str, username: str, password: str) -> tuple[int, str]:
    """The same of Patroni itself (Patroni documentation, "REST API"), which takes the same body, and some seconds more. Raises as above."""
    return await _ask_member(f"http://{authority(host, port)}/switchover", {"leader": leader, "candidate": candidate}, username, password)


async def patroni_restart(host: str, port: int, *, username: str, password: str) -> tuple[int, str]:
    """Ask a member's Patroni to restart its PostgreSQL, if parameters wait for that: HTTP status and its sentence. Raises as above."""
    return await _ask_member(f"http://{authority(host, port)}/restart", {"restart_pending": True}, username, password)


async def patroni_status(host: str, port: int) -> dict[str, Any]:
    """What a member's Patroni says of it, whatever state it is in; nothing where that is no Patroni. Raises as above."""
    async with (
        aiohttp.ClientSession(timeout=_SECONDS) as session,
        session.get(f"http://{authority(host, port)}/patroni", allow_redirects=False) as response,
    ):
        try:
            answer: Any = json.loads(await _read(response))
        except (ValueError, RecursionError):
            return {}
    return answer if isinstance(answer, dict) else {}


async def patroni_reinitialize(host: str, port: int, *, username: str, password: str) -> tuple[int, str]:
    """Ask a standby's Patroni to copy the primary anew: HTTP status and its sentence. Raises as above.

    Not forced: what it is busy with, such as a rewind, may be what helps.
    """
    return await _ask_member(f"http://{authority(host, port)}/reinitialize", {"from_leader": True}, username, password)


async def _ask_member(url: str, body: dict[str, Any], username: str, password: str) -> tuple[int, str]:
    headers = {"Authorization": aiohttp.encode_basic_auth(username, password)}
    async with (
        aiohttp.ClientSession(timeout=_SWITCHOVER_SECONDS, headers=headers) as session,
        session.post(url, json=body, allow_redirects=False) as response,
    ):
        return response.status, (await _read(response)).decode(errors="replace").strip()[:1000]
