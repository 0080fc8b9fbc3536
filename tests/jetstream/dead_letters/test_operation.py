"""An Operation on dead letters from its creation to its end, on servers with TLS and users as the operator makes them, with an operator
that is killed between its steps; and what `kubectl baas dlq` runs in a dispatcher's pod."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.operation import LetterFilter
from baas_operator.api.queue import EventQueueSpec
from baas_operator.dead_letters.command import CommandError, Place, write
from baas_operator.desired.queue import names
from baas_operator.engine.dead_letters import work_on_letters
from baas_operator.engine.errors import Waiting
from tests.jetstream.dead_letters.conftest import Queue
from tests.jetstream.dead_letters.test_inspect import letters, numbers
from tests.jetstream.users.secured import OWNER, Secured, secured
from tests.unit.objects import keyed, owner, secret
from tests.unit.policy.dead_letters import STREAMS, World


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    streams = [{"name": each, "subjects": [f"{each}.>"], "deadLetter": {}} for each in ("read", "mute")]
    with secured(Path(tmp_path_factory.mktemp("secured")), EventQueueSpec.model_validate({"streams": streams})) as made:
        asyncio.run(made.wait_whole())
        yield made


@pytest_asyncio.fixture
async def queue(servers: Secured) -> AsyncIterator[Queue]:
    connection = await servers.connect()
    try:
        yield Queue(connection)
    finally:
        await connection.close()


def made(monkeypatch: pytest.MonkeyPatch, servers: Secured, stream: str, action: str, **parameters: object) -> World:
    """Such an Operation on these servers."""
    monkeypatch.setattr(names, "CLIENT_PORT", servers.client_ports[servers.names[0]])
    world = World(action, stream=stream, queue=OWNER.name, **parameters)
    assert world.queue
    world.queue["metadata"]["namespace"] = OWNER.namespace
    world.queue["spec"]["streams"] = [STREAMS[0] | {"name": stream, "subjects": [f"{stream}.>"]}]
    whose, (login, *_) = owner(EVENT_QUEUE, OWNER.name), servers.logins[names.ADMIN]
    world.children |= keyed(
        secret(whose, names.user_secret(OWNER.name, names.ADMIN), names.COMPONENT, username=login.username, password=login.password),
        secret(whose, names.ca(OWNER.name), names.COMPONENT, **{"ca.crt": servers.authority[0]}),
    )
    return world


@pytest.mark.parametrize("killed_at", [None, 0, 1, 2, 3])
async def test_replayed_once_whenever_the_operator_is_killed(
    queue: Queue, servers: Secured, monkeypatch: pytest.MonkeyPatch, killed_at: int | None
) -> None:
    stream = f"op-{killed_at}"
    await queue.stream(stream)
    await letters(queue, stream, 60)
    world = made(monkeypatch, servers, stream, "replay-dead-letters", letters={"subject": f"{stream}.even"}, ratePerSecond=12)
    for turn in range(12):
        await world.reconcile(work_on_letters, killed=turn == killed_at)
        if world.status.get("phase") == "Succeeded":
            break

    assert world.status["phase"] == "Succeeded"
    assert sorted(await numbers(queue.connection, stream)) == list(range(2, 61, 2))
    result = world.status["result"]
    assert (result["selected"], result["left"]) == (30, 30)
    assert result["replayed"] == 30 or killed_at in (2, 3), "what was done and not noted is not counted, and not done again"
    counted = REGISTRY.get_sample_value("baas_queue_letters_replayed_total", _labels(stream))
    assert counted
    assert 0 < counted <= 30
    assert counted == 30 or killed_at is not None


def _labels(stream: str) -> dict[str, str]:
    return {"namespace": OWNER.namespace, "name": OWNER.name, "stream": stream}


async def test_purged(queue: Queue, servers: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    await queue.stream("op-purge")
    await letters(queue, "op-purge", 10)
    world = made(monkeypatch, servers, "op-purge", "purge-dead-letters", letters={"subject": "op-purge.even"}, limit=3)
    for _ in range(5):
        await world.reconcile(work_on_letters)

    assert world.status["phase"] == "Succeeded"
    assert {key: world.status["result"][key] for key in ("selected", "purged", "left")} == {"selected": 3, "purged": 3, "left": 7}
    assert REGISTRY.get_sample_value("baas_queue_letters_purged_total", _labels("op-purge")) == 3


async def test_while_nobody_answers_it_waits(servers: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made(monkeypatch, servers, "op-nobody", "replay-dead-letters")
    await world.reconcile(work_on_letters)
    with pytest.raises(Waiting, match="stream not found"):
        await world.reconcile(work_on_letters)
    monkeypatch.setattr(names, "CLIENT_PORT", 1)
    with pytest.raises(Waiting, match="did not answer"):
        await world.reconcile(work_on_letters)
    world.children = {}
    with pytest.raises(Waiting, match="no server of the queue is ready"):
        await world.reconcile(work_on_letters)


def place(servers: Secured, folder: Path) -> Place:
    """What a dispatcher's pod has."""
    (login, *_) = servers.logins[names.DISPATCHER]
    port = servers.client_ports[servers.names[0]]
    told = {"host": "localhost", "port": port, "inboxPrefix": names.inbox(names.DISPATCHER), "webhooks": []}
    told |= {"deadLetters": {"read": "workqueue", "mute": "workqueue"}}
    files = {"dispatcher.json": json.dumps(told), "username": login.username, "password": login.password, "ca.crt": servers.authority[0]}
    for name, text in files.items():
        (folder / name).write_text(text)
    return Place(folder / "dispatcher.json", folder)


async def test_a_dispatchers_pod_lists_and_shows_with_the_rights_that_it_has(queue: Queue, servers: Secured, tmp_path: Path) -> None:
    await queue.stream("read")
    await letters(queue, "read", 300)
    pod, lines = place(servers, tmp_path), list[str]()

    assert await write(pod, "read", lines.append, wanted=LetterFilter(subject="read.even")) == 150
    listed = [json.loads(each) for each in lines]
    assert [each["sequence"] for each in listed] == sorted(each["sequence"] for each in listed)
    assert all("payload" not in each and each["subject"] == "read.even" for each in listed)
    assert await write(pod, "read", lines.append, limit=7) == 7
    lines.clear()
    assert await write(pod, "read", lines.append, sequence=5) == 1
    assert json.loads(lines[0])["payload"]
    assert await write(pod, "read", lines.append, sequence=5000) == 0


async def test_why_a_pod_has_no_answer_is_a_sentence(queue: Queue, servers: Secured, tmp_path: Path) -> None:
    await queue.stream("mute")
    await letters(queue, "mute", 1)
    pod = place(servers, tmp_path)
    with pytest.raises(CommandError, match="stream nothing has no dead letters"):
        await write(pod, "nothing", print)
    with pytest.raises(CommandError, match="'now' is no time"):
        await write(pod, "mute", print, wanted=LetterFilter(since="now"))
    (tmp_path / "dispatcher.json").write_text('{"host": "localhost", "port": 1, "deadLetters": {"mute": "limits"}}')
    with pytest.raises(CommandError, match="do not answer"):
        await write(pod, "mute", print)
    with pytest.raises(CommandError, match="no dispatcher's pod"):
        await write(Place(tmp_path / "none", tmp_path), "mute", print)
