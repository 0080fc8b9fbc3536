"""The queue that an Operation is for, asked over a connection for one step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from nats.aio.client import Client as Nats

from baas_operator.api.kinds import EVENT_QUEUE, POD
from baas_operator.desired.queue import names
from baas_operator.engine import jetstream
from baas_operator.engine.errors import Waiting
from baas_operator.engine.gather import queue_login
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.observe.view import View, is_ready

UNANSWERED = "Unanswered"
"""Why an Operation waits; the message says more, and its status repeats it."""


@asynccontextmanager
async def asked(view: View, name: str) -> AsyncIterator[Nats]:
    """A connection to a queue that an Operation's view has.

    Raises:
        Waiting: nobody answers, or JetStream refuses what is asked inside; what was done meanwhile is found done.
    """
    key = (EVENT_QUEUE.name, name)
    if key not in view.others:
        raise Waiting("QueueGone", "the queue is gone", 2.0)
    queue = replace(view, resource=view.others[key], children=view.other_children.get(key, {}))
    login = queue_login(queue, names.ADMIN)
    pod = next((pod for pod in queue.all(POD, names.COMPONENT) if is_ready(pod)), None)
    if login is None or pod is None:
        raise Waiting("ServersNotReady", "no server of the queue is ready", 2.0)
    try:
        async with jetstream.connect(pod["status"]["podIP"], names.CLIENT_PORT, **login) as connection:
            yield connection
    except JetStreamError as error:
        raise Waiting(UNANSWERED, f"JetStream refused it: {error}", 2.0) from error
    except Unreachable as error:
        raise Waiting(UNANSWERED, f"JetStream did not answer: {str(error) or type(error).__name__}", 2.0) from error
