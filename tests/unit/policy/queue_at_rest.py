"""A queue at rest, as the API server and JetStream tell of it: what stories of rolls, scaling and repair begin with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from baas_operator.api.kinds import EVENT_QUEUE, STATEFUL_SET, VOLUME_CLAIM
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.observe.queue import ConsumerState, Group, Replica
from baas_operator.observe.view import View
from baas_operator.policy.plan import DeletePod, Evacuate, Plan, RemoveServer, ReplaceVolume, StepDown
from baas_operator.policy.queue import plan_queue
from tests.unit.objects import NOW, keyed, nodes, owner, pod
from tests.unit.policy.queue_model import Nats

ORDERS = {"name": "orders", "subjects": ["orders.>"], "consumers": [{"name": "billing"}]}
ZONES = ("zone-a", "zone-b", "zone-c", "zone-d", "zone-e")


class Queue:
    """A queue at rest, whose StatefulSet is there; a story changes what it is about."""

    def __init__(self, servers: int = 3, asked: int | None = None, streams: tuple[Manifest, ...] = (ORDERS,), **spec: Any) -> None:
        self.nats = Nats(*streams, zones=ZONES[:3], replicas=asked or servers, **spec)
        self.servers = servers
        self.names = [f"mq-{number}" for number in range(servers)]
        self.state = replace(self.nats.jetstream, meta=self.group("mq-0", *self.names[1:]))  # type: ignore[type-var]
        self.revisions = dict.fromkeys(self.names, "new")
        self.pods: dict[str, dict[str, Any]] = {name: {} for name in self.names}
        self.claims = dict.fromkeys(self.names, "there")
        self.gone: set[str] = set()
        self.generation = 2
        self.zoned = False
        self.zone_of: dict[str, str] = {}

    @staticmethod
    def group(leader: str | None, *others: str, late: tuple[str, ...] = (), off: tuple[str, ...] = ()) -> Group:
        return Group(leader, tuple(Replica(each, current=each not in (*late, *off), offline=each in off) for each in others))

    def put(
        self, stream: str, leader: str | None, *others: str, late: tuple[str, ...] = (), moving: bool = False, copies: int | None = None
    ) -> None:
        """The stream and its consumers are there. `copies`: that it should have, by its own configuration."""
        group = replace(self.group(leader, *others, late=late), moving=moving)
        state = self.state.streams[stream]
        consumers = {
            name: ConsumerState(leader, group.replicas, config=each.config) for name, each in state.consumers.items()
        }  # fmt: skip
        config = {**state.config, "num_replicas": copies or state.config["num_replicas"]}
        made = replace(state, config=config, leader=leader, replicas=group.replicas, moving=moving, consumers=consumers)
        self.state = replace(self.state, streams={**self.state.streams, stream: made})

    def plan(self, *more_children: Manifest) -> Plan:
        return plan_queue(self.view(*more_children))

    def view(self, *more_children: Manifest) -> View:
        whose = owner(EVENT_QUEUE, "mq")
        children = []
        for name, more in self.pods.items():
            zone = self.zone_of.get(name, ZONES[int(name[-1])])
            made = pod(whose, name, names.COMPONENT, on=more.get("on", f"node-{zone}"), ready=more.get("ready", True), ip="10.0.0.1",
                       labels={"controller-revision-hash": self.revisions[name]}, waiting=more.get("waiting"),
                       annotations=more.get("annotations"))  # fmt: skip
            made["metadata"]["uid"] = f"uid-{name}"
            if "agent" in more:
                state = {"waiting": dict(zip(("reason", "message"), more["agent"], strict=True))}
                made["status"]["initContainerStatuses"] = [{"name": "agent", "state": state}]
            if more.get("goes"):
                made["metadata"]["deletionTimestamp"] = "2026-05-01T11:59:59Z"
            if "since" in more:
                made["status"]["conditions"][0]["lastTransitionTime"] = more["since"]
            if "no_place_since" in more:
                made["status"]["conditions"].append({
                    "type": "PodScheduled", "status": "False", "lastTransitionTime": more["no_place_since"],
                })  # fmt: skip
            children.append(made)
            if self.claims.get(name):
                claim = whose.child("v1", VOLUME_CLAIM.name, f"data-{name}", names.COMPONENT, spec={
                    "volumeName": "pv", "resources": {"requests": {"storage": "20Gi"}},
                }, annotations={"volume.kubernetes.io/selected-node": f"node-{zone}"})  # fmt: skip
                claim["metadata"]["uid"] = f"uid-of-data-{name}"
                children.append(claim)
        spread_out = [{"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}] if self.zoned else []
        workload = whose.child("apps/v1", STATEFUL_SET.name, "mq", names.COMPONENT, spec={
            "replicas": self.servers, "updateStrategy": {"type": "OnDelete"}, "template": {"spec": {
                "topologySpreadConstraints": spread_out,
            }}, "volumeClaimTemplates": [],
        })  # fmt: skip
        workload["metadata"] |= {"generation": self.generation, "resourceVersion": "9"}
        workload["status"] = {"updateRevision": "new", "observedGeneration": 2}
        cluster = {name: each for name, each in nodes(*ZONES).items() if name not in self.gone}
        there = keyed(*children, workload, *more_children)
        return View(resource=self.nats.resource, children=there, nodes=cluster, now=NOW, external=self.state)

    def moved(self) -> list[Any]:
        """The plan's effects that move something."""
        return [each for each in self.plan().effects if isinstance(each, DeletePod | Evacuate | RemoveServer | ReplaceVolume | StepDown)]


def silent(queue: Queue) -> None:
    queue.state = replace(queue.state, streams={}, silent=frozenset({"orders"}))
