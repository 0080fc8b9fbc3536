"""The Lease: no call outlives it, and whoever could not renew it writes nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException

from baas_operator.api.kinds import CONFIG_MAP
from baas_operator.engine import leader
from baas_operator.engine.client import Client
from baas_operator.engine.errors import ApiError

RECORD = SimpleNamespace(
    holder_identity="me", lease_duration="10", acquire_time="2026-05-01 12:00:00.000000",
    renew_time="2026-05-01 12:00:00.000000",
)  # fmt: skip


class Api:
    """The library's API object, answering as a story says."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def _answer(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer == "never":
            await asyncio.Event().wait()
        return self.answer

    create_namespaced_lease = read_namespaced_lease = replace_namespaced_lease = _answer


def lock(answer: Any) -> Any:
    made = leader._BoundedLock("baas-operator", "baas-system", "me", SimpleNamespace())
    made.api_instance = Api(answer)
    made.lease_reference = SimpleNamespace(spec=SimpleNamespace())
    return made


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "_CALL_SECONDS", 0.01)


async def test_no_call_waits_for_longer_than_the_lease_lives() -> None:
    assert await lock("never").create("baas-operator", "baas-system", RECORD) is False
    assert await lock("never").update("baas-operator", "baas-system", RECORD) is False
    found, _ = await lock("never").get("baas-operator", "baas-system")
    assert found is False


@pytest.mark.parametrize("error", [ApiException(status=409), OSError("refused"), TimeoutError()])
async def test_a_lease_that_could_not_be_made_is_not_held(error: BaseException) -> None:
    made = lock(error)

    assert await made.create("baas-operator", "baas-system", RECORD) is False
    assert not made.held()


async def test_it_is_held_for_its_duration_from_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("baas_operator.engine.leader.time", SimpleNamespace(monotonic=lambda: clock.now))
    made = lock(SimpleNamespace())
    assert not made.held()

    assert await made.create("baas-operator", "baas-system", RECORD)
    clock.now += leader.DURATION_SECONDS - 0.1
    assert made.held()

    clock.now += 0.2
    assert not made.held(), "a process that was frozen wakes up to a no"


async def test_without_the_lease_nothing_is_written_and_all_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(Configuration())
    asked = []

    async def call_api(method: str, *_: Any, **__: Any) -> Any:
        asked.append(method)
        return SimpleNamespace(status=200, read=lambda: asyncio.sleep(0, b"{}"))

    monkeypatch.setattr(client.api, "call_api", call_api)
    client.may_write = lambda: False
    async with client:
        with pytest.raises(ApiError, match="LeaseTooOld"):
            await client.merge(CONFIG_MAP, "prod", "x", {})
        with pytest.raises(ApiError, match="LeaseTooOld"):
            await client.create(CONFIG_MAP, {"metadata": {"name": "x", "namespace": "prod"}})
        with pytest.raises(ApiError, match="LeaseTooOld"):
            await client.delete(CONFIG_MAP, "prod", "x", uid="u")
        await client.get(CONFIG_MAP, "prod", "x")
    assert asked == ["GET"]


def test_the_times_fit_into_each_other() -> None:
    """A leader gives up before its Lease can be taken, with a call's time to spare."""
    assert leader.RETRY_SECONDS < leader.RENEW_DEADLINE_SECONDS < leader.DURATION_SECONDS
    assert leader.DURATION_SECONDS + leader.RETRY_SECONDS <= 15
