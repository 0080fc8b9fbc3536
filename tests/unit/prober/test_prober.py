"""Rounds: what is asked, how often, what is told of it, and what a backend that misbehaves does to that."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from baas_operator.engine.monitor import prober_report
from baas_operator.prober import prober as prober_module
from baas_operator.prober.config import ConfigError
from baas_operator.prober.http import Http
from baas_operator.prober.prober import Prober
from tests.unit.prober.doors import backend, tell

SLOT = 7


def prober_of(told: tuple[Path, Path]) -> Prober:
    made = Prober(*told, SLOT, first_seconds=0.0)
    made._load(first=True)
    return made


def of(prober: Prober, name: str) -> dict[str, Any]:
    return next(each for each in prober.report()["transactions"] if each["name"] == name)


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def drip(request: web.Request) -> web.StreamResponse:
    """Never silent for long, never done: what has a limit on silence alone waits for ever."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.05)


async def fail(_: web.Request) -> web.StreamResponse:
    return web.json_response({"message": "no healthy upstream"}, status=503)


async def stale(request: web.Request) -> web.StreamResponse:
    """Takes everything, and goes on reading what was there before."""
    return web.json_response([{"value": "before"}]) if request.method == "GET" else web.Response(status=201)


async def nonsense(_: web.Request) -> web.StreamResponse:
    return web.json_response("fine", status=200)


async def test_a_round_writes_and_reads_and_leaves_one_row(tmp_path: Path) -> None:
    async with backend() as there:
        prober = prober_of(tell(tmp_path, there.port))
        await prober.round()
        await prober.round()
        assert set(there.rows) == {SLOT}
        for name in ("read", "write"):
            said = of(prober, name)
            assert (said["attempts"], said["failures"], said["failure"], said["trouble"]) == (2, 0, None, None)
            assert 0 < said["seconds"] < 1


@pytest.mark.parametrize(
    ("fault", "name", "sentence"),
    [
        (fail, "read", "GET /rest/v1/beats: 503: no healthy upstream"),
        (fail, "write", "POST /rest/v1/beats: 503: no healthy upstream"),
        (hang, "read", "GET /rest/v1/beats: no answer within 0.3 s"),
        (drip, "read", "GET /rest/v1/beats: no answer within 0.3 s"),
        (stale, "write", "GET /rest/v1/beats: another value was read than had just been written"),
        (nonsense, "read", "GET /rest/v1/beats: what was read is no list of rows"),
    ],
)
async def test_each_failure_is_a_sentence_within_the_deadline(fault: Any, name: str, sentence: str, tmp_path: Path) -> None:
    async with backend() as there:
        deadline = 0.3 if fault in (hang, drip) else 5.0
        prober = prober_of(tell(tmp_path, there.port, name, deadline=deadline))
        there.fault = fault
        began = time.monotonic()
        await prober.round()
        assert time.monotonic() - began < deadline + 0.5
        assert (of(prober, name)["failure"], of(prober, name)["failures"]) == (sentence, 1)

        there.fault = None
        await prober.round()
        said = of(prober, name)
        assert (said["failures"], said["failure"]) == (0, sentence), "and how it failed last is still known"


async def test_nothing_is_tried_again_within_a_round(tmp_path: Path) -> None:
    async with backend() as there:
        prober = prober_of(tell(tmp_path, there.port))
        there.fault = fail
        for rounds in (1, 2, 3):
            await prober.round()
            assert len(there.asked) == 2 * rounds, "one request of each transaction"


async def test_rounds_come_no_closer_while_something_is_wrong(tmp_path: Path) -> None:
    async with backend() as there:
        there.fault = fail
        prober, stop = Prober(*tell(tmp_path, there.port, "read", interval=1.2), SLOT, first_seconds=0.0), asyncio.Event()
        running = asyncio.create_task(prober.run(stop))
        await asyncio.sleep(3.0)
        stop.set()
        await running
        assert 2 <= there.asked.count("GET /rest/v1/beats") <= 4


