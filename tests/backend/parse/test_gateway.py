"""Parse Server behind a real Envoy with the engine's own routes: the SDK's stories, and the scenario while servers are rolled under it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.gateway import GatewayInput, GatewaySpec
from baas_operator.desired.instance.parse import PARSE
from baas_operator.desired.meta import Owner
from tests.backend.gateway.harness.envoy import Gateway, until
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.load import ask
from tests.backend.gateway.harness.names import Names, names
from tests.backend.parse.conftest import Rig, rig_in
from tests.backend.parse.harness import KEYS, Server
from tests.backend.parse.test_stories import ALL, node
from tests.harness import stories
from tests.jetstream.harness.servers import free_ports

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
LEFT_SECONDS = 4.0
"""How long a pod goes on serving after it left DNS; its preStop is twice that."""
FOUND_SECONDS = 3.0


@dataclass
class Cluster:
    """Servers on addresses of their own, as pods are, and a gateway before them."""

    rig: Rig
    gateway: Gateway
    dns: Names
    ports: tuple[int, int]

    def server(self, address: str) -> Server:
        return self.rig.server(address=address, ports=self.ports)

    @property
    def environment(self) -> dict[str, str]:
        keys = {"JAVASCRIPT_KEY": KEYS["javascriptKey"], "MASTER_KEY": KEYS["masterKey"]}
        return {"URL": f"{self.gateway.url}/parse", "APP_ID": "shop", **keys, **ALL}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(postgres_programs: Path) -> AsyncIterator[Cluster]:
    (port, admin) = free_ports(2)
    given = Given(Owner("BaasInstance", "prod", "shop"), BaasInstanceSpec.model_validate({"engine": "parse"}), Images(), jwks="")
    upstreams = tuple(replace(each, port=port, health_port=admin) for each in PARSE.upstreams(given))
    wanted = GatewayInput(
        upstreams=upstreams, routes=tuple(PARSE.routes(given)), jwks=key_set(Key("first")), issuer=ISSUER, spec=GatewaySpec(replicas=1),
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(names(*ADDRESSES[:2]))
        manager = rig_in(postgres_programs, files=True)
        rig = await asyncio.to_thread(manager.__enter__)
        stack.callback(manager.__exit__, None, None, None)
        rig.cache()
        rig.cache()
        gateway = Gateway(rig.folder / "gateway", wanted, bootstrap=dns.asked_by)
        made = Cluster(rig, gateway, dns, (port, admin))
        for each in [made.server(address) for address in ADDRESSES[:2]]:
            await asyncio.to_thread(each.wait)
        gateway.start()
        stack.callback(gateway.stop)
        await gateway.wait()
        yield made


@pytest.mark.parametrize("story", stories.PARSE)
async def test_a_story_through_the_gateway(cluster: Cluster, story: str) -> None:
    said = await asyncio.to_thread(node, cluster.rig.folder, cluster.environment, story)

    assert said.returncode == 0, f"{story}:\n{said.stderr}\n{[each.said[-900:] for each in cluster.rig.servers]}"


async def test_a_request_waits_for_a_primary_that_moves(cluster: Cluster, figure: Callable[[str], None]) -> None:
    """PostgreSQL that is started again is as one that moves: the servers know that it is away, and say that they have done nothing."""
    postgres, servers = cluster.rig.postgres, cluster.rig.servers[:2]
    headers = {"x-parse-application-id": "shop", "x-parse-javascript-key": KEYS["javascriptKey"]}
    users = f"{cluster.gateway.url}/parse/users"

    async def known() -> bool:
        return {each.ready[0] for each in servers} == {503}

    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.to_thread(postgres.kill)
        await until(known, seconds=5, what="both know of it")
        asked = [
            asyncio.create_task(ask(session, "POST", users, json={"username": f"held{number}", "password": "correct horse"}))
            for number in range(20)
        ]
        asked.append(asyncio.create_task(ask(session, "GET", f"{cluster.gateway.url}/parse/config")))
        await asyncio.sleep(0.3)
        assert not [each for each in asked if each.done()]
        postgres.start()
        answers = await asyncio.gather(*asked)
    figure(f"{len(answers)} requests waited for the database, {max(each.seconds for each in answers):.1f} s at the most")
    assert [each.status for each in answers] == [201] * 20 + [200], answers
    assert not [each for each in answers if "baas-undone" in each.headers]


@pytest.mark.parametrize("status", [200, 503])
async def test_a_function_can_not_have_itself_called_twice(cluster: Cluster, status: int) -> None:
    """Cloud code sets headers of its answer, and nothing between Parse Server and the gateway's router takes any away."""
    headers = {"x-parse-application-id": "shop", "x-parse-javascript-key": KEYS["javascriptKey"]}
    by, url = f"undone-{status}", f"{cluster.gateway.url}/parse"
    async with aiohttp.ClientSession(headers=headers) as session:
        answer = await ask(session, "POST", f"{url}/functions/undone", json={"by": by, "status": status})
        where = {"where": json.dumps({"by": by})}
        found = await ask(session, "GET", f"{url}/classes/Done", params=where, headers={"x-parse-master-key": KEYS["masterKey"]})
    assert (answer.status, answer.headers.get("x-mine"), answer.headers.get("baas-undone")) == (status, "1", None)
    assert len(json.loads(found.body)["results"]) == 1


async def test_servers_are_rolled_under_the_scenario(cluster: Cluster, figure: Callable[[str], None]) -> None:
    scenario = asyncio.create_task(asyncio.to_thread(node, cluster.rig.folder, cluster.environment, "--loop", "45"))
    await asyncio.sleep(2)
    old = cluster.rig.servers[:2]
    exits = []
    for leaving, address, left in zip(old, (ADDRESSES[2], ADDRESSES[0]), ([ADDRESSES[1]], [ADDRESSES[2]]), strict=True):
        fresh = cluster.server(address)
        await asyncio.to_thread(fresh.wait)
        cluster.dns.addresses = [*cluster.dns.addresses, address]
        await asyncio.sleep(FOUND_SECONDS)
        cluster.dns.addresses = [*left, address]
        await asyncio.sleep(LEFT_SECONDS)
        leaving.terminate()
        exits.append(await asyncio.to_thread(leaving.ended, 10))
    assert not scenario.done(), "the scenario ended before the roll-out did"
    said = await scenario
    assert said.returncode == 0, said.stderr
    counted = json.loads(said.stdout)

    assert exits == [0, 0]
    assert (counted["failed"], counted["attemptsFailed"]) == (0, 0), counted
    assert counted["reopened"] >= 1, "LiveQuery's clients are told when their server goes"
    lost = f"{counted['eventsMissed']} of {counted['events'] + counted['eventsMissed']} events missed while LiveQuery connected anew"
    figure(
        f"two servers rolled: {counted['requests']} requests, none failed, the SDK's retries not counted; {lost}; {counted['milliseconds']}"
    )
