"""What a prober makes of what pods say of the schema behind them. tests/backend/prober has the real ones."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from baas_operator.observe.probes import ProberReport
from baas_operator.prober.prober import Prober
from tests.unit.prober.doors import backend, tell

HOST = "shop-reads.prod.svc"


class Pods:
    """Two that listen at one port, behind one name; `said` by each, as a status and a body."""

    def __init__(self) -> None:
        self.said: list[tuple[int, Any]] = [(200, [{"state": "17"}])] * 2
        self.asked: list[dict[str, str]] = []
        self.hangs = False
        self.port = 0
        self.gone = False

    async def names(self, host: str, port: int, **_: Any) -> list[Any]:
        """In the place of DNS."""
        if self.gone:
            raise socket.gaierror(-2, "Name or service not known")
        assert host == HOST
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{index + 1}", port)) for index in range(2)]

    def handler(self, index: int) -> Any:
        async def answer(request: web.Request) -> web.Response:
            self.asked.append({"path": request.path_qs, **request.headers})
            if self.hangs:
                await asyncio.sleep(3600)
            status, body = self.said[index]
            return web.json_response(body, status=status)

        return answer


@asynccontextmanager
async def prober_of(folder: Path, monkeypatch: pytest.MonkeyPatch, *, told: bool = True) -> AsyncIterator[tuple[Prober, Pods]]:
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(backend())
        pods = Pods()
        for index in range(2):
            application = web.Application()
            application.router.add_get("/{path:.*}", pods.handler(index))
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, f"127.0.0.{index + 1}", pods.port).start()
            pods.port = runner.addresses[0][1]
        more = {"standbySchema": {"host": HOST, "port": pods.port}} if told else {}
        made = Prober(*tell(folder, there.port, deadline=0.5, **more), 7, first_seconds=0.0)
        made._load(first=True)
        loop = asyncio.get_running_loop()
        direct = loop.getaddrinfo

        async def found(host: Any, port: Any, **more: Any) -> Any:
            return await (direct(host, port, **more) if str(host).startswith("127.") else pods.names(host, port))

        monkeypatch.setattr(loop, "getaddrinfo", found)
        yield made, pods


async def heard(prober: Prober) -> tuple[str | None, int]:
    """After one more round, which all transactions survive, as the operator reads it."""
    await prober.round()
    said = ProberReport.model_validate_json(json.dumps(prober.report()))
    assert [each.failures for each in said.transactions] == [0, 0]
    assert said.standby_schema.every_seconds == 60.0
    return said.standby_schema.state, said.standby_schema.rounds


async def test_all_pods_are_asked_and_what_they_agree_on_is_told_with_how_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with prober_of(tmp_path, monkeypatch) as (prober, pods):
        assert await heard(prober) == ("17", 1)
        assert await heard(prober) == ("17", 2)
        assert len(pods.asked) == 4
        assert {each["path"] for each in pods.asked} == {"/schema_state?select=state"}
        assert {each["Authorization"] for each in pods.asked} == {"Bearer key-of-probes"}
        assert {each["Accept-Profile"] for each in pods.asked} == {"baas_probe"}
        pods.said = [(200, [{"state": "18"}])] * 2
        assert await heard(prober) == ("18", 1)


@pytest.mark.parametrize(
    "said",
    [
        (200, [{"state": "18"}]),
        (200, []),
        (200, [{"state": 17}]),
        (200, "17"),
        (404, {"code": "42P01", "message": 'relation "baas_probe.schema_state" does not exist'}),
        (503, {"message": "no connection"}),
    ],
)
async def test_what_one_pod_does_not_say_is_not_told_and_begins_anew(
    said: tuple[int, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with prober_of(tmp_path, monkeypatch) as (prober, pods):
        await heard(prober)
        assert await heard(prober) == ("17", 2)
        before, pods.said = pods.said, [pods.said[0], said]
        assert await heard(prober) == (None, 0)
        pods.said = before
        assert await heard(prober) == ("17", 1)


async def test_a_pod_that_hangs_and_a_name_that_leads_nowhere_cost_no_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with prober_of(tmp_path, monkeypatch) as (prober, pods):
        pods.hangs = True
        assert await heard(prober) == (None, 0)
        pods.hangs, pods.gone = False, True
        assert await heard(prober) == (None, 0)
        pods.gone = False
        assert await heard(prober) == ("17", 1)


async def test_a_prober_that_is_not_told_of_any_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with prober_of(tmp_path, monkeypatch, told=False) as (prober, pods):
        assert await heard(prober) == (None, 0)
        assert pods.asked == []
