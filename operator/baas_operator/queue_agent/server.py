"""The server beside the agent, asked over NATS itself: a connection that is kept, as each of the two users of agents."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from baas_operator.desired.queue import names
from baas_operator.jetstream.requests import call
from baas_operator.queue_agent.cluster import Cluster, Key, read_cluster

_CONNECT_SECONDS = 3
_LOOK_SECONDS = 2.0
"""So long the servers have to tell what they hold; one that is away does not answer at all."""
_RELOAD_SECONDS = 10.0
_MOST_CLIENTS = 100_000
_ALL = {"accounts": True, "streams": True, "consumer": True}


class RefusedError(Exception):
    """The server refused what it was asked, with its own sentence."""


@dataclass(frozen=True)
class Place:
    """Where the server is, and where the files are that tell how to come in. `host` is the name in its certificate."""

    server: str
    host: str
    port: int = names.CLIENT_PORT
    users: Path = Path(names.AGENT_DIR)
    authority: Path = Path(names.TLS_DIR) / "ca.crt"


class _Link:
    """A connection as one user, made when it is needed. Files are read each time, as passwords and the authority are renewed; the login
    that worked last is tried, too, as the server may not have learnt the new one."""

    def __init__(self, place: Place, user: str) -> None:
        self._place = place
        self._user = user
        self._connection: Nats | None = None
        self._worked: tuple[str, str] | None = None

    async def get(self) -> Nats:
        """The connection.

        Raises:
            one of Unreachable: there is no server that lets the agent in.
        """
        if self._connection is not None and self._connection.is_connected:
            return self._connection
        await self.close()
        folder = self._place.users / self._user
        written = (folder / "username").read_text(), (folder / "password").read_text()
        try:
            self._connection = await self._connect(written)
            self._worked = written
        except (NatsError, OSError, TimeoutError):
            if self._worked in (None, written):
                raise
            assert self._worked is not None
            self._connection = await self._connect(self._worked)
        return self._connection

    async def _connect(self, login: tuple[str, str]) -> Nats:
        async def quiet(_: Exception) -> None:
            """Whoever asks next learns of it."""

        # A client that is told to try once goes on for ever where nobody listens (nats-py 2.16, `_select_next_server`).
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await nats.connect(
                f"tls://127.0.0.1:{self._place.port}", user=login[0], password=login[1], connect_timeout=_CONNECT_SECONDS,
                allow_reconnect=False, max_reconnect_attempts=0, error_cb=quiet, name="baas-queue-agent", ping_interval=30,
                inbox_prefix=names.inbox(self._user).encode(), tls_hostname=self._place.host,
                tls=ssl.create_default_context(cafile=str(self._place.authority)),
            )  # fmt: skip

    @property
    def open(self) -> Nats | None:
        """The connection, if there is one."""
        return self._connection

    async def close(self) -> None:
        """Let go of it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class Server:
    """The requests. Each raises one of Unreachable when there is no answer."""

    def __init__(self, place: Place) -> None:
        self.name = place.server
        self._system = _Link(place, names.AGENT_SYSTEM)
        self._application = _Link(place, names.AGENT)
        self.busy_seconds = 0.0
        """What the last look took beside waiting."""

    async def close(self) -> None:
        """Let go of the connections."""
        await self._system.close()
        await self._application.close()

    async def _own(self) -> tuple[Nats, str]:
        """The connection, and the id of the server that it leads to, which is a new one each time that it starts."""
        connection = await self._system.get()
        return connection, str(connection._server_info["server_id"])

    async def look(self) -> Cluster:
        """What all servers hold, those included that did not answer in time, as nothing is known of them."""
        connection, _ = await self._own()
        reply = connection.new_inbox()
        subscription = await connection.subscribe(reply)
        answers: list[Mapping[str, Any]] = []
        self.busy_seconds = 0.0
        made = Cluster()
        deadline = time.monotonic() + _LOOK_SECONDS
        try:
            await connection.publish("$SYS.REQ.SERVER.PING.JSZ", json.dumps(_ALL).encode(), reply=reply)
            while not made.complete() and (left := deadline - time.monotonic()) > 0:
                data = (await subscription.next_msg(timeout=left)).data
                began = time.perf_counter()
                answers.append(json.loads(data))
                made = read_cluster(answers)
                self.busy_seconds += time.perf_counter() - began
        except TimeoutError:
            pass
        except (KeyError, TypeError, ValueError, AttributeError) as garbage:
            raise NatsError("the servers were told of by something that is no NATS") from garbage
        finally:
            if connection.is_connected:
                await subscription.unsubscribe()
        return made

    async def reload(self) -> str:
        """Have the server load its configuration and certificates; the digest of what it then has.

        Raises:
            RefusedError: it does not take them, and goes on with what it has.
        """
        connection, server_id = await self._own()
        before = await self._loaded(connection, server_id)
        answer = await self._ask(connection, f"$SYS.REQ.SERVER.{server_id}.RELOAD")
        if error := answer.get("error"):
            raise RefusedError(str(error.get("description", "it does not say why")))
        connection, server_id = await self._own()
        after = await self._loaded(connection, server_id)
        if after["config_load_time"] == before["config_load_time"]:
            raise RefusedError("it says that it has, but not when")
        return str(after.get("config_digest", ""))

    async def _loaded(self, connection: Nats, server_id: str) -> dict[str, Any]:
        return dict((await self._ask(connection, f"$SYS.REQ.SERVER.{server_id}.VARZ"))["data"])

    async def _ask(self, connection: Nats, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            asked = json.dumps(body).encode() if body else b""
            found = json.loads((await connection.request(subject, asked, timeout=_RELOAD_SECONDS)).data)
            return dict(found)
        except (ValueError, TypeError) as garbage:
            raise NatsError(f"{subject} was answered by something that is no NATS") from garbage

    async def send_away(self) -> int:
        """End the connections of all clients but the agent's own; how many there were. They come again, to where they are led then."""
        connection, server_id = await self._own()
        own = {connection.client_id}
        if self._application.open is not None:
            own.add(self._application.open.client_id)
        server = f"$SYS.REQ.SERVER.{server_id}"
        listed = await self._ask(connection, f"{server}.CONNZ", {"limit": _MOST_CLIENTS})
        clients = [each["cid"] for each in listed["data"]["connections"] if each["cid"] not in own]
        answers = connection.new_inbox()  # nobody waits for them; what has nowhere to be answered is not done (2.14.10, events.go, `zReq`)
        for client in clients:
            await connection.publish(f"{server}.KICK", json.dumps({"cid": client}).encode(), reply=answers)
        await connection.flush(_LOOK_SECONDS)
        return len(clients)

    async def hand_over(self, key: Key, to: str) -> None:
        """Have a group's leader, this server, make way for another.

        Raises:
            JetStreamError: it does not, with its own sentence.
        """
        body = {"placement": {"preferred": to}}
        if not key.stream:
            await call(await self._system.get(), "$JS.API.META.LEADER.STEPDOWN", body)
            return
        kind, rest = ("CONSUMER", f"{key.stream}.{key.consumer}") if key.consumer else ("STREAM", key.stream)
        await call(await self._application.get(), f"$JS.API.{kind}.LEADER.STEPDOWN.{rest}", body)
