"""The webhook bench: its endpoint and bare client as they are, its judgement on ledgers written by hand."""

from __future__ import annotations

import asyncio
import base64
import os
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import pytest

from bench.webhooks.behaviour import Answer, Behaviour
from bench.webhooks.endpoint import PATH
from bench.webhooks.processes import control, start, wait_ready
from bench.webhooks.verdict import Ledger, Verdict, judge, ledger_of, rate
from tests.jetstream.harness.servers import free_ports


def ledger(taken: dict[int, list[float]], *, away: list[tuple[float, float]] | None = None, **more: Any) -> Ledger:
    """A ledger of what was taken."""
    given: dict[str, Any] = {"attempts": 10, "several_ids": [], "bad_signatures": 0, "away": away or []}
    return Ledger(taken, **(given | more))


def verdict(taken: dict[int, list[float]], dead: list[tuple[int, str]], *, bare: float = 10.0, **more: Any) -> Verdict:
    return judge(10, ledger(taken, **more), dead, began=0.0, kills=3, bare=bare)


def test_an_endpoint_fails_and_hangs_as_often_as_it_should_and_always_alike() -> None:
    behaviour = Behaviour()
    seen = Counter(behaviour.answer(event, attempt) for event in range(5000) for attempt in (1, 2))

    assert seen[Answer.FAIL] / 10_000 == pytest.approx(0.20, abs=0.015)
    assert seen[Answer.HANG] / 10_000 == pytest.approx(0.05, abs=0.01)
    assert [behaviour.answer(7, attempt) for attempt in range(9)] == [Behaviour().answer(7, attempt) for attempt in range(9)]
    never = [event for event in range(20_000) if behaviour.always_fails(event)]
    assert 5 < len(never) < 40
    assert {behaviour.answer(never[0], attempt) for attempt in range(100)} == {Answer.FAIL}


def test_every_event_is_delivered_or_a_dead_letter_with_its_reason() -> None:
    taken = {event: [event / 10] for event in range(9)}

    assert verdict(taken, [(9, "RetriesExhausted")]).broken() == []
    assert verdict(taken, []).broken() == ["1 of 10 events are neither delivered nor dead letters, such as [9]."]
    assert verdict(taken, [(9, "")]).broken() == ["1 dead letters have no reason."]
    assert verdict(taken | {9: [1.0]}, [(9, "RetriesExhausted")]).both == 1


def test_twice_is_counted_and_allowed_and_a_second_id_is_not() -> None:
    taken = {event: [event / 10, 5.0] for event in range(10)}

    assert verdict(taken, []).twice == 10
    assert verdict(taken, []).broken() == []
    assert verdict(taken, [], several_ids=[3]).broken() == ["1 events came under more than one webhook-id."]
    assert "standardwebhooks" in verdict(taken, [], bad_signatures=2).broken()[0]


def test_the_rate_is_of_the_first_events_and_leaves_out_the_time_that_the_endpoint_was_away() -> None:
    taken = {event: [10.0 + event, 500.0] for event in range(9)} | {9: [900.0]}

    assert rate(ledger(taken), 10, began=9.0) == pytest.approx(9 / 9)
    assert rate(ledger(taken, away=[(12.0, 16.5), (800.0, 860.0)]), 10, began=9.0) == pytest.approx(9 / 4.5)
    assert rate(ledger({0: [1.0]}), 10, began=0.0) == 0.0


def test_a_rate_below_half_of_the_bare_clients_is_told() -> None:
    taken = {event: [event / 10] for event in range(10)}

    assert verdict(taken, [], bare=30.0).broken() == ["The rate is 0.37 of the bare client's; promised is 0.5."]
    assert verdict(taken, [], bare=0.0).ratio == 0.0


async def post(url: str, payload: bytes) -> None:
    await asyncio.to_thread(urllib.request.urlopen, url, data=payload, timeout=5)


async def test_the_endpoint_verifies_keeps_a_ledger_and_goes_away() -> None:
    """The processes as they run; the bare client is the one that needs no queue."""
    port, control_port = free_ports(2)
    secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    behaviour = {"fails": 0.2, "hangs": 0.02, "never": 0.05}
    given = {"host": "127.0.0.1", "port": port, "control": control_port, "secret": secret, "hang_seconds": 2.0, "behaviour": behaviour}
    url = f"http://127.0.0.1:{port}{PATH}"
    endpoint = start("endpoint", given)
    try:
        await wait_ready(control_port)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            await post(url, b'{"event": 1}')
        bare = start("bare", {"url": url, "secret": secret, "events": 100, "concurrency": 20, "timeout_seconds": 1, "attempts": 9})
        assert bare.wait(60) == 0

        found = ledger_of(await control(control_port, "/ledger"))
        never = {event for event in range(100) if Behaviour(**behaviour).always_fails(event)}
        assert never
        assert set(found.taken) == set(range(100)) - never
        assert (found.bad_signatures, list(found.several_ids)) == (1, [])
        assert found.attempts > 100

        await control(control_port, "/away?seconds=0.5", post=True)
        with pytest.raises(urllib.error.URLError, match="refused"):
            await post(url, b"")
        await control(control_port, "/anew", post=True)
        assert (await control(control_port, "/progress"))["taken"] == 0
    finally:
        endpoint.kill()
        endpoint.wait()
