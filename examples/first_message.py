"""Publish an order to the queue of examples/shop.yaml, and read it as a worker does. It needs nats-py, and the port forwarded:

kubectl port-forward -n shop service/shop-events 14222:4222
"""

import asyncio
import base64
import json
import logging
import ssl
import subprocess
import uuid

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy


def secret(name: str, namespace: str) -> dict[str, str]:
    """What a Secret holds. A pod would mount it instead."""
    got = subprocess.run(["kubectl", "get", "secret", name, "-n", namespace, "-o", "json"], check=True, stdout=subprocess.PIPE)
    return {key: base64.b64decode(value).decode() for key, value in json.loads(got.stdout)["data"].items()}


async def main() -> None:
    """One message, there and back."""
    login = secret("shop-events-user-app", "shop")
    connection = await nats.connect(
        "tls://localhost:14222",
        user=login["username"],
        password=login["password"],
        tls=ssl.create_default_context(cadata=login["ca.crt"]),
        max_reconnect_attempts=30,
    )
    orders = connection.jetstream()
    # A consumer of its own, which goes when nobody asks it any more; workers that share the work name one that is declared.
    new = ConsumerConfig(deliver_policy=DeliverPolicy.NEW)
    worker = await orders.pull_subscribe("orders.placed", stream="orders", config=new)
    order = str(uuid.uuid4())
    acknowledged = await orders.publish("orders.placed", json.dumps({"id": order}).encode(), headers={"Nats-Msg-Id": order})
    print(f"acknowledged: it is message {acknowledged.seq} of stream {acknowledged.stream}, on two disks in two zones")
    for message in await worker.fetch(1, timeout=10):
        await message.ack()
        print(f"read: {message.subject} {message.data.decode()}")
    await connection.close()


# It warns as a TLS connection of nats-py ends (`returning true from eof_received() has no effect when using ssl`). Nothing comes of that.
logging.getLogger("asyncio").setLevel(logging.ERROR)
asyncio.run(main())
