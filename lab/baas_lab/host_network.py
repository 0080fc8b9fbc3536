"""The machine's network as it was before the lab's Docker daemon ran.

The bridges and the packet filter rules that dockerd makes stay when it ends. They are removed if, and only if, the machine had
none of them when the lab started its daemon.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from baas_lab.process import run

BRIDGE = r"docker0|br-[0-9a-f]{12}"  # the names that Docker gives its bridges
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def remember(file: Path) -> None:
    """Write down what the machine has, unless it has Docker's bridge or rules already."""
    if _remembered(file):
        return  # the daemon died, and what there is now is what it left
    file.unlink(missing_ok=True)
    rules = _rules("filter")
    bridge = run(["ip", "link", "show", "docker0"], check=False)
    if bridge.returncode == 0 or any("DOCKER" in rule for rule in rules):
        return
    policy = next((rule.split()[2] for rule in rules if rule.startswith("-P FORWARD")), "ACCEPT")
    before = {"boot": BOOT_ID.read_text(), "forward_policy": policy, "ip_forward": IP_FORWARD.read_text().strip()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(before))


def restore(file: Path) -> None:
    """Remove what Docker left and put back what it changed, if `remember` saw a machine without it."""
    before = _remembered(file)
    if not before:
        return
    bridges = run(["ip", "-o", "link", "show", "type", "bridge"]).stdout
    for bridge in re.findall(rf"^\d+: ({BRIDGE}):", bridges, re.MULTILINE):
        run(["ip", "link", "delete", bridge])
    for table in ("filter", "nat"):
        for rule in _rules(table):
            if is_dockers(rule):
                run(["iptables", "-t", table, "-D", *shlex.split(rule)[1:]])
        chains = [rule.split()[1] for rule in _rules(table) if rule.startswith("-N DOCKER")]
        for action in ("-F", "-X"):
            for chain in chains:
                run(["iptables", "-t", table, action, chain])
    run(["iptables", "-P", "FORWARD", before["forward_policy"]])
    IP_FORWARD.write_text(before["ip_forward"])
    file.unlink()


def is_dockers(rule: str) -> bool:
    """Whether a rule, as `iptables -S` prints it, is in one of Docker's chains, leads to one, or is for one of its bridges."""
    return rule.startswith("-A") and bool(re.search(rf"\b(DOCKER|{BRIDGE})\b", rule))


def _remembered(file: Path) -> dict[str, str]:
    """What was written down since the machine booted; empty if there is nothing to put back."""
    if not file.exists():
        return {}
    before: dict[str, str] = json.loads(file.read_text())
    return before if before["boot"] == BOOT_ID.read_text() else {}


def _rules(table: str) -> list[str]:
    return run(["iptables", "-t", table, "-S"], check=False).stdout.splitlines()
