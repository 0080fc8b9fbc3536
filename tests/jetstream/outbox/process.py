"""A relay as a process of its own, which tests kill: `python -m tests.jetstream.outbox.process CONFIG-AS-JSON SECRETS URL…`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import nats

from baas_operator.outbox.config import OutboxConfig
from baas_operator.outbox.relay import relay
from baas_operator.outbox.status import OutboxStatus


async def _run(config: OutboxConfig, urls: list[str]) -> None:
    async def quiet(_: Exception) -> None: ...

    client = await nats.connect(urls, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=quiet, connect_timeout=1)
    await relay(config, client, OutboxStatus(config.name))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(_run(OutboxConfig.of(json.loads(sys.argv[1]), Path(sys.argv[2])), sys.argv[3:]))
