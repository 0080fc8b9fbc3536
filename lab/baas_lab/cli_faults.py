"""`lab fault …`: one command for each function of `faults.py`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from baas_lab import cluster, faults, volumes
from baas_lab.cli_options import Name, NodeName
from baas_lab.errors import LabError
from baas_lab.kind_config import DEFAULT_NAME

fault = typer.Typer(no_args_is_help=True, help="Break the cluster on purpose; `heal` takes everything back.")
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the nodes are Ready.")]
Process = Annotated[str, typer.Option(help="The oldest process of this name in the container, not its main process.")]


@fault.command()
def kill(node: NodeName, name: Name = DEFAULT_NAME) -> None:
    """Power off a node. What it wrote stays, even if it was not synced."""
    faults.kill(cluster.running(name), node)


@fault.command()
def start(node: NodeName, no_wait: NoWait = False, name: Name = DEFAULT_NAME) -> None:
    """Power on a node."""
    faults.start(cluster.running(name), node, wait=not no_wait)


@fault.command("power-cut")
def power_cut(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="[NODE...]")] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="All workers, at one moment.")] = False,
    stay_off: Annotated[bool, typer.Option("--stay-off", help="Do not start them again.")] = False,
    no_wait: NoWait = False,
    name: Name = DEFAULT_NAME,
) -> None:
    """Cut the power: what was not synced is gone. The nodes start again."""
    if bool(nodes) == everywhere:
        raise LabError("Name the nodes, or use --all.")
    target = cluster.running(name)
    chosen = [node.name for node in target.workers()] if everywhere else nodes or []
    faults.power_cut(target, *chosen, restart=not stay_off, wait=not no_wait)


@fault.command("zone-off")
def zone_off(zone: str, name: Name = DEFAULT_NAME) -> None:
    """Power off all nodes of a zone."""
    faults.zone_off(cluster.running(name), zone)


@fault.command("zone-on")
def zone_on(zone: str, no_wait: NoWait = False, name: Name = DEFAULT_NAME) -> None:
    """Power on all nodes of a zone."""
    faults.zone_on(cluster.running(name), zone, wait=not no_wait)


@fault.command()
def pause(node: NodeName, name: Name = DEFAULT_NAME) -> None:
    """Freeze a node: peers see silence, not errors."""
    faults.pause(cluster.running(name), node)


@fault.command()
def unpause(node: NodeName, name: Name = DEFAULT_NAME) -> None:
    """Let a frozen node go on."""
    faults.unpause(cluster.running(name), node)


@fault.command()
def unplug(node: NodeName, name: Name = DEFAULT_NAME) -> None:
    """Pull a node's network cable."""
    faults.unplug(cluster.running(name), node)


@fault.command()
def plug(node: NodeName, name: Name = DEFAULT_NAME) -> None:
    """Put the network cable back."""
    faults.plug(cluster.running(name), node)


@fault.command()
def partition(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    one_way: Annotated[bool, typer.Option("--one-way", help="Drop only what A sends to B.")] = False,
    loss: Annotated[float, typer.Option(help="The share of packets to drop.")] = 1.0,
    name: Name = DEFAULT_NAME,
) -> None:
    """Drop the traffic between two nodes and their pods."""
    faults.partition(cluster.running(name), a, b, one_way=one_way, loss=loss)


@fault.command()
def isolate(node: NodeName, name: Name = DEFAULT_NAME) -> None:
    """Drop the traffic between a node and all others."""
    faults.isolate(cluster.running(name), node)


@fault.command("stop-apiserver")
def stop_apiserver(name: Name = DEFAULT_NAME) -> None:
    """Stop the API server."""
    faults.stop_apiserver(cluster.running(name))


@fault.command("start-apiserver")
def start_apiserver(name: Name = DEFAULT_NAME) -> None:
    """Start the API server again."""
    faults.start_apiserver(cluster.running(name))


@fault.command("pod-kill")
def pod_kill(
    namespace: str,
    pod: str,
    container: str,
    signal: Annotated[str, typer.Argument(help="A signal's name.")] = "KILL",
    process: Process = "",
    name: Name = DEFAULT_NAME,
) -> None:
    """Send a signal to a container's main process, from the node."""
    faults.pod_kill(cluster.running(name), namespace, pod, container, signal, process=process)


@fault.command()
def sigstop(namespace: str, pod: str, container: str, process: Process = "", name: Name = DEFAULT_NAME) -> None:
    """Freeze a process."""
    faults.sigstop(cluster.running(name), namespace, pod, container, process=process)


@fault.command()
def sigcont(namespace: str, pod: str, container: str, process: Process = "", name: Name = DEFAULT_NAME) -> None:
    """Let a frozen process go on."""
    faults.sigcont(cluster.running(name), namespace, pod, container, process=process)


@fault.command()
def fill(
    node: NodeName,
    path: Annotated[str, typer.Argument(help="A folder in the node.")],
    size: Annotated[str, typer.Argument(help="How much, as fallocate reads it (512MiB), or `all`.")],
    name: Name = DEFAULT_NAME,
) -> None:
    """Take space in a folder of a node."""
    faults.fill(cluster.running(name), node, path, size)


@fault.command()
def unfill(node: NodeName, name: Name = DEFAULT_NAME) -> None:
    """Give back the space that `fill` took."""
    faults.unfill(cluster.running(name), node)


@fault.command()
def heal(no_wait: NoWait = False, name: Name = DEFAULT_NAME) -> None:
    """Take back every fault."""
    faults.heal(cluster.running(name), wait=not no_wait)


@fault.command("self-test")
def self_test() -> None:
    """Prove, on a volume of its own, that a power cut loses what was not synced and nothing else. Needs no cluster."""
    with TemporaryDirectory(prefix="baas-lab-") as folder:
        volumes.self_test(volumes.Volume(Path(folder) / "mounted", Path(folder) / "volume.ext4"))
    print("A file that was synced survived the power cut, one that was not is gone.")
