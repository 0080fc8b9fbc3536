"""Dashboards and alerts ask for metrics that there are: a name that nobody exports is an empty panel, and an alert that never fires.

`envoy_metrics.txt` is what an Envoy 1.40 with a gateway's configuration exported after some requests, names alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from baas_operator.dead_letters import metrics as of_letters
from baas_operator.dispatcher import metrics as of_webhooks
from baas_operator.outbox import status as of_outboxes
from baas_operator.prober import metrics as of_probes
from baas_operator.telemetry import metrics

CHART = Path(__file__).parents[2] / "charts" / "baas-operator"
FILES = sorted((CHART / "dashboards").glob("*.json"))
PAGE = (CHART.parents[1] / "docs" / "monitoring.md").read_text()
NAME = re.compile(r"\b(?:baas|envoy|patroni|pg|kubelet)_[a-z0-9_]+\b")
LABELS = re.compile(r"\benvoy_(?:response_code_class|http_conn_manager_prefix|cluster_name|route|virtual_host)\b")


def exported() -> set[str]:
    """Names that Prometheus knows: of the operator and the dispatchers by their code, of Envoy as it said, of others by our page."""
    modules: list[Any] = [metrics, of_letters, of_webhooks, of_outboxes, of_probes]
    found = {
        sample
        for module in modules
        for each in vars(module).values()
        if isinstance(each, (Counter, Gauge, Histogram))
        for family in each.collect()
        for sample in (family.name, f"{family.name}_total", f"{family.name}_bucket", f"{family.name}_count")
    }
    envoy = (Path(__file__).parent / "envoy_metrics.txt").read_text().split()
    return found | set(envoy) | {f"{each}_bucket" for each in envoy} | {each for each in NAME.findall(PAGE) if each[:5] != "baas_"} | {
        each for each in NAME.findall(PAGE) if each.startswith("baas_queue_")
    }  # fmt: skip


EXPORTED = exported()


def panels(path: Path) -> Iterator[dict[str, Any]]:
    yield from (each for each in json.loads(path.read_text())["panels"] if each["type"] != "row")


def asked(expression: str) -> set[str]:
    return set(NAME.findall(LABELS.sub("", expression)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_panel_asks_for_metrics_that_are_exported(path: Path) -> None:
    for panel in panels(path):
        for target in panel["targets"]:
            names = asked(target["expr"])
            assert names, panel["title"]
            assert names <= EXPORTED, (panel["title"], names - EXPORTED)


def test_every_alert_asks_for_metrics_that_are_exported() -> None:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        names = {each for each in asked(rule["expr"]) if not each.startswith("kubelet_")}
        assert names <= EXPORTED, (rule["alert"], names - EXPORTED)


def alternatives(expression: str) -> list[list[str]]:
    """The operands of each chain of `or`, in whatever parentheses: of `a or (b or c)` first the inner ones."""
    plain = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]', "", expression)
    found = []
    while inner := re.search(r"\(([^()]*)\)", plain):
        found.append(inner[1])
        plain = plain.replace(inner[0], " filtered > 0 " if COMPARED.search(inner[1]) else " ", 1)
    return [made for each in (*found, plain) if len(made := re.split(r"\bor\b", each)) > 1]


COMPARED = re.compile(r"[<>]|[=!]=|\bunless\b")


def test_alternatives_are_found_at_any_depth() -> None:
    assert alternatives('a{b="x or y"} > 1') == []
    assert [len(each) for each in alternatives("max(rate(a[1m]) or b or c) > 0 or d")] == [3, 2]


def test_no_alternative_of_an_alert_is_passed_over_for_one_that_is_always_there() -> None:
    """`a or b` has nothing of `b` for labels that `a` has. A counter that stands still is there, and is 0."""
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        for operands in alternatives(rule["expr"]):
            assert all(COMPARED.search(each) for each in operands[:-1]), (rule["alert"], operands)


def test_there_is_one_for_each_audience_and_they_do_not_get_in_each_others_way() -> None:
    boards = {path.stem: json.loads(path.read_text()) for path in FILES}
    assert set(boards) == {"executive", "on-call", "debug"}
    assert {board["uid"] for board in boards.values()} == {"baas-executive", "baas-on-call", "baas-debug"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dashboard_is_for_any_prometheus_namespace_and_backend_and_its_panels_lie_beside_each_other(path: Path) -> None:
    board = json.loads(path.read_text())
    variables = [each["name"] for each in board["templating"]["list"]]
    assert variables[:3] == ["datasource", "namespace", "backend"]
    for each in board["templating"]["list"][1:]:
        assert asked(each["definition"]) <= EXPORTED
    ids = [each["id"] for each in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells
    for panel in panels(path):
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {*variables, "__rate_interval"}, panel["title"]
            assert target["expr"].count("(") == target["expr"].count(")"), panel["title"]
            assert target["expr"].count("{") == target["expr"].count("}"), panel["title"]
