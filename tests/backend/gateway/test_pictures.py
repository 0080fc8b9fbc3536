"""What the dashboards' panels show of a gateway: a real Envoy, scraped by a real Prometheus by what the operator's PodMonitor says, through
a stand-in of the API server's way to pods. A component fails for some seconds meanwhile.

Prometheus is told of the pod as it would find it in a cluster, by the labels that its discovery gives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from baas_lab.cache import Cache
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.instance.gateway import GatewaySpec, Limits, Rate
from baas_operator.desired.meta import Owner
from bench.pictures import boards, prometheus, taken
from bench.pictures.__main__ import read_board
from bench.pictures.chosen import MAIN
from bench.pictures.lab import monitors_of, wait_scraped
from bench.pictures.samples import Asked
from bench.pictures.scrape import INTERVAL_SECONDS, configuration
from tests.backend.gateway.conftest import Build, World
from tests.backend.gateway.harness.load import load
from tests.jetstream.harness.servers import free_ports

pytestmark = pytest.mark.prometheus

ROWS = {
    "executive": {"Requests by result", "Time to answer", "Answered without an error, 30 days", "Answered without an error, by the hour"},
    "on-call": {"Gateway", "Components, as the gateway sees them"},
    "debug": {"Gateway, by route and by pod", "Components"},
}
"""Panels, or whole rows, that ask a gateway; one of them asks a prober, too."""
OF_PROBERS = "Synthetic transactions in a row that failed"
POD = "shop-gateway-6d5f"
META = {
    "namespace": "shop", "pod_name": POD, "pod_phase": "Running", "pod_container_name": "gateway", "pod_container_port_name": "health",
    "pod_container_port_number": "8001", "pod_label_baas_operator_io_kind": "BaasInstance", "pod_label_baas_operator_io_name": "shop",
    "pod_label_app_kubernetes_io_component": "gateway",
}  # fmt: skip
VALUES = {"namespace": "shop", "backend": "shop", "database": "shop-db", "queue": "shop-queue"}
CALM_SECONDS, FAULT_SECONDS = 14.0, 8.0


@asynccontextmanager
async def way_to_pods(health_url: str) -> AsyncIterator[str]:
    """A stand-in of the API server: its way to the gateway's pod and to nothing else; host:port."""

    async def passed(request: web.Request) -> web.Response:
        async with aiohttp.ClientSession() as session, session.get(f"{health_url}/metrics") as answer:
            return web.Response(status=answer.status, body=await answer.read(), headers={"content-type": answer.headers["content-type"]})

    app = web.Application()
    app.router.add_get(f"/api/v1/namespaces/shop/pods/{POD}:8001/proxy/metrics", passed)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_ports(1)[0]
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@dataclass
class Seen:
    """What the panels show, by dashboard; `began` and `ended` are when the component failed, `targets` what was scraped."""

    window: taken.Window
    values: dict[str, str]
    began: float
    ended: float
    asked: dict[str, dict[str, Asked]]
    targets: list[dict[str, Any]]
    unoffered: list[str]

    def of(self, board: str, title: str, name: str, *, fault: bool) -> list[float]:
        """Values of a series while the component failed and a scrape had seen it; or well before it did."""
        (series,) = [each for each in self.asked[board][title].series if each.name == name]
        at = [self.window.start + number * self.window.step for number in range(len(series.values))]
        since, until = (self.began + 2 * INTERVAL_SECONDS, self.ended) if fault else (self.began - 8, self.began)
        return [value for time_, value in zip(at, series.values, strict=True) if value is not None and since <= time_ <= until]


@pytest_asyncio.fixture
async def seen(build: Build) -> Seen:
    """A gateway with limits that is asked all the time, before components of which one fails for a while."""
    world: World = await build(spec=GatewaySpec(replicas=1, limits=Limits(per_key=Rate(40, 40))))
    owner = Owner("BaasInstance", "shop", "shop", "0")
    monitors = [each for each in monitors_of(owner, BaasInstanceSpec()) if each["metadata"]["name"] == "shop-gateway"]
    target = {"targets": ["10.0.0.1:8001"], "labels": {f"__meta_kubernetes_{name}": value for name, value in META.items()}}
    async with way_to_pods(world.gateway.health_url) as address:
        config = configuration(monitors, address=address, targets={"static_configs": [target]})
        with prometheus.running(await asyncio.to_thread(prometheus.program, Cache()), config) as watching:
            rest, other = f"{world.gateway.url}/rest/v1/notes", f"{world.gateway.url}/other/v1/x"
            async with (
                load(rest, headers=world.anon, reads=20),
                load(other, headers=world.anon, reads=5, writes=2),
                load(rest, headers={}, reads=1),
            ):
                await asyncio.to_thread(wait_scraped, watching, {each["job_name"] for each in config["scrape_configs"]})
                start = time.time()
                await asyncio.sleep(CALM_SECONDS)
                began, world.other.status = time.time(), 500
                await asyncio.sleep(FAULT_SECONDS)
                ended, world.other.status = time.time(), 200
                await asyncio.sleep(CALM_SECONDS)
            window = taken.Window(start, time.time(), INTERVAL_SECONDS)
            values = VALUES | {"__rate_interval": boards.rate_interval(INTERVAL_SECONDS, INTERVAL_SECONDS)}
            asked = {
                name: {each.title: await asyncio.to_thread(taken.ask, watching, each, values, window) for each in read_board(name).panels}
                for name in MAIN
            }
            unoffered = [each for name in MAIN for each in taken.unoffered(watching, read_board(name), values, window)]
            return Seen(window, values, began, ended, asked, await asyncio.to_thread(watching.targets), unoffered)


def of_gateway(name: str) -> list[boards.Panel]:
    """Panels of a dashboard that ask a gateway alone."""
    return [each for each in read_board(name).panels if {each.title, each.row} & ROWS[name] and each.title != OF_PROBERS]


async def test_the_panels_of_a_gateway_show_what_happened(seen: Seen) -> None:
    (target,) = seen.targets
    assert target["labels"] == {
        "namespace": "shop", "pod": POD, "container": "gateway", "job": "shop/shop-gateway", "endpoint": "health", "scope": "shop",
        "component": "gateway", "instance": "10.0.0.1:8001",
    }  # fmt: skip

    nothing = [
        sentence
        for name, asked in seen.asked.items()
        for sentence in taken.missing(name, read_board(name), [asked[each.title] for each in of_gateway(name)], seen.values, "nothing")
    ]
    assert nothing == []

    assert max(seen.of("on-call", "Errors of all requests", "5xx", fault=False)) == 0
    assert max(seen.of("on-call", "Errors of all requests", "5xx", fault=True)) > 0.1, "7 of 28 requests a second fail"
    assert max(seen.of("executive", "Requests by result", "2xx", fault=False)) == pytest.approx(27, abs=6)
    assert max(seen.of("on-call", "Turned away: limits and keys", "401, no good key", fault=False)) == pytest.approx(1, abs=0.6)
    assert {each.name for each in seen.asked["on-call"]["Errors by component"].series} == {"other"}
    assert {each.name for each in seen.asked["debug"]["Requests by pod"].series} == {POD}
    assert max(seen.of("debug", "Requests by route", "rest_v1_reads", fault=True)) == pytest.approx(21, abs=5)

    assert len(seen.unoffered) == 4 * len(MAIN), "there is no operator here, who tells of backends, databases and queues"
    assert seen.unoffered[0].startswith("Backend · executive: $namespace offers [], and not shop: label_values(baas_condition{")
