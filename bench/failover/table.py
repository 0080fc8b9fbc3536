"""The results as a table for people, and what of them is not as promised. Pure, but for the table being rich's."""

from __future__ import annotations

from rich.table import Table

from bench.failover import results
from bench.failover.results import Results
from bench.figures import ratio, seconds
from tests.chaos.database.bounds import BOUNDS
from tests.chaos.database.faults import FAULTS

TITLES = {"ours": "ours", "stock_patroni": "stock Patroni", "stock_patroni_tight": "stock Patroni, tight"}


def render(found: Results, faults: list[str], systems: list[str]) -> Table:
    """A row for each fault and system: median and worst in seconds, how many times ours that is, and rows lost."""
    table = Table(title="Seconds without writes, of one writer", title_justify="left")
    for title, justify in (("fault", "left"), ("system", "left")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for title in ("runs", "median", "worst", "ratio to ours", "lost", "client errors"):
        table.add_column(title, justify="right")
    for fault in faults:
        measured = [system for system in systems if results.runs(found, system, fault)]
        for number, system in enumerate(measured):
            gaps = results.gaps(found, system, fault)
            known = found[system][fault]
            table.add_row(
                FAULTS[fault].told if number == 0 else "", TITLES[system], str(len(gaps)),
                seconds(results.median(gaps)), seconds(max(gaps)), ratio(gaps, results.gaps(found, "ours", fault)),
                str(known["lost"]), str(known["client_errors"]), end_section=system == measured[-1],
            )  # fmt: skip
    return table


def broken(found: Results, faults: list[str]) -> list[str]:
    """What ours promises and did not keep, a sentence each."""
    said = []
    for fault in faults:
        known, gaps, bound = found.get("ours", {}).get(fault), results.gaps(found, "ours", fault), BOUNDS[fault]
        if known is None or not gaps:
            continue
        worst = max([*gaps, *known["after_seconds"]], default=0.0)
        if bound.seconds is not None and worst > bound.seconds:
            through = known.get("service", bound.service)
            said.append(f"{fault}: {seconds(worst)} s without writes through {through}, promised are {bound.seconds} s.")
        if known["lost"]:
            said.append(f"{fault}: {known['lost']} acknowledged rows were lost.")
        if known["two_primaries"]:
            said.append(f"{fault}: {known['two_primaries']} rows were acknowledged by two primaries.")
        if bound.errors is not None and known["client_errors"] > bound.errors and known.get("service") == bound.service:
            said.append(f"{fault}: clients had {known['client_errors']} errors, promised are {bound.errors}.")
    return said
