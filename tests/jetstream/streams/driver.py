"""A queue's spec brought about on real servers by the operator's own steps: look, compare, do; no Kubernetes between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nats.aio.client import Client as Nats

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.dead_letters import letters_kept
from baas_operator.desired.queue.room import room
from baas_operator.desired.queue.streams import all_kept
from baas_operator.engine import jetstream
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.observe.queue import JetStreamState, QueueObservation
from baas_operator.policy.queue.streams import Keeping, keep

QUEUE, NAMESPACE = "mq", "prod"
SYSTEM = """
accounts {
  SYS: { users: [ { user: system, password: s } ] }
  APP: { jetstream: enabled, users: [ { user: admin, password: a } ] }
}
system_account: SYS
"""


def spec_of(**spec: Any) -> EventQueueSpec:
    """A spec, checked as the API server's would be."""
    return EventQueueSpec.model_validate({"storage": {"size": "1Gi"}, **spec})


def compare(
    spec: EventQueueSpec, state: JetStreamState, *, ready: int = 3, resting: str = "", copies: Mapping[str, int] = MappingProxyType({})
) -> Keeping:
    """What the policy makes of what is there. `copies`: of each stream, for now, while servers go."""
    shares = room(spec, QueueObservation((), state).held()).shares
    wanted = [*all_kept(spec, queue=QUEUE, namespace=NAMESPACE, shares=shares), *letters_kept(spec, queue=QUEUE, shares=shares)]
    return keep(wanted, state, queue=QUEUE, ready=ready, resting=resting, copies=copies)


async def settle(client: Nats, spec: EventQueueSpec, *, ready: int = 3, seconds: float = 40.0) -> JetStreamState:
    """Until nothing is left to do, and all is level. What is refused is left."""
    deadline = asyncio.get_running_loop().time() + seconds
    problem: object = None
    while asyncio.get_running_loop().time() < deadline:
        try:
            state = await jetstream.look(client)
            keeping = compare(spec, state, ready=ready)
            if not keeping.effects and not state.silent and is_level(state):
                return state
            for effect in keeping.effects:
                try:
                    await jetstream.bring_about(client, effect)
                except JetStreamError as error:  # it holds up nothing, as in a reconcile
                    problem = error
        except (JetStreamError, *Unreachable) as error:
            problem = error
        await asyncio.sleep(0.2)
    raise AssertionError(f"not settled: {problem!r}, {keeping}, {[(what, group) for what, *_, group in state.groups()]}")


def is_level(state: JetStreamState) -> bool:
    """Whether every copy is as good as its leader's."""
    return all(not group.moving and group.behind() is None for *_, group in state.groups())


async def until_level(client: Nats, *, seconds: float = 60.0) -> JetStreamState:
    """Until all that is there is level."""
    deadline = asyncio.get_running_loop().time() + seconds
    state = JetStreamState()
    while asyncio.get_running_loop().time() < deadline:
        try:
            state = await jetstream.look(client)
            if not state.silent and is_level(state):
                return state
        except (JetStreamError, *Unreachable):
            pass
        await asyncio.sleep(0.3)
    raise AssertionError(f"not level: {[(what, group) for what, *_, group in state.groups()]}")
