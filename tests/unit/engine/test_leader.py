"""The Lease: no call outlives it, and whoever could not renew it writes nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio.client import V1Lease, V1LeaseSpec, V1ObjectMeta
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import electionconfig

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


class Clocks:
    """The clocks of one node. `wall` may be set by anybody."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 1000.0
        faked = SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.monotonic)
        monkeypatch.setattr("baas_operator.engine.leader.time", faked)
        monkeypatch.setattr("kubernetes.aio.leaderelection.leaderelection.time", faked)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def candidate(found: V1Lease) -> Any:
    """An election that `me` takes part in, where the Lease is as given."""

    async def never() -> None: ...

    return leader._election(
        electionconfig.Config(
            lock(found), lease_duration=leader.DURATION_SECONDS, renew_deadline=leader.RENEW_DEADLINE_SECONDS,
            retry_period=leader.RETRY_SECONDS, onstarted_leading=never, onstopped_leading=never,
        )
    )  # fmt: skip


def held_by_another(renewed: datetime) -> V1Lease:
    return V1Lease(
        metadata=V1ObjectMeta(name="baas-operator"),
        spec=V1LeaseSpec(holder_identity="another", lease_duration_seconds=10, acquire_time=renewed, renew_time=renewed),
    )


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(seconds=-31), timedelta(), timedelta(hours=1)])
async def test_a_lease_that_is_renewed_is_never_taken_whatever_its_holders_clock_says(
    monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    clocks = Clocks(monkeypatch)
    lease = held_by_another(datetime.fromtimestamp(clocks.wall, UTC) + ahead)
    election = candidate(lease)

    for _ in range(20):
        assert not await election.try_acquire_or_renew()
        lease.spec.renew_time += timedelta(seconds=leader.RETRY_SECONDS)
        clocks.pass_by(leader.RETRY_SECONDS)

    for _ in range(leader.DURATION_SECONDS // leader.RETRY_SECONDS):
        assert not await election.try_acquire_or_renew(), "not renewed any more, and not run out yet"
        clocks.pass_by(leader.RETRY_SECONDS)
    clocks.pass_by(0.1)
    assert await election.try_acquire_or_renew()


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_neither_takes_a_lease_that_lives_nor_waits_for_a_dead_leader(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    clocks = Clocks(monkeypatch)
    election = candidate(held_by_another(datetime.fromtimestamp(clocks.wall, UTC)))
    assert not await election.try_acquire_or_renew()

    clocks.wall += step
    clocks.pass_by(leader.RETRY_SECONDS)
    assert not await election.try_acquire_or_renew()

    clocks.pass_by(leader.DURATION_SECONDS)
    assert await election.try_acquire_or_renew()


def test_the_times_fit_into_each_other() -> None:
    """A leader gives up before its Lease can be taken, with a call's time to spare."""
    assert leader.RETRY_SECONDS < leader.RENEW_DEADLINE_SECONDS < leader.DURATION_SECONDS
    assert leader.DURATION_SECONDS + leader.RETRY_SECONDS <= 15
