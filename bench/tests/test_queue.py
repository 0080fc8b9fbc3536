"""The queue bench's file, table and manifests; what it measures takes a lab."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench import records
from bench.queue import plain_nats, results, table
from bench.queue.__main__ import COMPARED, faults_of
from bench.records import Results
from tests.chaos.ledger.messages import Ack, Log, Stored
from tests.chaos.queue.faults import FAULTS
from tests.chaos.queue.outcome import QueueOutcome, judge

SYSTEMS = list(results.SYSTEMS)


def outcome(fault: str, gap: float, *, over: bool = False, lost: int = 0, window: float | None = 0.0) -> QueueOutcome:
    """A run with a gap of so many seconds; the last messages before it, so many, are lost on all servers."""
    times = [number / 10 for number in range(100)] + [10 + gap + number / 10 for number in range(100)]
    acks = tuple(Ack(0, number, "x", number, "main-0", at - 0.01, at, again=False) for number, at in enumerate(times, 1))
    log = Log(acks, (), {ack.id: 1 for ack in acks}, (), 0, 0, times[-1])
    kept = [Stored(ack.sequence, 0, ack.id, "x", ack.ended) for ack in acks if not 100 - lost < ack.id <= 100]
    copies = {"main-0": kept, "main-1": kept}
    return judge(fault, log, copies, began=9.95, healed=11 + gap, over=over, duplicate_window=120, loss_window=window)


@pytest.fixture
def found() -> Results:
    made: Results = {}
    for gap in (4.9, 5.1, 5.0):
        results.add(made, "ours", outcome("nats-kill", gap), "clients")
        results.add(made, "plain_nats", outcome("nats-kill", 10 + gap, window=None), "clients")
    results.add(made, "ours", outcome("power-cut", 60.0), "clients")
    results.add(made, "ours_balanced", outcome("power-cut", 60.0, lost=5, window=1.0), "clients")
    results.add(made, "plain_nats", outcome("power-cut", 200.0, over=True, lost=100, window=None), "clients")
    return made


def test_the_file_has_the_shape_that_its_docstring_tells(found: Results, tmp_path: Path) -> None:
    path = tmp_path / "queue.json"
    records.write(path, found)

    said = json.loads(path.read_text())
    assert [round(gap, 1) for gap in said["ours"]["nats-kill"]["gaps_seconds"]] == [5.0, 5.2, 5.1]
    assert said["plain_nats"]["power-cut"]["gaps_seconds"] == [None]
    assert (said["plain_nats"]["power-cut"]["over"], said["plain_nats"]["power-cut"]["lost"]) == (180, 100)
    assert said["ours_balanced"]["power-cut"]["lost_seconds"] == [0.4]
    assert said["ours_balanced"]["power-cut"]["rate_per_second"] == [10]
    assert said["ours_balanced"]["power-cut"]["loss_window_seconds"] == 1.0
    assert said["ours"]["nats-kill"]["acknowledged"] == 600
    assert results.read(path) == said
    path.write_text('{"stock_patroni": {}}')
    with pytest.raises(ValueError, match="no file of results"):
        results.read(path)


def test_the_table_tells_ratio_and_loss(found: Results) -> None:
    sink = StringIO()
    Console(file=sink, width=220).print(table.render(found, list(FAULTS), SYSTEMS))

    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in sink.getvalue().splitlines() if "│" in line]
    assert ["nats-server killed -9", "ours", "3", "5.10", "5.20", "1.0 ×", "600", "0", "0", "0", "0"] in lines
    assert ["", "plain NATS", "3", "15.10", "15.20", "3.0 ×", "600", "0", "0", "0", "0"] in lines
    assert ["", "plain NATS", "1", "> 180", "> 180", "> 3 ×", "200", "100", "0", "0", "0"] in lines


def test_what_is_not_as_promised_is_told(found: Results) -> None:
    assert table.broken(found, list(FAULTS), SYSTEMS) == []

    results.add(found, "ours", outcome("nats-kill", 12.0), "clients")
    results.add(found, "ours", outcome("power-cut", 60.0, lost=1), "clients")
    results.add(found, "ours_balanced", outcome("power-cut", 60.0, lost=20, window=1.0), "clients")

    assert table.broken(found, list(FAULTS), SYSTEMS) == [
        "ours, nats-kill: 12.10 s without publishing, promised are 10.0 s.",
        "ours, power-cut: 1 acknowledged messages were lost, from the last 0.0 s; promised are 0 s.",
        "ours, balanced, power-cut: 25 acknowledged messages were lost, from the last 1.9 s; promised are 1.0 s.",
    ]


def test_balanced_is_cut_from_its_power_and_the_rival_is_compared_where_it_can_be() -> None:
    assert faults_of("ours", []) == list(FAULTS)
    assert faults_of("ours_balanced", []) == ["power-cut"]
    assert faults_of("ours_balanced", ["nats-kill"]) == []
    assert faults_of("plain_nats", []) == list(COMPARED)
    assert set(COMPARED) <= set(FAULTS)


def test_plain_nats_has_the_settings_of_its_chart() -> None:
    made = {each["kind"]: each for each in plain_nats.manifests() if each["metadata"]["name"] == "nats"}

    pod = made["StatefulSet"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["nats-server", "-sl=ldm=/var/run/nats/nats.pid"]
    assert "terminationGracePeriodSeconds" not in pod
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert "sync_interval" not in plain_nats.config()["jetstream"]


def test_a_run_that_did_not_come_to_its_end_is_told_and_counts_for_nothing(tmp_path: Path) -> None:
    found: Results = {}
    records.add_again(found, "ours", "nats-kill", "it is not whole")
    assert (records.runs(found, "ours", "nats-kill"), table.broken(found, ["nats-kill"], ["ours"])) == (0, [])

    results.add(found, "ours", outcome("nats-kill", 2.0), "clients")

    assert found["ours"]["nats-kill"]["made_again"] == ["it is not whole"]
    assert records.runs(found, "ours", "nats-kill") == 1
