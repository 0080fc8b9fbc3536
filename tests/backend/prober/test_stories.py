"""What a prober tells of a real data path: that it works, how it fails, and that it works again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from baas_operator.api.instance.gateway import Gateway as ApiGateway
from baas_operator.desired.instance.gateway import gateway_spec
from tests.backend.prober.harness import DataPath, cpu_seconds, resident_mebibytes


async def test_transactions_succeed_and_nothing_is_left_behind(path: DataPath) -> None:
    await path.sql("INSERT INTO baas_probe.beats VALUES (65535, 'of a pod that is long gone', now() - interval '3 hours')")
    with path.prober() as prober:
        await prober.began()
        read, write = await prober.of("read"), await prober.of("write")
        assert (read.failures, write.failures, write.failure, write.trouble) == (0, 0, None, None), prober.process.said
        (row,) = await path.rows()
        assert row["slot"] != 65535, "what a prober left behind that was killed is removed"
        _, metrics = await prober.page("/metrics")
        assert 'baas_probe_total{result="ok",transaction="write"}' in metrics

        await prober.when("write", failing=False)
        assert len(await path.rows()) == 1, "a prober writes over what it wrote"

        assert prober.process.end(signal.SIGTERM) == 0
    assert await path.rows() == []


async def test_a_limit_of_clients_that_a_round_is_above_is_none_of_probers(path: DataPath) -> None:
    before = path.gateway.given
    limits = {"perClient": {"requestsPerSecond": 1, "burst": 2}}
    spec = gateway_spec(ApiGateway.model_validate({"limits": limits}), tls=False, trusted_hops=0)
    try:
        path.gateway.change(replace(before, spec=spec))
        told = [(await path.get("/rest/v1/orders", key="anon"))[0] for _ in range(3)]
        while 429 not in told[-3:]:  # until it is in effect
            told.append((await path.get("/rest/v1/orders", key="anon"))[0])
            assert len(told) < 1000, told[-5:]
        with path.prober() as prober:
            await prober.began()
            for name in ("read", "write"):
                said = await prober.when(name, failing=False)
                assert (said.failures, said.failure) == (0, None), prober.process.said
    finally:
        path.gateway.change(before)


async def test_its_role_reaches_nothing_else_and_nobody_else_reaches_its_rows(path: DataPath) -> None:
    await path.sql("CREATE TABLE IF NOT EXISTS public.orders (id int)")
    await path.sql("GRANT ALL ON public.orders TO anon")
    await asyncio.sleep(0.5)  # PostgREST is told of it

    for key in ("anon", "service_role"):
        status, said = await path.get("/rest/v1/beats", key=key, accept_profile="baas_probe")
        assert status in (401, 403), f"{key} reads what probers wrote: {said}"
    status, said = await path.get("/rest/v1/orders", key="probe")
    assert status in (401, 403), f"the probers' key reads a table: {said}"
    assert (await path.get("/rest/v1/orders", key="anon"))[0] == 200, "while its own key reads it"
    assert (await path.get("/rest/v1/beats", key="probe", accept_profile="baas_probe"))[0] == 200


async def test_a_database_that_is_killed_is_told_in_a_sentence_within_the_deadline_and_so_is_its_return(
    path: DataPath, figure: Callable[[str], None]
) -> None:
    interval, deadline = 1.0, 2.0
    with path.prober(interval=interval, deadline=deadline) as prober:
        await prober.began()
        path.database.kill(signal.SIGKILL)
        killed = time.monotonic()
        try:
            for name in ("read", "write"):
                said = await prober.when(name, failing=True, seconds=1.2 * interval + deadline + 1)
                assert said.failure is not None
                assert "/rest/v1/beats: " in said.failure, said.failure
                figure(f"{name} failed {time.monotonic() - killed:.2f} s after the database was killed: {said.failure}")
            began = (await prober.of("write")).failure_at
            again = await prober.when("write", failing=True)
            assert again.failure_at == began, "a run of failures keeps its beginning"
        finally:
            path.database.start()
            await path.database.wait()
        back = time.monotonic()
        well = await prober.when("write", failing=False)
        figure(f"write succeeded {time.monotonic() - back:.2f} s after the database took connections again")
        assert well.failure is not None, "how it failed last is still known"
        await prober.when("read", failing=False)


async def test_a_gateway_that_hangs_costs_one_attempt_a_round(path: DataPath) -> None:
    interval, deadline = 1.0, 0.5
    with path.prober(interval=interval, deadline=deadline) as prober:
        await prober.began()
        await prober.when("write", failing=False)  # the gateway may still have pods out that the test before broke
        before = (await prober.of("write")).attempts
        path.freeze_gateway()
        try:
            said = await prober.when("write", failing=True)
            assert said.failure is not None
            assert said.failure.endswith("no answer within 0.5 s"), said.failure
            await asyncio.sleep(5)
            attempts = (await prober.of("write")).attempts - before
            assert attempts <= 9, f"{attempts} attempts in about six rounds"
        finally:
            path.thaw_gateway()
        await prober.when("write", failing=False)


async def test_what_it_costs(path: DataPath, figure: Callable[[str], None]) -> None:
    """Memory and CPU of the process, and transactions of the database."""
    count = "SELECT xact_commit + xact_rollback AS made FROM pg_stat_database WHERE datname = current_database()"
    with path.prober(interval=1.0) as prober:
        await prober.began()
        process = Path(f"/proc/{prober.process.pid}")
        cpu, rounds = cpu_seconds(process), (await prober.of("write")).attempts
        (before,) = await path.sql(count)
        await asyncio.sleep(15)
        (after,) = await path.sql(count)
        done = (await prober.of("write")).attempts - rounds
        spent = cpu_seconds(process) - cpu
        resident = resident_mebibytes(process)
    figure(
        f"prober: {resident:.1f} MiB resident, {1000 * spent / done:.1f} ms of CPU a round, "
        f"{(after['made'] - before['made']) / done:.1f} database transactions a round (of read and write)"
    )
    assert resident < 36, "three of them run beside every backend"
