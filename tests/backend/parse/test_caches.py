"""Caches that are killed, frozen, or never there: the API goes on, and no change is lost in silence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.backend.parse.conftest import Rig
from tests.backend.parse.harness import KEYS, Server, until
from tests.backend.parse.test_stories import node

NOTES = {"className": "Note", "fields": {"title": {"type": "String"}}}


@pytest.fixture
def two(rig: Rig) -> Rig:
    """Two servers with two caches."""
    rig.cache()
    rig.cache()
    for _ in range(2):
        rig.server()
    for each in rig.servers:
        each.wait()
        until("it has its caches", lambda server=each: up(server) == 2)
    assert rig.servers[0].call("schemas/Note", NOTES, master=True)[0] == 200
    until("both know the class", lambda: all(knows(each, "Note") for each in rig.servers), 5)
    return rig


def up(server: Server) -> int:
    (line,) = [each for each in server.metrics.splitlines() if each.startswith("parse_caches_up ")]
    return int(line.split()[1])


def knows(server: Server, name: str) -> bool:
    """Whether a client may save an object of that class there."""
    return server.call(f"classes/{name}", {"title": "known"})[0] == 201


def gaps(server: Server) -> int:
    (line,) = [each for each in server.metrics.splitlines() if each.startswith("parse_livequery_gaps_total ")]
    return int(line.split()[1])


class Listener:
    """The SDK, subscribed to all notes at one server. It prints what it hears."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        self._out = process.stdout.fileno()
        self._rest = b""
        self.heard: list[list[str]] = []

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self._rest += os.read(self._out, 65536)
        *lines, self._rest = self._rest.split(b"\n")
        self.heard += [json.loads(line) for line in lines]

    def count(self, event: str, title: str | None = None) -> int:
        """How often it has heard that."""
        self._read()
        return sum(1 for what, which in self.heard if what == event and title in (None, which))

    def wait(self, event: str, title: str | None = None, *, times: int = 1, seconds: float = 15) -> float:
        return until(f"{event} {title or ''} was heard; was: {self.heard}", lambda: self.count(event, title) >= times, seconds)


_LISTEN = """
import Parse from "parse/node";
import ws from "ws";
globalThis.WebSocket = ws;
const [url, key] = process.argv.slice(2);
Parse.initialize("shop", key);
const say = (event, object) => console.log(JSON.stringify([event, object?.get?.("title") ?? ""]));
const client = new Parse.LiveQueryClient({ applicationId: "shop", serverURL: url, javascriptKey: key });
client.on("error", () => undefined);
client.open();
const subscription = client.subscribe(new Parse.Query("Note"));
for (const event of ["open", "close", "create", "update", "delete"]) subscription.on(event, (object) => say(event, object));
"""


@contextmanager
def listener(rig: Rig, server: Server) -> Iterator[Listener]:
    node(rig.folder, {})  # makes the client's folder
    script = rig.folder / "client/listen.mjs"
    script.write_text(_LISTEN)
    words = ["node", "--no-warnings", script, server.url.replace("http", "ws"), KEYS["javascriptKey"]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=script.parent) as process:
        try:
            made = Listener(process)
            made.wait("open")
            yield made
        finally:
            process.kill()


def save(server: Server, title: str) -> float:
    """Save a note; returns the seconds that it took."""
    began = time.monotonic()
    status, answer = server.call("classes/Note", {"title": title})
    assert status == 201, answer
    return time.monotonic() - began


def session(server: Server, name: str) -> str:
    status, answer = server.call("users", {"username": name, "password": "correct horse"})
    assert status == 201, answer
    return str(answer["sessionToken"])


def test_one_of_two_caches_is_killed_and_nothing_is_missed(two: Rig, figure: Any) -> None:
    here, there = two.servers
    with listener(two, here) as heard:
        save(there, "before")
        heard.wait("create", "before")
        two.caches[0].kill()
        slowest = max(save(there, f"during {number}") for number in range(40))
        for number in range(40):
            heard.wait("create", f"during {number}")
        two.caches[0].start()
        until("it is back", lambda: up(here) == 2 and up(there) == 2, 20)
        save(there, "after")
        heard.wait("create", "after")

        assert [heard.count("create", f"during {number}") for number in range(40)] == [1] * 40
        assert heard.count("open") == 1, heard.heard
        assert slowest < 1
        figure(f"one of two caches killed: 40 of 40 events once, slowest save {slowest * 1000:.0f} ms")


