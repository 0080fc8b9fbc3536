"""A domain whose servers do not answer keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from baas_operator.dispatcher.shared import Shared


async def test_lookups_that_hang_keep_no_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    real = socket.getaddrinfo

    def lookup(host: Any, *arguments: Any, **more: Any) -> Any:
        if host == "dead.example":
            ended.wait(30)
        return real("127.0.0.1", *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    make = Shared.__dataclass_fields__["resolver"].default
    dead, alive = [make() for _ in range(40)], make()
    waiting = [asyncio.create_task(each.resolve("dead.example", 443)) for each in dead]
    try:
        await asyncio.sleep(0.2)
        found = await asyncio.wait_for(alive.resolve("alive.example", 443), 2)
        assert [each["host"] for each in found] == ["127.0.0.1"]
        await asyncio.wait_for(asyncio.to_thread(int), 2)
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("queue.example", 4222), 2)
    finally:
        ended.set()
        await asyncio.gather(*waiting)
        for each in (*dead, alive):
            await each.close()
