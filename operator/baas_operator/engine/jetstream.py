"""JetStream's API: what is there, and the changes that a plan asks for. A short connection for each look; nothing is kept open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from baas_operator.observe.addresses import authority
from baas_operator.observe.queue import JetStreamState, Replica, StreamState

_CONNECT_SECONDS = 2
_REQUEST_SECONDS = 3.0
_CHANGE_SECONDS = 8.0
Unreachable = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)


class JetStreamError(Exception):
    """JetStream refused a request, with its own sentence."""


@asynccontextmanager
async def connect(host: str, port: int, user: str, password: str) -> AsyncIterator[Nats]:
    """A connection for a moment.

    Raises:
        one of Unreachable: there is no server that answers.
    """

    async def quiet(_: Exception) -> None:
        """The caller learns of it by the exception of its own request."""

    connection = await nats.connect(
        f"nats://{authority(host, port)}", user=user, password=password, connect_timeout=_CONNECT_SECONDS, allow_reconnect=False,
        max_reconnect_attempts=0, error_cb=quiet, name="baas-operator",
    )  # fmt: skip
    try:
        yield connection
    finally:
        await connection.close()


async def _call(connection: Nats, subject: str, body: Mapping[str, Any] | None = None, *, seconds: float) -> dict[str, Any]:
    message = await connection.request(subject, json.dumps(body).encode() if body else b"", timeout=seconds)
    try:
        answer: Any = json.loads(message.data)
        error = answer.get("error")
        said = error.get("description", "unknown error") if error else None
    except (ValueError, AttributeError, RecursionError) as garbage:
        raise NatsError(f"{subject} was answered by something that is no JetStream") from garbage
    if error:
        raise JetStreamError(str(said))
    return dict(answer)


def _stream(info: Mapping[str, Any]) -> StreamState:
    cluster = info.get("cluster") or {}
    return StreamState(
        config=info["config"],
        leader=cluster.get("leader"),
        replicas=tuple(
            Replica(each["name"], bool(each.get("current")) and not each.get("offline"), int(each.get("lag", 0)))
            for each in cluster.get("replicas") or []
        ),
    )


async def look(connection: Nats, names: list[str]) -> JetStreamState:
    """The state of JetStream and of the named streams. Only what a stream's leader says of its replicas is true, and the API routes
    to the leader."""
    streams: dict[str, StreamState] = {}
    for name in names:
        try:
            info = await _call(connection, f"$JS.API.STREAM.INFO.{name}", seconds=_REQUEST_SECONDS)
            try:
                streams[name] = _stream(info)
            except (AttributeError, KeyError, TypeError, ValueError) as garbage:
                raise NatsError(f"stream {name} was told of by something that is no JetStream") from garbage
        except JetStreamError as error:
            if "not found" not in str(error):
                raise
    # Account information is answered by the metadata leader alone: an answer is the proof that there is one.
    await _call(connection, "$JS.API.INFO", seconds=_REQUEST_SECONDS)
    return JetStreamState(meta_leader="known", streams=streams)


async def ensure_stream(connection: Nats, config: Mapping[str, Any], *, exists: bool) -> None:
    """Create a stream, or change one. Fields that the operator does not decide stay as they are."""
    name = config["name"]
    if exists:
        have = (await _call(connection, f"$JS.API.STREAM.INFO.{name}", seconds=_REQUEST_SECONDS))["config"]
        config = {**have, **config}
    verb = "UPDATE" if exists else "CREATE"
    await _call(connection, f"$JS.API.STREAM.{verb}.{name}", config, seconds=_CHANGE_SECONDS)