async def test_a_run_of_failures_keeps_its_beginning_and_its_sentence_while_the_cause_is_the_same(tmp_path: Path) -> None:
    async with backend() as there:
        prober = prober_of(tell(tmp_path, there.port, "read", deadline=0.2))
        numbers = iter(range(100))

        async def numbered(_: web.Request) -> web.StreamResponse:
            return web.json_response({"message": f"request {next(numbers)} failed"}, status=500)

        there.fault = numbered
        await prober.round()
        first = of(prober, "read")
        await prober.round()
        second = of(prober, "read")
        assert (second["failures"], second["failureAt"], second["failure"]) == (2, first["failureAt"], first["failure"])
        there.fault = hang
        await prober.round()
        assert of(prober, "read")["failure"] == "GET /rest/v1/beats: no answer within 0.2 s", "another cause is told"


async def test_what_is_seldom_asked_for_is_asked_in_every_round_while_it_fails(tmp_path: Path) -> None:
    async with backend() as there:
        prober = prober_of(tell(tmp_path, there.port, "read", every=3))
        for _ in range(6):
            await prober.round()
        assert of(prober, "read")["attempts"] == 2
        there.fault = fail
        for _ in range(3):
            await prober.round()
        assert of(prober, "read")["failures"] == 3
        assert of(prober, "read")["everySeconds"] == 180.0


async def test_a_read_that_a_standby_answers_is_told_apart(tmp_path: Path) -> None:
    async with backend() as there:
        there.degraded = True
        prober = prober_of(tell(tmp_path, there.port, "read"))
        before = await _metric('baas_probe_total{result="degraded",transaction="read"}', prober)
        await prober.round()
        assert of(prober, "read")["failures"] == 0
        assert await _metric('baas_probe_total{result="degraded",transaction="read"}', prober) == before + 1


async def test_a_key_that_is_not_there_yet_is_no_failure_of_the_backend(tmp_path: Path) -> None:
    async with backend() as there:
        told = tell(tmp_path, there.port)
        key = told[1] / "api" / "probe"
        key.unlink()
        prober = prober_of(told)
        await prober.round()
        said = of(prober, "write")
        assert (said["attempts"], said["failures"], said["trouble"]) == (0, 0, "no mounted Secret has the key probe yet")
        key.write_text("key-after")
        await prober.round()
        assert (of(prober, "write")["attempts"], of(prober, "write")["trouble"]) == (1, None)
        assert there.keys[-1] == "key-after"


async def test_a_key_that_was_rotated_is_used_from_the_next_round_on(tmp_path: Path) -> None:
    async with backend() as there:
        told = tell(tmp_path, there.port, "read")
        prober = prober_of(told)
        await prober.round()
        (told[1] / "api" / "probe").write_text("key-after")
        await prober.round()
        assert there.keys == ["key-of-probes", "key-after"]


async def test_an_image_that_is_older_than_the_operator_fails_nothing(tmp_path: Path) -> None:
    async with backend() as there:
        prober = prober_of(tell(tmp_path, there.port, "read", "teleport"))
        await prober.round()
        assert of(prober, "read")["attempts"] == 1
        assert "knows no transaction 'teleport'" in of(prober, "teleport")["trouble"]


async def test_what_it_is_told_is_taken_up_while_it_runs_and_nonsense_is_not(tmp_path: Path) -> None:
    async with backend() as there:
        told = tell(tmp_path, there.port, "read")
        prober = prober_of(told)
        await prober.round()
        told[0].write_text("{")
        prober._load()
        await prober.round()
        assert of(prober, "read")["attempts"] == 2
        assert await _metric("baas_probe_config_broken", prober) == 1
        tell(tmp_path, there.port, "write")
        prober._load()
        await prober.round()
        assert [each["name"] for each in prober.report()["transactions"]] == ["write"]
        assert await _metric("baas_probe_config_broken", prober) == 0


async def test_a_shorter_interval_and_another_gateway_count_from_the_next_round_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober_module, "_REST_SECONDS", 0.1)
    async with backend() as there, backend() as other:
        prober, stop = Prober(*tell(tmp_path, there.port, "read", interval=60.0), SLOT, first_seconds=0.0), asyncio.Event()
        running = asyncio.create_task(prober.run(stop))
        await _until(lambda: prober.rounds == 1)
        tell(tmp_path, other.port, "read", interval=1.0)
        await _until(lambda: prober.rounds == 2)
        assert (len(there.asked), len(other.asked)) == (1, 1)
        stop.set()
        await running


