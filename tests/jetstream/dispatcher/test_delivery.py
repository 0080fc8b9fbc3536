"""What an endpoint gets, what becomes of what it does not take, and what is noted for others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from aiohttp import web
from nats.aio.client import Client as Nats
from nats.js.api import RetentionPolicy, StreamConfig
from standardwebhooks.webhooks import Webhook as Verifier

from baas_operator.api.operation import LetterFilter
from baas_operator.dead_letters.inspect import replay
from baas_operator.dispatcher import consumers
from baas_operator.dispatcher import dispatcher as dispatcher_module
from baas_operator.dispatcher.state import Record, State
from baas_operator.jetstream.requests import JetStreamError, call
from tests.jetstream.dispatcher.endpoints import Delivery, HttpEndpoint
from tests.jetstream.dispatcher.rig import OTHER, SECRET, Here, Rig, dead, until, webhook


async def publish(client: Nats, count: int, subject: str = "orders.new", first: int = 0, payload: bytes = b'{"a":1}') -> None:
    """Publish messages with ids of their own."""
    js = client.jetstream(timeout=10)
    for number in range(first, first + count):
        await js.publish(subject, payload, headers={"Nats-Msg-Id": f"m{number}"})


def status(number: int, **headers: str) -> web.Response:
    """An answer."""
    return web.Response(status=number, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_it_is_delivered_once_signed_and_acknowledged(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.secret = SECRET
    rig.tell(webhook(http.url))
    async with Here(rig) as here:
        await publish(nats_client, 50)
        await until(lambda: len(http.taken) == 50)
        await until(lambda: here.status("a")["held"] == 0)
        await asyncio.sleep(0.3)
    assert Counter(http.ids()) == Counter(f"m{number}" for number in range(50))
    assert http.came[0].headers["ce-source"] == "/namespaces/shop/eventqueues/jobs/streams/orders"
    info = await nats_client.jetstream().consumer_info("orders", "BAAS_webhook_a")
    assert (info.num_ack_pending, info.num_pending) == (0, 0)


async def test_only_what_it_wants(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url, filters=["orders.new", "orders.paid"]))
    async with Here(rig):
        await publish(nats_client, 2, "orders.new")
        await publish(nats_client, 2, "orders.lost", first=10)
        await publish(nats_client, 2, "orders.paid", first=20)
        await until(lambda: len(http.taken) == 4)
    assert {each.headers["ce-subject"] for each in http.taken} == {"orders.new", "orders.paid"}


async def test_it_is_tried_again_under_the_same_id(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda _: status(500 if len(http.came) < 3 else 204)
    rig.tell(webhook(http.url))
    async with Here(rig):
        await publish(nats_client, 1)
        await until(lambda: http.taken)
    assert {each.id for each in http.came} == {"m0"}
    assert len({each.headers["x-request-id"] for each in http.came}) == 1
    assert len({each.headers["webhook-timestamp"] for each in http.came}) == 3, "of the attempt"


@pytest.mark.parametrize("code", [301, 302, 307, 308, 400, 404, 500])
async def test_what_was_tried_often_enough_is_a_dead_letter(nats_client: Nats, http: HttpEndpoint, rig: Rig, code: int) -> None:
    http.answer = lambda _: status(code, Location="http://127.0.0.1:1/")
    rig.tell(webhook(http.url, retrySeconds=[1]))
    async with Here(rig):
        await publish(nats_client, 1)
        await until(lambda: len(http.came) == 2)
        await asyncio.sleep(0.5)
    letters = await dead(nats_client)
    assert list(letters) == [1]
    assert letters[1].reason == "RetriesExhausted"
    assert f"answered {code}" in letters[1].detail
    assert len(http.came) == 2
    info = await nats_client.jetstream().consumer_info("orders", "BAAS_webhook_a")
    assert info.num_ack_pending == 0


async def test_a_dead_letter_that_is_replayed_comes_under_the_same_id(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    """So that an endpoint that had taken it, and whose answer came too late, can tell."""
    http.answer = lambda _: status(500)
    rig.tell(webhook(http.url, retrySeconds=[1]))
    async with Here(rig):
        await publish(nats_client, 1)
        await nats_client.jetstream().publish("orders.new", b"{}")
        await until(lambda: len(http.came) == 4)
        await asyncio.sleep(1)
        http.answer = lambda _: status(204)
        [_ async for _ in replay(nats_client, "orders", LetterFilter(), operation_id="op")]
        await until(lambda: len(http.taken) == 2)
    assert set(http.ids()) == {each.id for each in http.came} == {"m0", "orders:2"}


async def test_it_stays_where_it_was_while_no_dead_letter_can_be_kept(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    await nats_client.jetstream().delete_stream("BAAS_DEAD_orders")
    http.answer = lambda _: status(500)
    rig.tell(webhook(http.url, retrySeconds=[1]))
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: "dead letter" in (here.status("a").get("reason") or ""))
    info = await nats_client.jetstream().consumer_info("orders", "BAAS_webhook_a")
    assert info.num_ack_pending == 1


async def test_what_is_too_large_is_a_dead_letter_at_once(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url, maxPayload="1Ki"))
    async with Here(rig):
        await publish(nats_client, 1, payload=b"x" * 1025)
        await publish(nats_client, 1, payload=b"x" * 1024, first=1)
        await until(lambda: http.taken)
        await asyncio.sleep(0.5)
    assert http.ids() == ["m1"]
    assert (await dead(nats_client))[1].reason == "PayloadTooLarge"


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_retry_after_is_heeded(nats_client: Nats, http: HttpEndpoint, rig: Rig, code: int) -> None:
    http.answer = lambda _: status(code, Retry_After="4") if len(http.came) == 1 else status(204)
    rig.tell(webhook(http.url))
    async with Here(rig):
        await publish(nats_client, 1)
        await until(lambda: http.taken)
    assert 3.8 <= http.came[1].at - http.came[0].at <= 6


async def test_429_puts_off_the_others_too(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda _: status(429, Retry_After="3") if len(http.came) == 1 else status(204)
    rig.tell(webhook(http.url, concurrency=1))
    async with Here(rig):
        await publish(nats_client, 3)
        await until(lambda: len(http.taken) == 3)
    assert http.came[1].at - http.came[0].at >= 2.9


async def test_410_disables_for_all_and_for_good_until_somebody_enables(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda _: status(410)
    rig.tell(webhook(http.url))
    async with Here(rig) as one, Here(rig) as other:
        await publish(nats_client, 1)
        await until(lambda: {each.status("a").get("state") for each in (one, other)} == {"Disabled"}, what="both know")
        assert "410" in one.status("a")["reason"]
        assert (await dead(nats_client))[1].reason == "EndpointGone"
        http.answer = lambda _: status(204)
        await publish(nats_client, 5, first=1)
    async with Here(rig) as later:
        await until(lambda: later.status("a").get("state") == "Disabled")
        await asyncio.sleep(1)
        assert http.taken == []
        await State(nats_client, 1).enable("a")
        await until(lambda: len(http.taken) == 5)
        assert later.status("a")["state"] == "Closed"
    assert len(await dead(nats_client)) == 1


@pytest.mark.parametrize("noted", [{"disabled": "x", "disabled_at": "now"}, {"disabled": "x", "disabled_at": 1e300}, {"failing_since": []}])
async def test_what_somebody_else_notes_harms_nobody(nats_client: Nats, http: HttpEndpoint, rig: Rig, noted: dict[str, object]) -> None:
    assert await State(nats_client, 1).put("endpoint.a", {"url": http.url} | noted, 0)
    rig.tell(webhook(http.url))
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: http.taken)
        assert here.status("a")["state"] == "Closed"


async def test_who_fails_alone_does_not_say_that_nobody_succeeds(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    """One whose way to the endpoint is cut off would note since when it fails again and again, over what the others saw."""
    rig.tell(webhook(http.url))
    state = State(nats_client, 1)
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: http.taken)
        endpoint = here.program._dispatcher._slots["a"].endpoint
        assert endpoint
        standing = endpoint.standing
        standing.failing_since = standing.failed_at = time.time() - 3600
        standing.succeeded_at = 0.0  # another one's
        await until(lambda: standing.record.failing_since, what="it is noted")
        assert here.status("a")["failingSince"]
        await state.note("a", http.url, lambda known: replace(known, failing_since=None))
        await asyncio.sleep(1.5)
        assert (await state.record("a", http.url)).failing_since is None
        assert here.status("a")["failingSince"] is None


async def test_another_url_begins_anew(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda each: status(410 if each.path == "/hook" else 204)
    rig.tell(webhook(http.url))
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: here.status("a").get("state") == "Disabled")
        await publish(nats_client, 3, first=1)
        rig.tell(webhook(f"http://127.0.0.1:{http.port}/other"))
        await until(lambda: len(http.taken) == 3)


async def test_nothing_taken_for_too_long_disables(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda _: status(500)
    rig.tell(webhook(http.url, disableAfterHours=2))
    state = State(nats_client, 1)
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: len(http.came) >= 3, what="it fails")
        await asyncio.sleep(0.5)
        record = await state.record("a", http.url)
        assert record.failing_since, "since when it fails is noted"
        value, revision = await state.get("endpoint.a")
        assert await state.put("endpoint.a", value | {"failing_since": time.time() - 3 * 3600}, revision)
        await until(lambda: here.status("a").get("state") == "Disabled")
        assert "2 hours" in here.status("a")["reason"]


async def test_where_nothing_was_tried_for_long_nothing_is_disabled(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    """The last message before a quiet week failed: that is no week of failures."""
    http.answer = lambda _: status(500)
    rig.tell(webhook(http.url, disableAfterHours=2, retrySeconds=[1]))
    state = State(nats_client, 1)
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: len(http.came) == 2, what="it fails for good")
        await asyncio.sleep(1)
        value, revision = await state.get("endpoint.a")
        assert value["failing_since"]
        week_ago = time.time() - 7 * 24 * 3600
        endpoint = here.program._dispatcher._slots["a"].endpoint
        assert endpoint
        endpoint.standing.failed_at = week_ago + 60
        assert await state.put("endpoint.a", value | {"failing_since": week_ago}, revision)
        await asyncio.sleep(1)
        assert here.status("a")["state"] == "Closed"


@pytest.mark.parametrize("code", [429, 503])
async def test_a_rate_does_not_carry_attempts_past_what_the_endpoint_asks_for(
    nats_client: Nats, http: HttpEndpoint, rig: Rig, code: int
) -> None:
    """Those that wait for their turn were let through before it said that it wants nothing more."""
    http.answer = lambda _: status(code, Retry_After="30")
    rig.tell(webhook(http.url, ratePerSecond=4, circuitBreaker={"failures": 1, "openSeconds": 30}))
    async with Here(rig):
        await publish(nats_client, 20)
        await until(lambda: http.came)
        await asyncio.sleep(4)
    assert len(http.came) <= 2


async def test_one_success_ends_a_long_failure(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    state = State(nats_client, 1)
    old = replace(Record(http.url), failing_since=time.time() - 300 * 3600)
    assert await state.put("endpoint.a", asdict(old), 0)
    rig.tell(webhook(http.url))
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: http.taken)
        await asyncio.sleep(1)
        assert (await state.record("a", http.url)).failing_since is None
        assert here.status("a")["state"] == "Closed"


async def test_the_breaker_leaves_it_alone_and_tries_one_at_a_time(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    async def slowly(_: Delivery) -> web.Response:
        await asyncio.sleep(0.2)
        return status(503)

    http.answer = slowly
    rig.tell(webhook(http.url, circuitBreaker={"failures": 3, "openSeconds": 2}, concurrency=3, retrySeconds=[1] * 20))
    async with Here(rig) as here:
        await publish(nats_client, 30)
        await until(lambda: here.status("a").get("state") == "Open")
        assert "503" in here.status("a")["reason"]
        await asyncio.sleep(0.5)
        came, http.most_under_way = len(http.came), 0
        assert came <= 8
        await asyncio.sleep(3)
        assert 1 <= len(http.came) - came <= 2, "one at a time is tried"
        assert http.most_under_way == 1
        http.answer = lambda _: status(204)
        await until(lambda: len(http.taken) == 30)
        assert here.status("a")["state"] == "Closed"


async def test_4xx_does_not_open_it(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda _: status(400)
    rig.tell(webhook(http.url, circuitBreaker={"failures": 2}))
    async with Here(rig) as here:
        await publish(nats_client, 10)
        await until(lambda: len(http.came) >= 10)
        assert here.status("a")["state"] == "Closed"
        assert here.status("a")["successRate"] == 0


async def test_no_more_than_its_rate_and_concurrency(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    async def slowly(_: Delivery) -> web.Response:
        await asyncio.sleep(0.15)
        return status(204)

    http.answer = slowly
    rig.tell(webhook(http.url, "a", ratePerSecond=20), webhook(f"{http.url}/b", "b", concurrency=2), replicas=2)
    async with Here(rig):
        await publish(nats_client, 20)
        await until(lambda: len(http.taken) == 40)
    rated = [each.at for each in http.came if each.path == "/hook"]
    assert rated[-1] - rated[0] >= 1.8, "20 at 10 a second, which is one dispatcher's half"
    alone = sorted(each.at for each in http.came if each.path == "/hook/b")
    assert alone[-1] - alone[0] >= 1.3, "20 with two at a time"


async def test_secrets_overlap_when_they_are_rotated(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url))
    async with Here(rig) as here:
        for number, text in enumerate((SECRET, f"{OTHER} {SECRET}", OTHER)):
            rig.secret("a", text)
            await asyncio.sleep(0.6)
            await publish(nats_client, 1, first=number)
            await until(lambda number=number: len(http.taken) == number + 1)  # type: ignore[misc]
            for secret in text.split():
                Verifier(secret).verify(http.taken[-1].payload, http.taken[-1].headers)
        rig.secret("a", "nonsense")
        await until(lambda: here.status("a")["state"] == "Disabled")
        assert "whsec_" in here.status("a")["reason"]
        await publish(nats_client, 1, first=3)
        rig.secret("a", SECRET)
        await until(lambda: len(http.taken) == 4)


async def test_a_broken_configuration_changes_nothing(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url))
    async with Here(rig):
        await publish(nats_client, 1)
        await until(lambda: http.taken)
        rig.config.write_text("{")
        await asyncio.sleep(0.6)
        await publish(nats_client, 1, first=1)
        await until(lambda: len(http.taken) == 2)


async def test_one_that_is_not_enabled_keeps_its_place(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url, enabled=False))
    async with Here(rig) as here:
        await publish(nats_client, 3)
        await until(lambda: here.status("a").get("state") == "Paused")
        await asyncio.sleep(0.5)
        assert http.came == []
        assert (await nats_client.jetstream().consumer_info("orders", "BAAS_webhook_a")).num_pending == 3
        rig.tell(webhook(http.url))
        await until(lambda: len(http.taken) == 3)


async def test_a_consumer_that_somebody_deleted_is_made_again(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url))
    async with Here(rig):
        await publish(nats_client, 1)
        await until(lambda: http.taken)
        await nats_client.jetstream().delete_consumer("orders", "BAAS_webhook_a")
        await publish(nats_client, 1, first=1)
        await until(lambda: "m1" in http.ids())


@pytest.mark.parametrize("retention", ["interest", "limits"])
async def test_the_place_of_one_that_is_paused_or_disabled_is_kept_in_a_stream_that_is_made_anew(
    nats_client: Nats, http: HttpEndpoint, rig: Rig, retention: str
) -> None:
    """Without it a stream keeps nothing of what nobody else is interested in."""
    js = nats_client.jetstream(timeout=10)
    http.answer = lambda each: status(410 if each.path == "/gone" else 204)
    gone = http.url.replace("/hook", "/gone")
    rig.tell(webhook(http.url, enabled=False), webhook(gone, "b"), webhook("http://10.0.0.1/", "c"))
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: [here.status(each).get("state") for each in "abc"] == ["Paused", "Disabled", "Disabled"])
        await until(lambda: here.status("b")["held"] == 0)
        await js.delete_stream("orders")
        await js.add_stream(StreamConfig(name="orders", subjects=["orders.>"], retention=RetentionPolicy(retention)))
        deadline = time.monotonic() + 20
        while await _consumers(nats_client) != {"a", "b", "c"}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        await publish(nats_client, 3, first=10)
        http.answer = lambda _: status(204)
        rig.tell(webhook(http.url), webhook(gone, "b"), webhook(http.url, "c"))
        await State(nats_client, 1).enable("b")
        await until(lambda: Counter(http.ids()) == Counter(["m10", "m11", "m12"] * 3))


async def _consumers(client: Nats) -> set[str]:
    return {each.name.removeprefix("BAAS_webhook_") for each in await client.jetstream().consumers_info("orders")}


async def _sweep(*those: Here) -> None:
    for each in those:
        dispatcher = each.program._dispatcher
        assert dispatcher
        await dispatcher.sweep_once(time.monotonic())
    await asyncio.sleep(0.2)


async def test_the_consumer_of_one_that_is_not_declared_any_more_goes_later(
    nats_client: Nats, http: HttpEndpoint, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "_STRAY_SECONDS", 3.0)
    rig.tell(webhook(http.url), webhook(http.url, "b"))
    async with Here(rig) as here:
        await publish(nats_client, 1)
        await until(lambda: len(http.taken) == 2)
        rig.tell(webhook(http.url))
        await until(lambda: not here.status("b"))
        gone_at = time.monotonic()
        while await _consumers(nats_client) == {"a", "b"}:
            await _sweep(here)
            assert time.monotonic() < gone_at + 30
        assert time.monotonic() >= gone_at + 3
        assert await _consumers(nats_client) == {"a"}


async def test_one_that_hears_nothing_new_and_the_others_delete_nothing_of_each_other(
    nats_client: Nats, http: HttpEndpoint, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads from a consumer makes it again when it goes, and the endpoint gets the whole stream again."""
    monkeypatch.setattr(dispatcher_module, "_STRAY_SECONDS", 2.0)
    cut_off = Rig(tmp_path / "cut-off", rig.servers)
    for each in (rig, cut_off):
        each.tell(webhook(http.url), webhook(http.url, "gone"))
    async with Here(cut_off) as old, Here(rig) as new:
        await publish(nats_client, 3)
        await until(lambda: len(http.taken) == 6)
        rig.tell(webhook(http.url), webhook(http.url, "later"))
        await until(lambda: len(http.taken) == 9 and not new.status("gone"))
        for _ in range(25):
            await _sweep(old, new)
        assert await _consumers(nats_client) == {"a", "gone", "later"}
        assert len(http.taken) == 9, "nothing came again"
        await old.stop()
        stopped_at = time.monotonic()
        while await _consumers(nats_client) != {"a", "later"}:
            await _sweep(new)
            assert time.monotonic() < stopped_at + 30
    assert len(http.taken) == 9


async def test_no_stream_is_said_until_there_is_one(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url, stream="other"))
    async with Here(rig) as here:
        await until(lambda: "stream not found" in (here.status("a").get("reason") or ""))
        await call(nats_client, "$JS.API.STREAM.CREATE.other", {"name": "other", "subjects": ["other"], "storage": "memory"})
        await until(lambda: not here.status("a").get("reason"))
        await call(nats_client, "$JS.API.STREAM.DELETE.other")
    with pytest.raises(JetStreamError):
        await consumers.delete(nats_client, "other", "BAAS_webhook_a")
