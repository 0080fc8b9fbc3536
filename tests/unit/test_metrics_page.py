"""docs/monitoring.md tells of metrics that there are: of the operator and the dispatchers by the reference, which is made from them, and of
the agents beside a queue's servers by what they answer; and where they are."""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, components
from baas_operator.desired.meta import Owner
from baas_operator.queue_agent.main import Agent
from baas_operator.queue_agent.server import Place

DOCS = Path(__file__).parents[2] / "docs"
PAGE, REFERENCE = ((DOCS / name).read_text() for name in ("monitoring.md", "reference.md"))


async def of_agents(folder: Path) -> set[str]:
    agent = Agent(Place("events-0", "localhost"), (folder,), folder)
    agent.reloader.reloads["taken"] = 1
    async with TestClient(TestServer(agent.app())) as client:
        text = await (await client.get("/metrics")).text()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def of(section: str) -> set[str]:
    """By the reference."""
    return set(re.findall(r"^\| `(baas_\w+)` \|", REFERENCE.split(f"## Metrics of the {section}")[1].split("\n## ")[0], re.M))


def told(source: str) -> set[str]:
    rows = re.findall(rf"^\|[^|]+\|([^|]+)\| {source} \|$", PAGE, re.M)
    return {metric for row in rows for metric in re.findall(r"`(baas_\w+)`", row)}


async def test_an_agent_has_all_that_is_told_of_it_and_nothing_else(tmp_path: Path) -> None:
    assert told("agent") == await of_agents(tmp_path)


def test_what_is_told_of_dispatchers_and_the_operator_is_there() -> None:
    assert told("dispatchers") - of("dispatchers") == set()
    assert told("operator") - of("operator") == set()
    assert len(told("dispatchers")) > 10
    assert of("dispatchers") & of("operator") == set()


def test_what_waits_for_somebody_is_on_the_page() -> None:
    """All of dead letters and outboxes; of webhooks what alerts do not go by is left to the reference."""
    ours = {each for each in of("dispatchers") if each.startswith(("baas_dead_letters", "baas_outbox"))}
    assert ours - told("dispatchers") == {"baas_outbox_uncertain_total"}


def test_policies_of_ones_own_let_prometheus_to_where_gateways_and_probers_have_metrics() -> None:
    made = components(BaasInstanceSpec(), Owner("BaasInstance", "live", "shop"), Images(), InstanceFacts(jwks='{"keys": []}'))
    ports = {each.name: each.scrape for each in made}
    for name in ("gateway", "prober"):
        assert f"\n| `BaasInstance` | `{name}` | {ports[name]} |\n" in PAGE
