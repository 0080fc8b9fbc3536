"""What can go wrong on purpose. Each fault is one function, most have one that takes it back, `heal` takes all back.

Nodes are named as in `Cluster.node`: in full, short (`worker2`), or by their zone. Nothing here needs the Kubernetes API
except where a pod is named, or where something is waited for.
"""

from __future__ import annotations

from baas_lab.faults.apiserver import start_apiserver, stop_apiserver
from baas_lab.faults.healing import affected, heal
from baas_lab.faults.network import heal_network, isolate, partition, plug, unplug
from baas_lab.faults.power import aside, kill, pause, power_cut, start, unpause, zone_off, zone_on
from baas_lab.faults.processes import pod_kill, sigcont, sigstop
from baas_lab.faults.storage import fill, unfill

__all__ = [
    "affected",
    "aside",
    "fill",
    "heal",
    "heal_network",
    "isolate",
    "kill",
    "partition",
    "pause",
    "plug",
    "pod_kill",
    "power_cut",
    "sigcont",
    "sigstop",
    "start",
    "start_apiserver",
    "stop_apiserver",
    "unfill",
    "unpause",
    "unplug",
    "zone_off",
    "zone_on",
]
