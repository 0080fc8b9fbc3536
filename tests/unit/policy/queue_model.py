"""An EventQueue with its servers and what JetStream says, for stories about what is decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.dead_letters import letters_kept
from baas_operator.desired.queue.room import room
from baas_operator.desired.queue.streams import Kept, all_kept
from baas_operator.observe.queue import ConsumerState, Group, JetStreamState, Replica, StreamState
from baas_operator.observe.view import View
from baas_operator.policy.plan import Plan
from baas_operator.policy.queue import plan_queue
from tests.unit.objects import NAMESPACE, NOW, ZONES, keyed, nodes, own, owner, pod, secret

ORDERS = {"name": "orders", "subjects": ["orders.>"]}
SERVERS = ("mq-0", "mq-1", "mq-2", "mq-3", "mq-4")
META = Group("mq-0", (Replica("mq-1", current=True), Replica("mq-2", current=True)))

GI = 2**30
DIALS = {"east_mq": "copier"}


class Nats:
    """An EventQueue with its servers and what JetStream says; as it should be, unless a story changes it."""

    def __init__(self, *streams: Manifest, zones: tuple[str | None, ...] = ZONES, **spec: Any) -> None:
        self.resource = own(EVENT_QUEUE, "mq", {"streams": list(streams), **spec})
        self.zones = dict(zip(SERVERS, zones, strict=False))
        self.ready = set(self.zones)
        self.nodes = nodes(*zones)
        self.jetstream: JetStreamState | None = JetStreamState(
            "mq-0",
            {each.name: self.stream({"name": each.name}) for each in self.kept()},
            meta=Group("mq-0", (Replica("mq-1", True), Replica("mq-2", True))),
        )
        self.passwords = True
        self.others: list[Manifest] = []
        self.secrets: dict[str, Manifest] = {}

    def kept(self) -> list[Kept]:
        """Streams that are to be there."""
        spec = EventQueueSpec.model_validate(self.resource["spec"])
        shares = room(spec, {}).shares
        return [
            *all_kept(spec, queue="mq", namespace=NAMESPACE, shares=shares, dials=DIALS),
            *letters_kept(spec, queue="mq", shares=shares),
        ]

    def stream(self, declared: Manifest, *, leader: str | None = "mq-0", behind: tuple[str, ...] = ()) -> StreamState:
        """A stream as JetStream tells it: the leader, and the others as it sees them."""
        (wanted,) = (each for each in self.kept() if each.name == declared["name"])
        config = {**wanted.config, "allow_direct": True}
        others = tuple(Replica(each, current=each not in behind) for each in self.zones if each != leader)
        consumers = {name: ConsumerState(leader, others, config=each) for name, each in wanted.consumers.items()}
        return StreamState(config, leader, others, consumers=consumers)

    def say(self, name: str, **change: Any) -> None:
        """JetStream says something else of a stream."""
        assert self.jetstream
        self.jetstream = replace(self.jetstream, streams={**self.jetstream.streams, name: replace(self.jetstream.streams[name], **change)})

    def plan(self) -> Plan:
        whose = owner(EVENT_QUEUE, "mq")
        made = [
            pod(whose, name, names.COMPONENT, on=f"node-{zone}" if zone else None, ready=name in self.ready, ip="10.0.0.1")
            for name, zone in self.zones.items()
        ]
        if self.passwords:
            made += [
                secret(whose, names.user_secret("mq", user), names.COMPONENT, username=user, password=f"p-{user}") for user in names.USERS
            ]
            made.append(secret(whose, names.ca("mq"), names.COMPONENT, **{"ca.crt": "PEM"}))
        return plan_queue(
            View(
                resource=self.resource,
                children=keyed(*made, *self.others),
                nodes=self.nodes,
                now=NOW,
                external=self.jetstream,
                secrets=self.secrets,
            )
        )


def kinds(plan: Plan) -> set[str]:
    return {each["kind"] for each in plan.manifests}
