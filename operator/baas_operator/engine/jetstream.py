"""JetStream's API: what is there, and the changes that a plan asks for. A short connection for each look; nothing is kept open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import nats
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from baas_operator.desired.queue import names
from baas_operator.desired.queue.differ import merged
from baas_operator.desired.queue.streams import QUEUE_MARK
from baas_operator.jetstream.idle import idle_seconds, micro
from baas_operator.jetstream.peers import name_of, peer_id
from baas_operator.jetstream.requests import CHANGE_SECONDS, JetStreamError, call
from baas_operator.observe.addresses import authority
from baas_operator.observe.moments import read_time
from baas_operator.observe.queue import ConsumerState, CopyState, JetStreamState, Replica, StreamState
from baas_operator.policy.plan import (
    DeleteConsumer,
    DeleteStream,
    EnsureConsumer,
    EnsureStream,
    Evacuate,
    QueueEffect,
    RemoveServer,
    StepDown,
)

_CONNECT_SECONDS = 2
_LIST_SECONDS = 5.0
"""A server collects what leaders say for 4 s, and then answers without those that were silent (nats-server 2.14.10, jetstream_cluster.go,
`jsClusteredStreamListRequest`)."""
_AT_A_TIME = 8
_MOST_PAGES = 100
NO_STREAM, NO_CONSUMER, NOT_A_MEMBER, SERVER_NOT_MEMBER = 10059, 10014, 10040, 10044
"""`err_code` of what is not there any more (nats-server 2.14.10, errors.json)."""
CONSUMER_EXISTS = 10148


@asynccontextmanager
async def connect(host: str, port: int, user: str, password: str, *, ca: str | None = None, name: str | None = None) -> AsyncIterator[Nats]:
    """A connection for a moment: with TLS, if `ca` is given, the authority (PEM) of the server's certificate, which has `name` in it: the
    address that is dialled is a pod's. Answers come to an inbox of the user's own, where nobody else listens or answers.

    Raises:
        one of Unreachable: there is no server that answers.
    """

    async def quiet(_: Exception) -> None:
        """The caller learns of it by the exception of its own request."""

    secured: dict[str, Any] = {"tls": _context(ca), "tls_hostname": name} if ca is not None else {}
    async with asyncio.timeout(_CONNECT_SECONDS + 1):  # the client tries one that refuses it again and again, whatever it is told
        connection = await nats.connect(
            f"nats://{authority(host, port)}", user=user, password=password, connect_timeout=_CONNECT_SECONDS, allow_reconnect=False,
            max_reconnect_attempts=0, error_cb=quiet, name="baas-operator",
            inbox_prefix=names.inbox(user.removesuffix(names.SLOT_SUFFIX)).encode(), **secured,
        )  # fmt: skip
    try:
        yield connection
    finally:
        await connection.close()


@lru_cache(maxsize=256)
def _context(ca: str) -> ssl.SSLContext:
    """One for each authority: making one takes longer than connecting."""
    made = ssl.create_default_context(cadata=ca)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


# --- what is there -------------------------------------------------------------------------------------------------------------------


def replicas_of(cluster: Mapping[str, Any], like: str) -> tuple[Replica, ...]:
    """The followers in a `ClusterInfo`. `like`: the name of any server of the queue."""
    return tuple(
        Replica(
            name_of(each, like), bool(each.get("current")) and not each.get("offline"), int(each.get("lag", 0)), bool(each.get("offline"))
        )
        for each in cluster.get("replicas") or []
    )


def _copies(info: Mapping[str, Any]) -> tuple[CopyState, ...]:
    found = [info["mirror"]] if info.get("mirror") else info.get("sources") or []
    return tuple(
        CopyState(
            name=str(each["name"]),
            lag=int(each.get("lag", 0)),
            active_seconds=each["active"] / 1e9 if int(each.get("active", -1)) >= 0 else None,  # -1: never
            error=(each.get("error") or {}).get("description"),
        )
        for each in sorted(found, key=lambda each: str(each["name"]))  # JetStream's own order is another each time
    )


def _stream(info: Mapping[str, Any], consumers: Mapping[str, ConsumerState], like: str) -> StreamState:
    cluster, state = info.get("cluster") or {}, info.get("state") or {}
    return StreamState(
        config=dict(info["config"]),
        leader=cluster.get("leader"),
        replicas=replicas_of(cluster, like),
        moving=bool(cluster.get("desired")),
        led_seconds=_led_seconds(info, cluster),
        messages=int(state.get("messages", 0)),
        bytes=int(state.get("bytes", 0)),
        oldest=micro(state.get("first_ts")) if state.get("messages") else None,
        copies=_copies(info),
        consumers=consumers,
    )


def _led_seconds(info: Mapping[str, Any], cluster: Mapping[str, Any]) -> float | None:
    now, since = read_time(micro(info.get("ts"))), read_time(micro(cluster.get("leader_since")))
    return (now - since).total_seconds() if now and since else None


def _consumer(info: Mapping[str, Any], like: str) -> ConsumerState:
    cluster = info.get("cluster") or {}
    return ConsumerState(
        leader=cluster.get("leader"), replicas=replicas_of(cluster, like), moving=bool(cluster.get("desired")), config=dict(info["config"]),
        idle_seconds=idle_seconds(info), pending=int(info.get("num_pending", 0)) + int(info.get("num_ack_pending", 0)),
    )  # fmt: skip


def _server(connection: Nats) -> str:
    """The name of the server that is asked."""
    return str(connection._server_info.get("server_name", ""))


async def _pages(connection: Nats, subject: str, key: str) -> tuple[list[dict[str, Any]], set[str]]:
    """All pages of a list, and the names of what is there and was not told of."""
    found: list[dict[str, Any]] = []
    missing: set[str] = set()
    for _ in range(_MOST_PAGES):
        seen = len(found) + len(missing)
        answer = await call(connection, subject, {"offset": seen}, seconds=_LIST_SECONDS)
        if "total" not in answer:
            raise NatsError(f"{subject} was answered by something that is no JetStream")
        page = answer.get(key) or []
        missing |= set(answer.get("missing") or [])
        found += page
        if not page or len(found) + len(missing) >= int(answer.get("total", 0)):
            break
    return found, missing


async def look(connection: Nats) -> JetStreamState:
    """The state of all streams and their durable consumers. A list is answered by each stream's leader, whose word alone is true of its
    replicas: one request a page of 256 streams, and one for each stream that has consumers.

    Raises:
        JetStreamError, or one of Unreachable: JetStream has no leader, or it does not answer.
    """
    infos, missing = await _pages(connection, "$JS.API.STREAM.LIST", "streams")
    like = _server(connection)
    try:
        with_consumers = [str(each["config"]["name"]) for each in infos if (each.get("state") or {}).get("consumer_count")]
        gate = asyncio.Semaphore(_AT_A_TIME)
        told = await asyncio.gather(*(_consumers(connection, name, gate) for name in with_consumers))
        consumers = dict(zip(with_consumers, told, strict=True))
        streams = {
            name: _stream(each, consumers.get(name, {}), like) for each in infos if (name := str(each["config"]["name"])) not in missing
        }
    except (AttributeError, KeyError, TypeError, ValueError) as garbage:
        raise NatsError("streams were told of by something that is no JetStream") from garbage
    # Account information is answered by the metadata leader alone: an answer is the proof that there is one.
    await call(connection, "$JS.API.INFO")
    return JetStreamState(meta_leader="known", streams=streams, silent=frozenset(missing))


async def _consumers(connection: Nats, stream: str, gate: asyncio.Semaphore) -> dict[str, ConsumerState]:
    """Durable consumers; one that lives as long as somebody listens is nobody's business here. One that says nothing has no leader."""
    async with gate:
        try:
            infos, missing = await _pages(connection, f"$JS.API.CONSUMER.LIST.{stream}", "consumers")
        except JetStreamError as error:
            if error.code == NO_STREAM:
                return {}
            raise
    durable = {
        str(each["config"]["durable_name"]): _consumer(each, _server(connection)) for each in infos if each["config"].get("durable_name")
    }
    return {name: ConsumerState(leader=None) for name in missing} | durable


