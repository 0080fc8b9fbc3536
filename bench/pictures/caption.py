"""What stands below a picture: what was done, on what, and when. Pure."""

from __future__ import annotations

import textwrap

from bench.pictures.samples import Samples

WIDE = 215
"""Characters of a line."""


def lines(samples: Samples) -> list[str]:
    """Line by line."""
    machine = samples.machine
    fault = ""
    if samples.ended is not None:
        steps = any(0 < at < samples.ended for at, _ in samples.marks)
        fault = (
            f"The shaded time, from 0 s to {samples.ended:.0f} s, is when it was done{'; thin lines are steps of it' if steps else ''}. "
        )
    where = ", ".join(
        part
        for part in (
            f"{machine.get('cpus')} CPUs and {machine.get('memory_mib', 0) / 1024:.0f} GiB",
            f"{machine['nodes']} nodes on one machine" if "nodes" in machine else "",
            f"Kubernetes {machine['kubernetes']}" if "kubernetes" in machine else "",
            f"commit {machine['commit']}" if "commit" in machine else "",
        )
        if part
    )
    sentences = (
        f"{samples.told}. {f'What clients saw: {samples.result}. ' if samples.result else ''}{fault}"
        f"{samples.began[:16].replace('T', ' ')} UTC; {where}. Drawn from what Prometheus had of it (a scrape each {samples.step:g} s), "
        "with the dashboard's own queries."
    )
    return textwrap.wrap(sentences, WIDE)
