"""The results as a table for people, and what of them is not as promised. Pure, but for the table being rich's."""

from __future__ import annotations

from rich.table import Table

from bench import figures, records
from bench.records import Results
from tests.chaos.queue import bounds
from tests.chaos.queue.faults import FAULTS

TITLES = {"ours": "ours", "ours_balanced": "ours, balanced", "plain_nats": "plain NATS"}
COLUMNS = ("runs", "median", "worst", "ratio to ours", "acknowledged", "lost", "duplicates", "redelivered", "client errors")


def render(found: Results, faults: list[str], systems: list[str]) -> Table:
    """A row for each fault and system: median and worst in seconds, how many times ours that is, and what became of the messages."""
    table = Table(title="Seconds without publishing, of one publisher", title_justify="left")
    table.add_column("fault")
    table.add_column("system")
    for title in COLUMNS:
        table.add_column(title, justify="right")
    for fault in faults:
        measured = [system for system in systems if records.runs(found, system, fault)]
        for number, system in enumerate(measured):
            gaps, known = records.gaps(found, system, fault), found[system][fault]
            table.add_row(
                FAULTS[fault].told if number == 0 else "", TITLES[system], str(len(gaps)), figures.seconds(records.median(gaps)),
                figures.seconds(max(gaps)), figures.ratio(gaps, records.gaps(found, "ours", fault)),
                *(str(known[name]) for name in ("acknowledged", "lost", "duplicates", "redelivered", "client_errors")),
                end_section=system == measured[-1],
            )  # fmt: skip
    return table


def broken(found: Results, faults: list[str], systems: list[str]) -> list[str]:
    """What ours promises and did not keep, a sentence each."""
    said = []
    for system in systems:
        for fault in faults:
            known = found.get(system, {}).get(fault)
            if known is None or not records.runs(found, system, fault) or system not in ("ours", "ours_balanced"):
                continue
            where, gaps = f"{TITLES[system]}, {fault}", records.gaps(found, system, fault)
            worst = max([*gaps, *known["after_seconds"]], default=0.0)
            bound = bounds.SECONDS[fault]
            if bound is not None and worst > bound:
                said.append(f"{where}: {figures.seconds(worst)} s without publishing, promised are {bound} s.")
            window, back = known["loss_window_seconds"] or 0, max(known["lost_seconds"], default=0.0)
            if known["lost"] and (not window or back > window):
                said.append(f"{where}: {known['lost']} acknowledged messages were lost, from the last {back} s; promised are {window} s.")
            for name, what in _NEVER.items():
                if known[name] and not (name == "unlike" and window):  # that is what a window means, too (docs/queue.md, "Durability")
                    said.append(f"{where}: {known[name]} {what}.")
    return said


_NEVER = {
    "copies_stuck": "servers' copies could not be read",
    "duplicates": "messages are in the stream twice",
    "disordered": "messages stand in another order than they were published in",
    "unlike": "places of the stream are not the same on all servers",
    "undelivered": "acknowledged messages never came to a reader",
}