# --- what is changed -----------------------------------------------------------------------------------------------------------------


def of_servers(effect: QueueEffect) -> bool:
    """Whether a change takes a connection to NATS' own account."""
    return isinstance(effect, Evacuate | RemoveServer) or (isinstance(effect, StepDown) and effect.stream is None)


async def bring_about(connection: Nats, effect: QueueEffect) -> None:
    """Carry one change out; what is so already is no error.

    Raises:
        JetStreamError: it was refused. One of Unreachable: there was no answer; it may have been done all the same.
    """
    match effect:
        case EnsureStream():
            await ensure_stream(connection, effect.config, exists=effect.exists)
        case EnsureConsumer():
            await ensure_consumer(connection, effect.stream, effect.config, exists=effect.exists)
        case DeleteStream():
            await _delete(connection, f"STREAM.INFO.{effect.name}", f"STREAM.DELETE.{effect.name}", effect.queue)
        case DeleteConsumer():
            what = f"{effect.stream}.{effect.name}"
            marked = effect.queue if not effect.name.startswith(names.WEBHOOK_CONSUMER) else None
            await _delete(connection, f"CONSUMER.INFO.{what}", f"CONSUMER.DELETE.{what}", marked)
        case StepDown():
            await _step_down(connection, effect)
        case Evacuate():
            move = f"$JS.API.ACCOUNT.STREAM.MOVE.{names.APPLICATION_ACCOUNT}.{effect.stream}"
            await _unless((NO_STREAM, NOT_A_MEMBER), connection, move, {"server": effect.server})
        case RemoveServer():
            await _unless(
                (SERVER_NOT_MEMBER,), connection, "$JS.API.SERVER.REMOVE", {"peer": effect.server, "peer_id": peer_id(effect.server)}
            )


