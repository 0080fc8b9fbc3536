"""The bench's file, table and manifests; what it measures takes a lab."""

from __future__ import annotations

import json
from io import StringIO
from math import inf
from pathlib import Path

import pytest
from rich.console import Console

from bench.failover import results, stock_patroni, table
from bench.failover.results import Results
from tests.chaos.database.outcome import DatabaseOutcome, judge
from tests.chaos.ledger.log import Ack, Log

FAULTS = ["power-off", "freeze"]
SYSTEMS = list(results.SYSTEMS)


def outcome(fault: str, gap: float, *, over: bool = False, lost: int = 0) -> DatabaseOutcome:
    """A run with a gap of so many seconds, and so many rows that its one member lacks."""
    times = [number / 10 for number in range(100)] + [10 + gap + number / 10 for number in range(100)]
    acks = tuple(Ack(0, number, "x", "10.0.0.1", 1, at - 0.01, at) for number, at in enumerate(times, 1))
    log = Log(acks, (), (), (), times[-1])
    have = {ack.id: ack.checksum for ack in acks[lost:]}
    return judge(fault, log, {"main-0": have}, began=9.5, healed=11 + gap, over=over)


@pytest.fixture
def found() -> Results:
    made: Results = {}
    for gap in (5.0, 5.5, 5.2):
        results.add(made, "ours", outcome("power-off", gap), service="rw")
        results.add(made, "stock_patroni", outcome("power-off", 40.0, lost=2), service="rw")
    results.add(made, "ours", outcome("freeze", 6.0), service="pooler")
    results.add(made, "stock_patroni", outcome("freeze", 200.0, over=True), service="rw")
    return made


def test_the_file_has_the_shape_that_its_docstring_tells(found: Results, tmp_path: Path) -> None:
    path = tmp_path / "results" / "failover.json"

    results.write(path, found | {"machine": {"cpus": 2}})

    said = json.loads(path.read_text())
    assert said["machine"] == {"cpus": 2}
    assert [round(gap, 1) for gap in said["ours"]["power-off"]["gaps_seconds"]] == [5.1, 5.6, 5.3]
    assert said["stock_patroni"]["power-off"]["lost"] == 6
    assert said["stock_patroni"]["freeze"]["gaps_seconds"] == [None]
    assert said["stock_patroni"]["freeze"]["over"] == 180
    assert "over" not in said["ours"]["freeze"]
    assert results.read(path) == said
    assert [each.name for each in path.parent.iterdir()] == ["failover.json"]


def test_a_file_of_something_else_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "failover.json"
    path.write_text('{"something": "else"}')

    with pytest.raises(ValueError, match="no file of results"):
        results.read(path)
    assert results.read(tmp_path / "absent.json") == {}


def test_what_is_missing_is_known(found: Results) -> None:
    assert results.runs(found, "ours", "power-off") == 3
    assert results.runs(found, "stock_patroni_tight", "power-off") == 0
    results.forget(found, "ours", "power-off")
    assert results.runs(found, "ours", "power-off") == 0


@pytest.mark.parametrize(
    ("gaps", "expected"), [([3.0, 1.0, 2.0], 2.0), ([1.0, 2.0], 1.5), ([1.0, inf], 1.0), ([1.0, inf, inf], inf), ([inf], inf)]
)
def test_a_median_of_runs_without_an_end(gaps: list[float], expected: float) -> None:
    assert results.median(gaps) == expected


def test_the_table_tells_median_worst_and_ratio(found: Results) -> None:
    sink = StringIO()
    Console(file=sink, width=200).print(table.render(found, FAULTS, SYSTEMS))

    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in sink.getvalue().splitlines() if "│" in line]
    assert ["primary's node powered off", "ours", "3", "5.30", "5.60", "1.0 ×", "0", "0"] in lines
    assert ["", "stock Patroni", "3", "40.10", "40.10", "7.6 ×", "6", "0"] in lines
    assert ["", "stock Patroni", "1", "> 180", "> 180", "> 30 ×", "0", "0"] in lines


def test_what_is_not_as_promised_is_told(found: Results) -> None:
    assert table.broken(found, FAULTS) == []

    results.add(found, "ours", outcome("power-off", 9.0), service="rw")
    results.add(found, "ours", outcome("freeze", 1.0, lost=3), service="pooler")

    assert table.broken(found, FAULTS) == [
        "power-off: 9.10 s without writes through rw, promised are 6.0 s.",
        "freeze: 3 acknowledged rows were lost.",
    ]


@pytest.mark.parametrize("dynamic", [stock_patroni.DEFAULTS, stock_patroni.TIGHT], ids=["defaults", "tight"])
def test_stock_patroni_comes_with_the_settings_that_it_is_named_for(dynamic: dict[str, object]) -> None:
    made = stock_patroni.manifests("somewhere", dynamic)

    file = next(each for each in made if each["kind"] == "ConfigMap")
    assert json.loads(file["data"]["patroni.yml"])["bootstrap"]["dcs"] == dynamic
    (selecting,) = [each["spec"]["selector"] for each in made if each["kind"] == "Service" and "role" in each["spec"]["selector"]]
    assert selecting == {"application": "patroni", "cluster-name": "patroni", "role": "primary"}
    assert stock_patroni.DEFAULTS == {"postgresql": {"use_pg_rewind": True}}
