"""A switchover is asked of the agent beside the primary; what it does not do now is asked again."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION, Kind
from baas_operator.desired.meta import Manifest
from baas_operator.engine import effects, monitor
from baas_operator.engine.errors import ApiError, Refused, Waiting
from baas_operator.engine.store import Key, Store
from baas_operator.observe.view import View
from baas_operator.policy.plan import RestartPostgres, StartOperation, Switchover
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, keyed, own, owner, secret

ASKED = Switchover("db", "db-0", "10.0.0.0", "db-1")


def view(*, password: bool = True) -> View:
    whose = owner(DATABASE_REPLICA, "db")
    secrets = [secret(whose, "db-role-patroni", "postgresql", username="u", password="p")] if password else []
    key = (DATABASE_REPLICA.name, "db")
    return View(resource=own(OPERATION, "op"), children={}, nodes={}, now=datetime.now(UTC), other_children={key: keyed(*secrets)})


async def bring_about(it: View) -> None:
    await effects.bring_about(ASKED, it, None, None)  # type: ignore[arg-type]


async def test_the_primarys_agent_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    async def agent(host: str, port: int, **more: str) -> tuple[int, str]:
        asked.append((host, port, more))
        return 200, "db-1 leads."

    monkeypatch.setattr(monitor, "switch_over", agent)
    await bring_about(view())

    assert asked == [("10.0.0.0", 8010, {"leader": "db-0", "candidate": "db-1", "patient": False, "username": "u", "password": "p"})]


@pytest.mark.parametrize("answer", [(503, "db-2 does not confirm."), (412, "db-0 does not lead."), aiohttp.ClientError(), TimeoutError()])
async def test_what_it_does_not_do_now_is_asked_again(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    async def agent(*_: Any, **__: Any) -> tuple[int, str]:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(monitor, "switch_over", agent)
    with pytest.raises(Waiting):
        await bring_about(view())


@pytest.mark.parametrize(("says", "done"), [(200, True), (412, False), (None, False)])
async def test_beside_an_agent_of_an_older_image_that_does_not_know_how_patroni_itself_is_asked(
    monkeypatch: pytest.MonkeyPatch, says: int | None, done: bool
) -> None:
    asked: list[tuple[Any, ...]] = []

    async def agent(*_: Any, **__: Any) -> tuple[int, str]:
        return 404, "404: Not Found"

    async def patroni(host: str, port: int, **more: str) -> tuple[int, str]:
        asked.append((host, port, more))
        if says is None:
            raise TimeoutError
        return says, "so it is"

    monkeypatch.setattr(monitor, "switch_over", agent)
    monkeypatch.setattr(monitor, "patroni_switch_over", patroni)
    with nullcontext() if done else pytest.raises(Waiting):
        await bring_about(view())

    assert asked == [("10.0.0.0", 8008, {"leader": "db-0", "candidate": "db-1", "username": "u", "password": "p"})]


async def test_without_the_password_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Waiting, match="secret"):
        await bring_about(view(password=False))


async def test_a_restart_is_asked_of_patroni(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    async def patroni(host: str, port: int, **more: str) -> tuple[int, str]:
        asked.append((host, port, more))
        return 200, "ok"

    monkeypatch.setattr(monitor, "patroni_restart", patroni)
    whose = owner(DATABASE_REPLICA, "db")
    children = keyed(secret(whose, "db-role-patroni", "postgresql", username="u", password="p"))
    it = View(resource=own(DATABASE_REPLICA, "db"), children=children, nodes={}, now=datetime.now(UTC))
    await effects.bring_about(RestartPostgres("db-0", "10.0.0.0"), it, None, None)  # type: ignore[arg-type]

    assert asked == [("10.0.0.0", 8008, {"username": "u", "password": "p"})]


# --- Operations that the operator begins --------------------------------------------------------------------------------


async def test_an_operation_is_made_once() -> None:
    api, store = StandInApi(), Store()
    made = owner(DATABASE_REPLICA, "db").child(OPERATION.api_version, OPERATION.name, "db-failback-1", "postgresql", spec={"reason": "so"})
    it = View(resource=own(DATABASE_REPLICA, "db"), children={}, nodes={}, now=datetime.now(UTC))
    for _ in range(2):
        await effects.bring_about(StartOperation(made), it, api, store)  # type: ignore[arg-type]

    assert api.writes == [("create", "Operation/db-failback-1")]
    assert store.children(Key(DATABASE_REPLICA.name, NAMESPACE, "db")), "the next look sees it, whether or not the watch has told of it"


async def test_one_that_is_refused_is_told() -> None:
    class Refusing(StandInApi):
        async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
            raise ApiError(403, "Forbidden", "may not create operations")

    made = owner(DATABASE_REPLICA, "db").child(OPERATION.api_version, OPERATION.name, "db-failback-1", "postgresql", spec={})
    it = View(resource=own(DATABASE_REPLICA, "db"), children={}, nodes={}, now=datetime.now(UTC))
    with pytest.raises(Refused, match="may not create operations"):
        await effects.bring_about(StartOperation(made), it, Refusing(), Store())  # type: ignore[arg-type]
