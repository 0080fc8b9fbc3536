"""A bare asyncio client, a process of its own: what the endpoint could get from somebody who keeps nothing and survives nothing.

`python -m bench.webhooks.bare JSON` with `url`, `secret`, `events`, `concurrency`, `timeout_seconds`, `attempts`. It signs, as every sender
has to, and puts what failed at the end of its list, in its own memory. It ends when all was taken or has had its attempts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from datetime import UTC, datetime
from typing import Any

import aiohttp
from standardwebhooks.webhooks import Webhook

from bench.webhooks.event import body


async def main(given: dict[str, Any]) -> None:
    """Post all."""
    webhook, left = Webhook(given["secret"]), deque((event, 1) for event in range(given["events"]))
    timeout = aiohttp.ClientTimeout(total=given["timeout_seconds"])

    async def post(session: aiohttp.ClientSession, event: int) -> bool:
        payload, name, now = body(event), f"bare:{event}", datetime.now(UTC)
        headers = {
            "webhook-id": name, "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": webhook.sign(name, now, payload.decode()), "content-type": "application/json",
        }  # fmt: skip
        try:
            async with session.post(given["url"], data=payload, headers=headers) as answer:
                return answer.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def work(session: aiohttp.ClientSession) -> None:
        while left:
            event, attempt = left.popleft()
            if not await post(session, event) and attempt < given["attempts"]:
                left.append((event, attempt + 1))

    connector = aiohttp.TCPConnector(limit=given["concurrency"])
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(work(session) for _ in range(given["concurrency"])))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
