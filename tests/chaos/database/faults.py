"""All that is done to a database."""

from __future__ import annotations

from tests.chaos.database.systems import POSTGRES
from tests.chaos.faults import PARTITION_SECONDS, Fault, Scene, heal, table

# Where Patroni is process 1 it forks: its child is the Patroni that matters, with the same command line. (Where the pod's containers
# share their processes it does not.) The container ends with it, so the signal is sent when whoever asked for it has had its answer.
_KILL_PATRONI = """
import os, signal, time
lines, parents = {}, {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        lines[pid] = open(f"/proc/{pid}/cmdline", "rb").read()
        parents[pid] = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
    except OSError:
        continue
every = [pid for pid in lines if any(word.endswith(b"bin/patroni") for word in lines[pid].split(b"\\0")[:2])]
found = [pid for pid in every if parents.get(pid) in every] or every
assert len(found) == 1, f"these processes are Patroni: {found}"
if os.fork() == 0:
    for stream in range(3):
        os.close(stream)
    time.sleep(0.2)
    os.kill(int(found[0]), signal.SIGKILL)
"""


def _kill_postgres(scene: Scene) -> None:
    scene.kill(process="postgres")


def _kill_patroni(scene: Scene) -> None:
    words = ("exec", scene.leader.name, "--container", POSTGRES, "--", "python3", "-c", _KILL_PATRONI)
    scene.lab.kubectl("--namespace", scene.system.namespace, *words)


def _hang_patroni(scene: Scene) -> None:
    scene.kill("STOP", process="patroni")


FAULTS: dict[str, Fault] = table(
    leader="primary",
    others="standbys",
    move=("switchover", "planned switchover"),
    own=(
        Fault("postgres-kill", "postgres killed -9", _kill_postgres),
        Fault("patroni-kill", "Patroni killed -9", _kill_patroni),
        Fault("patroni-hang", "Patroni hangs, PostgreSQL goes on", _hang_patroni, heal, PARTITION_SECONDS),
    ),
)