async def _unless(codes: tuple[int, ...], connection: Nats, subject: str, body: Mapping[str, Any] | None = None) -> None:
    try:
        await call(connection, subject, body, seconds=CHANGE_SECONDS)
    except JetStreamError as error:
        if error.code not in codes:
            raise


async def _step_down(connection: Nats, effect: StepDown) -> None:
    subject = "META.LEADER.STEPDOWN"
    if effect.stream is not None:
        subject = f"STREAM.LEADER.STEPDOWN.{effect.stream}"
    if effect.consumer is not None:
        subject = f"CONSUMER.LEADER.STEPDOWN.{effect.stream}.{effect.consumer}"
    await call(connection, f"$JS.API.{subject}", {"placement": {"preferred": effect.to}}, seconds=CHANGE_SECONDS)


async def _delete(connection: Nats, info: str, delete: str, queue: str | None) -> None:
    """Delete what is ours, as its own metadata says now; without a queue, as its name does."""
    try:
        config = (await call(connection, f"$JS.API.{info}"))["config"]
    except JetStreamError as error:
        if error.code in (NO_STREAM, NO_CONSUMER):
            return
        raise
    if queue is None or (config.get("metadata") or {}).get(QUEUE_MARK) == queue:
        await _unless((NO_STREAM, NO_CONSUMER), connection, f"$JS.API.{delete}")


async def ensure_stream(connection: Nats, config: Mapping[str, Any], *, exists: bool) -> None:
    """Create a stream, or change one. Fields that the operator does not decide stay as they are."""
    name = config["name"]
    if exists:
        config = merged(config, (await call(connection, f"$JS.API.STREAM.INFO.{name}"))["config"])
    verb = "UPDATE" if exists else "CREATE"
    await call(connection, f"$JS.API.STREAM.{verb}.{name}", config, seconds=CHANGE_SECONDS)


async def ensure_consumer(connection: Nats, stream: str, config: Mapping[str, Any], *, exists: bool) -> None:
    """The same of a consumer. One that should not be there and is, is one of that name that is not durable, which `look` leaves out."""
    name = config["name"]
    have = (await call(connection, f"$JS.API.CONSUMER.INFO.{stream}.{name}"))["config"] if exists else {}
    body = {"stream_name": stream, "config": merged(config, have), "action": "update" if exists else "create"}
    try:
        await call(connection, f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}", body, seconds=CHANGE_SECONDS)
    except JetStreamError as error:
        if exists or error.code != CONSUMER_EXISTS:
            raise
        await ensure_consumer(connection, stream, config, exists=True)
