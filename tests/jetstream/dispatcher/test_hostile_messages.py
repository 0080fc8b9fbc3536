"""Messages that are no text, and words of servers that end a connection: they concern one message, and stop nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.rig import Here, Rig, dead, streams, until, webhook
from tests.jetstream.dispatcher.test_delivery import publish, status
from tests.jetstream.harness.servers import Servers, running


async def publish_raw(servers: Servers, subject: bytes, payload: bytes = b"{}", headers: bytes = b"") -> None:
    """Publish bytes that no client would, until the stream has them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", next(iter(servers.client_ports.values())))
    sizes = b"%d %d" % (len(headers), len(headers) + len(payload)) if headers else b"%d" % len(payload)
    word = b"HPUB" if headers else b"PUB"
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\nSUB answer 1\r\n')
    writer.write(b"%s %s answer %s\r\n%s%s\r\n" % (word, subject, sizes, headers, payload))
    async with asyncio.timeout(10):
        while b'"stream"' not in await reader.readline():
            pass
    writer.close()


@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        (b"orders.\xff\xfe", b""), (b"orders.bare", b"NATS/1.0"), (b"orders.none", b"x"),
        (b"orders.bytes", b"NATS/1.0 \xff\xff \xff\r\n\r\n"),
        (b"orders.odd", b"NATS/1.0\r\nmy key: a\r\n\xff: b\r\nStatus: 503\r\n\r\n"),
    ],
)  # fmt: skip
async def test_a_message_that_is_no_text_keeps_nobody_waiting_and_can_be_buried(
    nats_client: Nats, http: HttpEndpoint, rig: Rig, subject: bytes, headers: bytes
) -> None:
    http.answer = lambda each: status(500 if each.headers["ce-subject"] != "orders.new" else 204)
    rig.tell(webhook(http.url, retrySeconds=[1]))
    await publish_raw(rig.servers, subject, headers=headers)
    await publish(nats_client, 5)
    async with Here(rig):
        await until(lambda: len(http.taken) == 5, seconds=5, what="those behind it")
        await until(lambda: len(http.came) == 7, what="its two attempts")
        found: dict[int, object] = {}

        async def buried() -> None:
            while not found:
                found.update(await dead(nats_client))
                await asyncio.sleep(0.1)

        await asyncio.wait_for(buried(), 10)
    assert list(found) == [1]


USERS = """
authorization {{ users: [
  {{ user: "test", password: "test" }}
  {{ user: "dispatcher", password: "{password}" }}
] }}
"""


@pytest.fixture
def with_users(tmp_path: Path) -> Iterator[Servers]:
    with running(tmp_path, count=1, more=USERS.format(password="before")) as made:
        asyncio.run(made.wait_whole())
        yield made


async def test_a_new_password_ends_the_connection_and_another_is_made(with_users: Servers, http: HttpEndpoint, tmp_path: Path) -> None:
    client = await with_users.connect(user="test", password="test")
    await streams(client, 1)
    rig = Rig(tmp_path / "rig", with_users)
    rig.tell(webhook(http.url))
    (rig.secrets / "nats").mkdir(parents=True)
    (rig.secrets / "nats" / "username").write_text("dispatcher")
    (rig.secrets / "nats" / "password").write_text("before")
    async with Here(rig):
        await publish(client, 1)
        await until(lambda: len(http.taken) == 1)
        (rig.secrets / "nats" / "password").write_text("after")
        with_users.reload(USERS.format(password="after"))
        await asyncio.sleep(1)
        await publish(client, 5, first=1)
        await until(lambda: len(http.taken) == 6, seconds=20)
    await client.close()