def test_all_caches_are_killed_and_the_api_goes_on(two: Rig, figure: Any) -> None:
    here, there = two.servers
    token = session(here, "alice")
    with listener(two, here) as heard:
        for each in two.caches:
            each.kill()
        times = []
        for number in range(20):
            began = time.monotonic()
            assert there.call("users/me", session=token)[0] == 200
            times.append(time.monotonic() - began)
            times.append(save(there, f"unheard {number}"))
        save(here, "at home")
        heard.wait("create", "at home")  # a server's own clients need no cache
        assert here.ready[0] == there.ready[0] == 200

        for each in two.caches:
            each.start()
        back = heard.wait("open", times=2, seconds=30)  # told to connect anew, as events are missing
        until("the caches are back", lambda: up(here) == 2 and up(there) == 2, 20)
        save(there, "after")
        heard.wait("create", "after")
        assert gaps(here) >= 1
        slowest = max(times) * 1000
        figure(f"all caches killed: 41 of 41 requests served, slowest {slowest:.0f} ms; clients told {back:.1f} s after their return")


def test_frozen_caches_do_not_hold_anybody_up(two: Rig, figure: Any) -> None:
    here, there = two.servers
    token = session(here, "alice")
    for each in two.caches:
        each.signal(signal.SIGSTOP)
    try:
        times = []
        for number in range(20):
            began = time.monotonic()
            assert there.call("users/me", session=token)[0] == 200
            times.append(time.monotonic() - began)
            times.append(save(here, f"during {number}"))
            time.sleep(0.1)
    finally:
        for each in two.caches:
            each.signal(signal.SIGCONT)
    until("they are used again", lambda: up(here) == 2 and up(there) == 2, 30)
    assert max(times) < 1
    figure(f"all caches frozen: 40 of 40 requests served, slowest {max(times) * 1000:.0f} ms, mean {sum(times) / len(times) * 1000:.0f} ms")


def test_a_session_that_ended_while_a_cache_was_frozen_is_not_believed(two: Rig) -> None:
    here, there = two.servers
    token = session(here, "alice")
    assert there.call("users/me", session=token)[0] == 200
    for each in two.caches:
        each.signal(signal.SIGSTOP)
    assert here.call("logout", {}, session=token)[0] == 200
    for each in two.caches:
        each.signal(signal.SIGCONT)

    until("all servers refuse it", lambda: {each.call("users/me", session=token)[0] for each in two.servers} == {400}, 5.5)


def test_a_class_that_one_server_makes_is_known_to_the_other(two: Rig, figure: Any) -> None:
    here, there = two.servers
    assert not knows(there, "Order")

    assert here.call("schemas/Order", {"className": "Order", "fields": {"title": {"type": "String"}}}, master=True)[0] == 200
    told = until("it is told", lambda: knows(there, "Order"), 2)

    for each in two.caches:
        each.kill()
    assert here.call("schemas/Bill", {"className": "Bill", "fields": {"title": {"type": "String"}}}, master=True)[0] == 200
    found = until("it finds out", lambda: knows(there, "Bill"), 7)
    figure(f"a new class was known to another server after {told:.2f} s, without caches after {found:.1f} s")


def test_it_starts_without_any_cache(rig: Rig) -> None:
    lost = rig.cache()
    lost.kill()
    server = rig.server()

    server.wait()
    token = session(server, "alice")
    assert server.call("users/me", session=token)[0] == 200
    assert up(server) == 0
    lost.start()
    until("it is used", lambda: up(server) == 1, 15)


def test_a_cache_that_asks_for_another_password_is_no_cache(rig: Rig) -> None:
    rig.cache()
    server = rig.server(start=False)
    server.write("cache", "wrong")
    server.start()

    server.wait()
    token = session(server, "alice")
    assert server.call("users/me", session=token)[0] == 200
    assert up(server) == 0
    assert "wrong" not in server.said
