"""One operator at a time: a coordination.k8s.io Lease, by the official package's own election.

A Lease is no fence: a leader that was frozen may think for a moment that it still leads. So nothing is written once the Lease has run
out by our own clock, dangerous writes carry a precondition besides, and losing the Lease ends the process: what comes up afterwards
knows nothing stale.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from kubernetes.aio.client import V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from baas_operator.api.kinds import Kind
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import ApiError
from baas_operator.telemetry.metrics import LEADING

LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
LEASE_NAME = "baas-operator"
DURATION_SECONDS = 10
RENEW_DEADLINE_SECONDS = 7
RETRY_SECONDS = 2
"""A leader that was killed is replaced after 10 s + 2 s at the most, plus what its watches take to start."""
_CALL_SECONDS = 3.0
_STOP_SECONDS = 5.0
"""What the work may take to end; the Lease is held for at least 3 s more, and the pod is given 20 s."""

_log = logging.getLogger(__name__)


class _BoundedLock(LeaseLock):  # type: ignore[misc]
    """The library's lock waits up to 5 min for an answer: far longer than a lease lives. This one gives up in time.

    `held_until` is when the Lease runs out by our own clock (monotonic), counted from before the renewal was sent.
    """

    held_until = 0.0

    def held(self) -> bool:
        """Whether nobody else can have taken the Lease yet. A process that was frozen wakes up to a no."""
        return time.monotonic() < self.held_until

    async def get(self, name: str, namespace: str) -> Any:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await super().get(name, namespace)
        except (TimeoutError, OSError) as error:
            refusal = ApiException(reason=str(error) or "no answer in time")  # what the library expects and logs
            return False, refusal

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return self._note(await self._create(name, namespace, election_record), asked)
        except (TimeoutError, OSError, ApiException):
            return False

    async def _create(self, name: str, namespace: str, election_record: Any) -> bool:
        """The library's own `create` fails in version 37: it says pretty=True where its own check wants a string."""
        lease = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        await self.api_instance.create_namespaced_lease(namespace, lease)
        return True

    def _note(self, succeeded: bool, asked: float) -> bool:
        if succeeded:
            self.held_until = asked + DURATION_SECONDS
        return succeeded

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return self._note(bool(await super().update(name, namespace, updated_record)), asked)
        except (TimeoutError, OSError):
            return False


def _election(config: electionconfig.Config) -> Any:
    """The library's election, by this process's own clock.

    The library judges a Lease, as client-go does (`LeaderElector.observedTime`), by when this process last saw its record change, so
    that the holder's clock does not matter; but it notes that time by the wall clock, which a node may set. This one keeps it by the
    monotonic clock: a node whose clock is set ahead takes no Lease that lives, and one set back waits for no dead leader.
    """

    class ByMonotonicClock(leaderelection.LeaderElection):  # type: ignore[misc]
        @property
        def observed_time_milliseconds(self) -> int:
            return int((time.time() - (time.monotonic() - self._observed)) * 1000)

        @observed_time_milliseconds.setter
        def observed_time_milliseconds(self, _now: int) -> None:
            self._observed = time.monotonic()

    return ByMonotonicClock(config)


async def lead(client: Client, config: Config, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease, run `work` while it is held, return when `work` ended or the Lease was lost.

    Raises whatever `work` raised.
    """
    lock = _BoundedLock(LEASE_NAME, config.namespace, config.identity, client.api)
    client.may_write = lock.held
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    working: set[asyncio.Task[Any]] = set()

    async def started() -> None:
        if task := asyncio.current_task():
            working.add(task)
        _log.info("leading", extra={"identity": config.identity})
        LEADING.set(1)
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not outcome.done():
                outcome.set_exception(error)
            raise
        else:
            if not outcome.done():
                outcome.set_result(None)

    async def stopped() -> None:
        _log.error("the Lease was lost")

    election = _election(
        electionconfig.Config(
            lock, lease_duration=DURATION_SECONDS, renew_deadline=RENEW_DEADLINE_SECONDS, retry_period=RETRY_SECONDS,
            onstarted_leading=started, onstopped_leading=stopped,
        )
    )  # fmt: skip
    running = asyncio.create_task(election.run())
    try:
        await asyncio.wait({running, outcome}, return_when=asyncio.FIRST_COMPLETED)
        for ended in (running, outcome):
            if ended.done():
                ended.result()
    finally:
        # The library ends what it started when the Lease is lost, but not when it is itself cancelled: without this the workers
        # would go on writing, with nothing to stop them, after the Lease was given to the other replica.
        for task in (running, *working):
            task.cancel()
        _, late = await asyncio.wait({running, *working}, timeout=_STOP_SECONDS)
        LEADING.set(0)
        if not late:
            client.may_write = None


async def release(client: Client, config: Config) -> None:
    """Let go of the Lease when stopping on purpose, so that the other replica need not wait for it to expire."""
    try:
        lease = await client.get(LEASE, config.namespace, LEASE_NAME)
        if lease and lease["spec"].get("holderIdentity") == config.identity:
            patch = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": {"holderIdentity": ""}}
            await client.merge(LEASE, config.namespace, LEASE_NAME, patch)
    except (ApiError, OSError, TimeoutError) as error:
        _log.warning("could not let go of the Lease: %s", error)
