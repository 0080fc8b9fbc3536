"""The worker `mailer` of examples/workers.yaml, as a program to begin from: docs/workers.md says what it relies on. It needs nats-py.

It takes orders from its stream, marks them in the backend, says `orders.mailed`, and only then acknowledges: what it had in hand when it
died comes to another pod. On SIGTERM it takes nothing new, finishes what it has, and ends.
"""

import asyncio
import json
import logging
import os
import signal
import ssl
import urllib.parse
import urllib.request
from pathlib import Path

import nats
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCame
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError

CREDENTIALS = Path(os.environ["BAAS_CREDENTIALS"])
AT_ONCE = 10
WAIT_SECONDS = 5
log = logging.getLogger("mailer")


def read(file: str) -> str:
    """A credential as it is now: files follow a rotation, so they are read each time."""
    return (CREDENTIALS / file).read_text().strip()


def mark(order: str) -> None:
    """Say in the backend's table `orders` that it was mailed. Doing it twice is the same as once."""
    key = read("keys/service_role")
    request = urllib.request.Request(  # noqa: S310 - the address is the operator's
        f"{os.environ['BAAS_GATEWAY_URL']}/rest/v1/orders?id=eq.{urllib.parse.quote(order, safe='')}",
        method="PATCH",
        data=json.dumps({"mailed": True}).encode(),
        headers={"apikey": key, "Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - as above
        pass


async def publish(stream: JetStreamContext, subject: str, payload: bytes, message_id: str) -> None:
    """Until it is acknowledged. The id makes it harmless to send it twice."""
    for _ in range(20):
        try:
            await stream.publish(subject, payload, timeout=0.5, headers={"Nats-Msg-Id": message_id})
        except (NothingCame, NoStreamResponseError):
            await asyncio.sleep(0.2)
        else:
            return
    raise OSError(f"{subject} was not acknowledged")


async def handle(stream: JetStreamContext, message: Msg) -> None:
    """One message: acknowledged once all of it is done."""
    try:
        order = str(json.loads(message.data)["id"])
    except (ValueError, LookupError, TypeError):
        await message.term()  # nobody will ever understand it: a dead letter, at once
        return
    try:
        await asyncio.to_thread(mark, order)
        await publish(stream, "orders.mailed", json.dumps({"id": order}).encode(), f"mailed-{order}")
    except OSError as error:  # of the gateway, too: urllib's errors are such
        log.warning("order %s is tried again: %s", order, error)
        await message.nak(delay=WAIT_SECONDS)  # after the stream's maxDeliveries it is a dead letter
        return
    await message.ack()
    log.info("mailed order %s", order)


async def main() -> None:
    """Take messages until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    going = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, going.set)
    connection = await nats.connect(
        os.environ["BAAS_QUEUE_URL"],
        user=lambda: read("queue/username"),
        password=lambda: read("queue/password"),
        tls=ssl.create_default_context(cafile=CREDENTIALS / "queue" / "ca.crt"),
        inbox_prefix=os.environ["BAAS_QUEUE_INBOX"],
        max_reconnect_attempts=-1,
    )
    stream = connection.jetstream()
    orders = await stream.pull_subscribe_bind(os.environ["BAAS_CONSUMER"], stream=os.environ["BAAS_STREAM"])
    while not going.is_set():
        try:
            messages = await orders.fetch(AT_ONCE, timeout=WAIT_SECONDS)
        except (NothingCame, nats.errors.Error):
            await asyncio.sleep(0.1)  # nothing came, or no server is there now: the client reconnects by itself
            continue
        await asyncio.gather(*(handle(stream, each) for each in messages))
    await connection.drain()  # acknowledgements that are on their way arrive


asyncio.run(main())
