"""`make demo`: a backend in three zones, a zone without power, and what came of it.

Everything is real: a three-zone Kubernetes cluster, the operator from its chart, examples/quickstart.yaml, the official client. The
exit code is 0 when the backend came back by itself and every acknowledged write is there, 1 when not, 2 when something is missing.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from baas_lab import faults, lifecycle
from baas_lab.cache import Cache
from baas_lab.cluster import Cluster
from baas_lab.errors import LabError
from baas_lab.install import install
from baas_lab.process import run
from baas_lab.progress import Progress

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "quickstart.yaml"
NAMESPACE, INSTANCE, DATABASE = "quickstart", "shop", "shop-db"
URL = "http://127.0.0.1:30080"  # kind-config.yaml leads this port of the host to the gateway's Service
WRITERS = 4
BEFORE_SECONDS, STEADY_SECONDS = 8.0, 10.0
READY_SECONDS, FAILOVER_SECONDS, RETURN_SECONDS = 300.0, 180.0, 300.0
LOST_SECONDS = 50  # the node-monitor-grace-period that Kubernetes has since 1.32
FIRST_TIME = (
    "Nothing is built yet. Kubernetes and the images are now, where no registry has them: 16 to 21 minutes on two cores, once. "
    "It can be interrupted and run again."
)
BARS = " ▁▂▃▄▅▆▇█"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)  # a program that reads it wants whole lines


@dataclass
class Ledger:
    """What the client was told: time and id of each acknowledged write, and how many were refused or timed out."""

    acknowledged: list[tuple[float, str]] = field(default_factory=list)
    errors: int = 0

    def take(self, line: str) -> None:
        """A line of the client's."""
        said = json.loads(line)
        if "id" in said:
            self.acknowledged.append((said["at"] / 1000, said["id"]))
        else:
            self.errors += 1

    def gap(self) -> tuple[float, float]:
        """When the longest time without an acknowledged write began, and its seconds."""
        times = [at for at, _ in self.acknowledged]
        return max(((after - before, before) for before, after in itertools.pairwise(times)), default=(0.0, 0.0))[::-1]

    def picture(self) -> str:
        """Acknowledged writes, one bar a second."""
        if not self.acknowledged:
            return ""
        first = self.acknowledged[0][0]
        counts = [0] * (int(self.acknowledged[-1][0] - first) + 1)
        for at, _ in self.acknowledged:
            counts[int(at - first)] += 1
        top = max(counts)
        return "".join(BARS[0 if not count else 1 + count * (len(BARS) - 2) // top] for count in counts)


def await_until(progress: Progress, title: str, check: Callable[[], str | None], seconds: float) -> None:
    """Wait until `check` returns None; what it says meanwhile is shown as it changes.

    Raises LabError when it takes longer than `seconds`.
    """
    deadline, told = time.monotonic() + seconds, ""
    with progress.step(title):
        while (why := check()) is not None:
            if why != told:
                progress.note(why)
                told = why
            if time.monotonic() > deadline:
                raise LabError(f"{title}: not after {seconds:.0f} s. {why}", hint="Look with: kubectl baas status -A")
            time.sleep(1.0)


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition of a resource, empty while it has none."""
    found = [each for each in (resource.get("status") or {}).get("conditions") or [] if each["type"] == kind]
    return found[0] if found else {}


def unsettled(cluster: Cluster) -> str | None:
    """Why the backend is not Ready, zone tolerant and as asked yet; None when it is."""
    instance = cluster.get("baasinstance", INSTANCE, "-n", NAMESPACE)
    for kind in ("Ready", "ZoneTolerant"):
        said = condition(instance, kind)
        if said.get("status") != "True":
            return f"{kind}: {said.get('message', 'the operator has not said anything yet')}"
    going_on = condition(instance, "Reconciling")
    return f"Reconciling: {going_on['message']}" if going_on.get("status") == "True" else None


def migrated(cluster: Cluster) -> str | None:
    """Why the table is not there yet; None when it is."""
    job = cluster.get("job", "shop-migration", "-n", NAMESPACE)
    return None if (job.get("status") or {}).get("succeeded") else "the migration has not finished"


def client_environment(cluster: Cluster) -> dict[str, str]:
    """What the client needs: where the gateway is, and the keys."""
    keys = cluster.get("secret", f"{INSTANCE}-api-keys", "-n", NAMESPACE)["data"]
    decoded = {name: base64.b64decode(keys[name]).decode() for name in ("anon", "service_role")}
    return {"BAAS_URL": URL, "BAAS_ANON_KEY": decoded["anon"], "BAAS_SERVICE_KEY": decoded["service_role"]}


def client(env: dict[str, str], *args: str, text: str | None = None) -> dict[str, Any]:
    """Run the client to its end; its last line."""
    done = run(["node", "client.mjs", *args], cwd=HERE / "client", env=env, input=text, timeout_seconds=300)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def primary(cluster: Cluster) -> tuple[str, str]:
    """The primary and its zone, as the operator sees them."""
    status = cluster.get("databasereplica", DATABASE, "-n", NAMESPACE)["status"]
    zones = {each["name"]: each.get("zone", "?") for each in status.get("members", [])}
    name = status.get("primary", "")
    return name, zones.get(name, "?")


def lose_a_zone(cluster: Cluster, progress: Progress, env: dict[str, str]) -> tuple[Ledger, str, str]:
    """Write, power the primary's zone off, write on; returns what was acknowledged, the zone and the old primary."""
    ledger = Ledger()
    writer = subprocess.Popen(
        ["node", "client.mjs", "write", str(WRITERS)], cwd=HERE / "client", env={**os.environ, **env}, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    lines = writer.stdout
    reader = threading.Thread(target=lambda: [ledger.take(line) for line in lines], daemon=True)
    reader.start()
    old, zone = primary(cluster)
    try:
        with progress.step(f"{WRITERS} writers insert rows through the gateway"):
            time.sleep(BEFORE_SECONDS)
        before = len(ledger.acknowledged)
        with progress.step(f"{zone}, which holds the primary {old}, loses power"):
            faults.zone_off(cluster, zone)
            off = time.time()

        def not_back() -> str | None:
            since = [at for at, _ in ledger.acknowledged[before:] if at > off]
            steady = [at for at in since if at > time.time() - STEADY_SECONDS]
            moved = primary(cluster)[0] not in ("", old)
            if moved and steady and time.time() - since[0] > STEADY_SECONDS and ledger.gap()[0] < time.time() - STEADY_SECONDS:
                return None
            return "writes wait for a new primary" if not moved else "the new primary takes the writes"

        await_until(progress, "Writes go on", not_back, FAILOVER_SECONDS)
    finally:
        writer.send_signal(signal.SIGTERM)
        try:
            writer.wait(timeout=15)
        except subprocess.TimeoutExpired:
            writer.kill()
        reader.join(timeout=15)
    return ledger, zone, old


def show(cluster: Cluster) -> None:
    """kubectl baas status, as a user sees it."""
    words = ["status", "--namespace", NAMESPACE]
    console.print(f"\n[bold]$ kubectl baas {' '.join(words)}[/bold]")
    subprocess.run([sys.executable, "-m", "kubectl_baas", *words], env={**os.environ, **cluster.environment}, check=False)
    console.print()


def report(ledger: Ledger, verdict: dict[str, Any], zone: str, old: str, new: str, new_zone: str) -> bool:
    """Print what happened; whether all is as promised."""
    _, seconds = ledger.gap()
    table = Table(title="What happened", title_justify="left", show_header=False)
    table.add_row("Zone without power", zone)
    table.add_row("Primary before → now", f"{old} ({zone}) → {new} ({new_zone})")
    table.add_row("Longest time without writes", f"{seconds:.1f} s")
    table.add_row("Writes acknowledged", str(verdict["acknowledged"]))
    table.add_row("Acknowledged writes lost", str(len(verdict["lost"])))
    table.add_row("Acknowledged writes damaged", str(len(verdict["damaged"])))
    table.add_row("Requests that failed meanwhile", str(ledger.errors))
    console.print(table)
    console.print(f"Writes acknowledged, one bar a second:\n[green]{ledger.picture()}[/green]\n", soft_wrap=True)
    return not verdict["lost"] and not verdict["damaged"] and bool(verdict["acknowledged"]) and new not in ("", old)


def main() -> int:
    """The demo, from an empty machine to the report."""
    started = time.monotonic()
    progress = Progress(console)
    if Cache().empty:
        progress.note(FIRST_TIME)
    cluster = lifecycle.up(progress=progress)
    install(cluster, progress)
    with progress.step("The client's packages"):
        run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE / "client", timeout_seconds=300)
    with progress.step(f"kubectl apply --server-side -f {EXAMPLE.relative_to(HERE.parents[1])}"):
        cluster.kubectl("apply", "--server-side", "-f", str(EXAMPLE))
    await_until(progress, "A backend in three zones", lambda: unsettled(cluster), READY_SECONDS)
    # A table more may have pods rolled: the zone is cut only when nothing is under way.
    await_until(progress, "Its first table", lambda: migrated(cluster) or unsettled(cluster), READY_SECONDS)
    env = client_environment(cluster)
    with progress.step("Rows through the gateway, with supabase-js"):
        said = client(env, "check")
    progress.note(f"inserted and read {said['inserted']}; an anonymous insert was refused: {said['anonymousInsert']}")
    show(cluster)
    try:
        ledger, zone, old = lose_a_zone(cluster, progress, env)
        progress.note(
            f"Until Kubernetes calls the node of {zone} lost, about {LOST_SECONDS} s after the cut, pods there still count as ready."
        )
        show(cluster)
    finally:
        faults.heal(cluster)
    await_until(progress, "The zone has power again", lambda: unsettled(cluster), RETURN_SECONDS)
    with progress.step("Every acknowledged write is read back"):
        verdict = client(env, "verify", text="\n".join(name for _, name in ledger.acknowledged))
    new, new_zone = primary(cluster)
    good = report(ledger, verdict, zone, old, new, new_zone)
    console.print(f"The demo took {(time.monotonic() - started) / 60:.1f} min. The cluster still runs: look around with")
    console.print('  eval "$(.venv/bin/lab env)" && kubectl baas status -A', soft_wrap=True)
    console.print("and clean up with\n  make lab-down")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        console.print(f"[red]The demo stopped:[/red] {error}", soft_wrap=True)
        sys.exit(2)
