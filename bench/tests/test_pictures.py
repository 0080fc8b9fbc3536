"""Pictures of dashboards: what is asked and where it is drawn. That the queries find anything takes a Prometheus
(tests/backend/gateway/test_pictures.py), and all of them a lab."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from bench.pictures import boards, layout, samples, scrape, shapes, units
from bench.pictures.__main__ import DASHBOARDS, DATA, OUTPUT, read_board
from bench.pictures.caption import lines
from bench.pictures.chosen import MAIN, QUIET, may_be_empty
from bench.pictures.samples import Asked, Samples, Series
from bench.pictures.taken import Window, missing
from tests.chaos.instance.scenes import SCENES

BOARDS = {name: read_board(name) for name in MAIN}
VALUES = {"namespace": "pictures", "backend": "shop", "database": "shop-db", "queue": "shop-events", "__rate_interval": "8s"}


def taken(**more: Any) -> Samples:
    """Of the board on call: a panel whose series has a hole, and one without any."""
    shown = {each.title: tuple(each.asked) for each in BOARDS["on-call"].panels}
    found = (
        Asked("Primary", shown["Primary"], (Series(0, "shop-db-0", (1, None, 0)), Series(0, "shop-db-1", (0, 0, 1)))),
        Asked("Errors by component", shown["Errors by component"], ()),
    )
    made = Samples(
        "zone-away", "a zone", "1 of 9 failed", "2026-01-02T03:04:05+00:00", -2, 2, 1.5, ((0, "off"),), {"cpus": 2}, {"on-call": found}
    )
    return replace(made, **more)


# --- dashboards ---------------------------------------------------------------------------------------------------------


def test_every_dashboard_of_the_chart_is_drawn_by_panels_that_it_has() -> None:
    assert {each.stem for each in DASHBOARDS.glob("*.json")} == set(MAIN)
    for name, titles in MAIN.items():
        assert set(titles) <= {each.title for each in BOARDS[name].panels}, name
    assert {title for name, title in QUIET if title not in {each.title for each in BOARDS[name].panels}} == set()


def test_every_query_and_variable_can_be_asked_and_every_unit_is_known() -> None:
    for name, board in BOARDS.items():
        for definition in board.variables.values():
            selector, label = boards.label_values(definition)
            assert "$" not in boards.substituted(selector, VALUES)
            assert label in ("namespace", "name")
        for panel in board.panels:
            for target in panel.targets:
                assert "$" not in boards.substituted(target.expression, VALUES)
            if panel.title in MAIN[name]:
                units.scale(panel.unit, 1.0)


def test_variables_are_put_in_as_grafana_does() -> None:
    assert boards.substituted('x{a="$backend",b="${queue}"}[$__rate_interval]', VALUES) == 'x{a="shop",b="shop-events"}[8s]'
    with pytest.raises(ValueError, match=r"\$nobody has no value in: x\{a=\"\$nobody\"\}"):
        boards.substituted('x{a="$nobody"}', VALUES)
    assert boards.rate_interval(2, 2) == "8s"
    assert boards.rate_interval(60, 2) == "62s"
    with pytest.raises(ValueError, match="no label_values"):
        boards.label_values("query_result(up)")


def test_series_are_called_by_their_labels() -> None:
    assert boards.called("{{envoy_response_code_class}}xx", {"envoy_response_code_class": "5"}) == "5xx"
    assert boards.called("{{ webhook }} {{outcome}}", {"webhook": "w"}) == "w"


def test_a_panel_knows_the_colour_of_a_value() -> None:
    serves, waits = (next(each for each in BOARDS["executive"].panels if each.title == one) for one in ("Serves", "Waits for somebody"))
    assert [serves.colour(each) for each in (0, 1)] == ["red", "green"]
    assert [waits.colour(each) for each in (0, 1)] == ["green", "red"]
    assert units.text(serves.unit, 1.0, serves.texts) == "yes"


# --- units --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "value", "said"),
    [
        ("s", 0.0421, "42.1 ms"), ("s", 3.5, "3.5 s"), ("s", 1200.0, "20 min"), ("s", 0.0, "0 µs"), ("bytes", 3.0 * 2**20, "3 MiB"),
        ("percentunit", 0.99954, "99.95 %"), ("percentunit", 0.99998, "99.99 %"), ("percentunit", 1.0, "100 %"),
        ("short", 3.0, "3"), ("reqps", 200.0, "200 requests/s"),
    ],
)  # fmt: skip
def test_values_are_told_with_their_unit(unit: str, value: float, said: str) -> None:
    assert units.text(unit, value, {}) == said


def test_a_unit_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="dateTimeFromNow is no unit"):
        units.scale("dateTimeFromNow", 1.0)


# --- layout -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAIN)
def test_panels_lie_on_the_sheet_beside_each_other(name: str) -> None:
    panels = [each for each in BOARDS[name].panels if each.title in MAIN[name]]
    made = layout.sheet(panels, 3)
    assert [each.panel for each in made.places] == panels
    assert [heading for heading, _ in made.headings] == list(dict.fromkeys(each.row for each in panels))
    for each in made.places:
        assert each.x >= layout.GAP
        assert each.x + each.width <= layout.WIDTH
        assert each.y + each.height <= made.caption
        assert not any(abs(each.y - y) < 0.1 for _, y in made.headings), "a heading has its own line"
    for one, other in combinations(made.places, 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        below = one.y + one.height <= other.y or other.y + other.height <= one.y
        assert beside or below, (one.panel.title, other.panel.title)
    assert made.caption < made.height


def test_a_legend_has_the_lines_that_there_is_room_for() -> None:
    assert layout.legend_lines([], 3, 2) == [[]]
    assert layout.legend_lines(["a", "b"], 3, 2) == [[0, 1]]
    long = ["x" * 40] * 4
    assert layout.legend_lines(long, 3, 2) == [[0], [1]]
    assert layout.legend_lines(["one", *long], 4, 2) == [[0, 1], [2]]


# --- samples ------------------------------------------------------------------------------------------------------------


def test_what_was_taken_can_be_read_again() -> None:
    made = taken()
    assert samples.read(samples.written(made)) == made
    assert json.loads(samples.written(made))["boards"]["on-call"][0]["series"][0]["values"] == [1, None, 0]
    for wrong in ("[]", '{"boards": {}}', '{"marks": []}'):
        with pytest.raises(ValueError, match="no file of samples"):
            samples.read(wrong)


def test_values_have_as_many_digits_as_a_picture_shows() -> None:
    assert [samples.rounded(each) for each in (0.123456, 123456.0, 1e-7, 3.0)] == [0.12346, 123460, 1e-7, 3]


def test_what_a_dashboard_asks_differently_by_now_is_told() -> None:
    board = BOARDS["on-call"]
    assert samples.stale(board, taken().boards["on-call"]) == []
    others = tuple(replace(each, asked=("up",)) for each in taken().boards["on-call"])
    assert samples.stale(board, others) == ["Primary", "Errors by component"]
    assert samples.stale(BOARDS["debug"], taken().boards["on-call"]) == ["Primary", "Errors by component"]


def test_a_panel_without_data_is_named_with_its_query_unless_it_may_be_empty() -> None:
    board, asked = BOARDS["on-call"], taken().boards["on-call"]
    assert list(missing("on-call", board, asked, VALUES, "zone-away")) == []
    (said,) = missing("on-call", board, [replace(asked[0], series=())], VALUES, "zone-away")
    assert said == 'on-call, “Primary” shows nothing: patroni_primary{namespace="pictures",scope="shop-db"}'


def test_after_a_failover_dashboards_have_to_show_it() -> None:
    assert may_be_empty("executive", "Last failover took", "nothing")
    assert not may_be_empty("executive", "Last failover took", "zone-away")
    assert {scene for _, scenes in QUIET.values() for scene in scenes} <= set(SCENES)


def test_a_window_has_a_value_each_step() -> None:
    assert Window(100.0, 110.0, 2).steps == 6
    assert Window(100.5, 109.9, 2).steps == 5


def test_the_caption_tells_what_was_done_on_what_and_when() -> None:
    said = " ".join(lines(taken(machine={"cpus": 2, "memory_mib": 24576, "nodes": 4, "kubernetes": "v1.34.4", "commit": "abc"})))
    assert said == (
        "a zone. What clients saw: 1 of 9 failed. The shaded time, from 0 s to 2 s, is when it was done. 2026-01-02 03:04 UTC; "
        "2 CPUs and 24 GiB, 4 nodes on one machine, Kubernetes v1.34.4, commit abc. Drawn from what Prometheus had of it "
        "(a scrape each 2 s), with the dashboard's own queries."
    )
    assert "shaded" not in " ".join(lines(taken(ended=None)))


def test_the_pictures_in_the_documentation_are_of_what_dashboards_ask_today() -> None:
    found = samples.read((OUTPUT / DATA).read_text())
    assert set(found.boards) == set(MAIN)
    for name, asked in found.boards.items():
        assert samples.stale(BOARDS[name], asked) == [], name
        assert {each.title for each in asked} == set(MAIN[name]), name
        assert (OUTPUT / f"{name}.svg").stat().st_size < 200 * 1024, name


# --- scraping -----------------------------------------------------------------------------------------------------------


def monitor(**spec: object) -> dict[str, object]:
    given = {"selector": {"matchLabels": {"baas-operator.io/kind": "X"}}, "podMetricsEndpoints": [{"port": "http"}], **spec}
    return {"metadata": {"name": "m", "namespace": "n"}, "spec": given}


def test_a_podmonitor_becomes_a_job_for_each_endpoint() -> None:
    endpoints = [
        {"port": "http", "honorLabels": True},
        {"targetPort": 9, "path": "/x", "relabelings": [{"sourceLabels": ["a"], "targetLabel": "b"}]},
    ]
    first, second = scrape.jobs_of(monitor(podMetricsEndpoints=endpoints))
    assert (first["job_name"], first["honor_labels"], first["metrics_path"]) == ("podMonitor/n/m/0", True, "/metrics")
    assert (second["job_name"], second["honor_labels"], second["metrics_path"]) == ("podMonitor/n/m/1", False, "/x")
    assert second["relabel_configs"][-1] == {"source_labels": ["a"], "target_label": "b"}
    kept = [(each["source_labels"], each["regex"]) for each in second["relabel_configs"] if each.get("action") == "keep"]
    assert kept == [
        (["__meta_kubernetes_namespace"], "n"),
        (["__meta_kubernetes_pod_label_baas_operator_io_kind"], "X"),
        (["__meta_kubernetes_pod_container_port_number"], "9"),
    ]


def test_a_podmonitor_of_any_namespace_and_of_expressions() -> None:
    selector = {"matchExpressions": [{"key": "c", "operator": "In", "values": ["a", "b"]}]}
    (job,) = scrape.jobs_of(monitor(namespaceSelector={"any": True}, selector=selector))
    kept = [(each["source_labels"], each["regex"]) for each in job["relabel_configs"] if each.get("action") == "keep"]
    assert kept == [(["__meta_kubernetes_pod_label_c"], "a|b"), (["__meta_kubernetes_pod_container_port_name"], "http")]
    selector["matchExpressions"][0]["operator"] = "NotIn"
    with pytest.raises(ValueError, match="NotIn"):
        scrape.jobs_of(monitor(selector=selector))


# --- drawing ------------------------------------------------------------------------------------------------------------


def test_a_picture_is_the_same_each_time_and_has_its_own_ground() -> None:
    pytest.importorskip("matplotlib", reason="only who draws has matplotlib: uv run --group pictures")
    from bench.pictures.draw import GROUND, Picture

    made = taken()
    drawn = []
    for _ in range(2):
        picture = Picture(BOARDS["on-call"], made, made.boards["on-call"])
        drawn.append(picture.svg())
        picture.close()
    assert drawn[0] == drawn[1]
    for said in ("Backend · on call", "Primary", "shop-db-0", "nothing to show", "1 of 9 failed", GROUND, "opacity: 0.07"):
        assert said in drawn[0], said
    assert 'width="864"' in drawn[0]


def test_stretches_of_one_value_are_one() -> None:
    assert shapes.runs([0, 2, 4, 6, 8], [1, 1, None, 1, 0]) == [(0, 4, 1), (6, 8, 1), (8, 10, 0)]


def test_series_lie_upon_each_other_and_a_hole_is_nothing_where_there_is_another() -> None:
    lower, upper = shapes.stacked([Series(0, "a", (1, None, None)), Series(0, "b", (2, 3, None))])
    assert (lower[:2], upper[:2]) == ([1, 0], [3, 3])
    assert math.isnan(lower[2])
    assert math.isnan(upper[2])
    assert shapes.stacked([]) == []
