"""What every bench of faults does: each fault so many times on a system, and what came of it into the file after every run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from baas_lab.errors import LabError
from baas_lab.progress import Progress
from bench import records
from bench.records import Results
from tests.chaos.faults import Fault, take_back_everything
from tests.chaos.ledger.log import IncompleteLogError
from tests.chaos.rehearsal import rehearse
from tests.chaos.systems import System

ATTEMPTS = 3
"""For a run that could not have shown a loss, or did not come to its end: it counts for nothing, and is made again."""


def chosen(given: str, known: list[str], what: str) -> list[str]:
    """A list that was given with commas, in its order. Raises typer.BadParameter."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names or (wrong := [name for name in names if name not in known]):
        raise typer.BadParameter(f"{wrong if names else 'nothing'} is no {what}; there are: {', '.join(known)}.")
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Campaign:
    """A bench: all `faults` by name, its file, and how a run is `add`ed to what was found: results, system, outcome, service."""

    faults: Mapping[str, Fault]
    add: Callable[[Results, str, Any, str], None]
    found: Results
    output: Path
    progress: Progress

    def one_run(self, system: System[Any], name: str, fault: str, service: str) -> Any:
        """A run that proves something. A system that does not come back from the fault is made anew for the next one. Raises LabError."""
        for _ in range(ATTEMPTS):
            try:
                outcome = rehearse(system, self.faults[fault], service=service, note=self.progress.note)
            except (IncompleteLogError, LabError) as error:
                self.progress.note(f"again, with a new one: {error}")
                records.add_again(self.found, name, fault, str(error))
                take_back_everything(system.lab)
                system.deploy()
                continue
            self.progress.note(outcome.told())
            if not outcome.undetectable:
                return outcome
            self.progress.note(f"again: {outcome.undetectable}")
        raise LabError(f"{ATTEMPTS} runs of {fault} on {system.namespace} in a row proved nothing.")

    def measure(
        self,
        make: Callable[[str], System[Any]],
        name: str,
        title: str,
        faults: list[str],
        runs: int,
        service: Callable[[System[Any], str], str],
    ) -> None:
        """Bring a system up, and do to it what is still to be done. `service`: what clients write through. Raises LabError."""
        left = [fault for fault in faults if records.runs(self.found, name, fault) < runs]
        if not left:
            return
        system = make(name)
        try:
            with self.progress.step(f"{title}: three members in three zones"):
                system.deploy()
            for fault in left:
                through = service(system, fault)
                for number in range(records.runs(self.found, name, fault) + 1, runs + 1):
                    with self.progress.step(f"{title}: {self.faults[fault].told}, through {through}, {number} of {runs}"):
                        self.add(self.found, name, self.one_run(system, name, fault, through), through)
                    records.write(self.output, self.found)
        finally:
            take_back_everything(system.lab)
            system.remove(wait=True)
