"""A server that is told to go finishes what it has in hand, and then goes; without hurting anybody."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.backend.parse.conftest import Rig
from tests.backend.parse.harness import until


def test_what_is_in_flight_is_finished(rig: Rig) -> None:
    rig.cache()  # with Redis, Parse Server itself never ends
    server = rig.server()
    server.wait()
    with ThreadPoolExecutor(1) as one:
        slow = one.submit(server.call, "functions/slow", {"milliseconds": 2000})
        until("it is in flight", lambda: "parse_requests_in_flight 1" in server.metrics, 5)
        began = time.monotonic()
        server.terminate()
        until("it is not ready any more", lambda: server.ready == (503, "going away\n"), 1)
        assert server.alive

        assert slow.result() == (200, {"result": "finished"})
        assert server.ended(5) == 0
        took = time.monotonic() - began
    assert 1.5 < took < 4, f"{took} s\n{server.said}"
    assert server.call("health")[0] == 0


def test_one_that_waits_for_its_database_goes_at_once(rig: Rig) -> None:
    rig.postgres.kill()
    server = rig.server()
    until("it lives", lambda: server.alive)

    server.terminate()

    assert server.ended(3) == 0, server.said


def test_what_does_not_end_is_ended(rig: Rig) -> None:
    server = rig.server(start=False)
    server.config(drainSeconds=2)
    server.start()
    server.wait()
    with ThreadPoolExecutor(1) as one:
        slow = one.submit(server.call, "functions/slow", {"milliseconds": 8000})
        until("it is in flight", lambda: "parse_requests_in_flight 1" in server.metrics, 5)
        began = time.monotonic()
        server.terminate()

        assert server.ended(5) == 1
        assert time.monotonic() - began < 4
        assert slow.result()[0] == 0