async def test_without_a_configuration_it_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be read"):
        await Prober(tmp_path / "probe.json", tmp_path, SLOT).run(asyncio.Event())
    (tmp_path / "probe.json").write_text(json.dumps({"engine": "supabase"}))
    with pytest.raises(ConfigError, match="gateway"):
        await Prober(tmp_path / "probe.json", tmp_path, SLOT).run(asyncio.Event())


async def test_what_it_wrote_is_removed_when_it_is_told_to_end(tmp_path: Path) -> None:
    async with backend() as there:
        prober, stop = Prober(*tell(tmp_path, there.port), SLOT, first_seconds=0.0), asyncio.Event()
        running = asyncio.create_task(prober.run(stop))
        await _until(lambda: SLOT in there.rows)
        stop.set()
        await running
        assert there.rows == {}


async def test_it_ends_in_time_before_a_backend_that_hangs(tmp_path: Path) -> None:
    async with backend() as there:
        there.fault = hang
        prober, stop = Prober(*tell(tmp_path, there.port, deadline=0.5), SLOT, first_seconds=0.0), asyncio.Event()
        running = asyncio.create_task(prober.run(stop))
        await _until(lambda: bool(there.asked))
        stop.set()
        began = time.monotonic()
        await running
        assert time.monotonic() - began < 0.5 + 2.0 + 0.5


async def test_the_operator_reads_what_it_reports(tmp_path: Path) -> None:
    async with backend() as there:
        prober = prober_of(tell(tmp_path, there.port))
        http = Http(ready=lambda: prober.rounds > 0, report=prober.report)
        server = await http.start("127.0.0.1", 0)
        try:
            assert (await _get(http.port, "/livez"), await _get(http.port, "/readyz")) == (200, 503)
            there.fault = fail
            await prober.round()
            assert await _get(http.port, "/readyz") == 200, "whatever came of it"
            assert (await _get(http.port, "/other"), await _get(http.port, "/livez", "POST")) == (404, 405)
            said = await prober_report("127.0.0.1", http.port)
            assert said is not None
            (read, write) = said.transactions
            assert (read.name, read.failures, read.fresh, write.failure) == (
                "read", 1, True, "POST /rest/v1/beats: 503: no healthy upstream",
            )  # fmt: skip
        finally:
            server.close()
    assert await prober_report("127.0.0.1", http.port) is None, "nobody is there any more"


async def test_who_asks_nonsense_of_it_or_never_ends_asking_is_let_go() -> None:
    http = Http(ready=lambda: True, report=dict)
    server = await http.start("127.0.0.1", 0)
    try:
        for words in (b"\r\n\r\n", b"x" * 100_000, b"\xff\xfe\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
            writer.write(words)
            try:
                said = await asyncio.wait_for(reader.read(), 2)
                assert said == b"" or said.startswith(b"HTTP/1.1 405")
            except ConnectionError:
                pass
            finally:
                writer.close()
        assert await _get(http.port, "/livez") == 200
    finally:
        server.close()


async def _get(port: int, path: str, method: str = "GET") -> int:
    async with aiohttp.ClientSession() as session, session.request(method, f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status


async def _metric(name: str, prober: Prober) -> float:
    http = Http(ready=lambda: True, report=prober.report)
    text = http._pages["/metrics"]()[2].decode()
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is a server's
            await asyncio.sleep(0.01)


async def test_the_gateway_knows_a_prober_of_parse_by_its_key(tmp_path: Path) -> None:
    async with backend() as there:
        there.fault = nonsense
        told = tell(tmp_path, there.port, "read", "write", "sign-in", engine="parse", settings={"appId": "shop"})
        for name in ("masterKey", "restAPIKey", "username", "password"):
            (tmp_path / "secrets" / "api" / name).write_text(name)
        await prober_of(told).round()
        assert len(there.keys) >= 3
        assert set(there.keys) == {"key-of-probes"}
