"""Webhooks, enabled again by the operator."""

from __future__ import annotations

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.dispatcher import notes_copies
from baas_operator.dispatcher.state import State
from baas_operator.engine.queue_of import asked
from baas_operator.observe.view import View
from baas_operator.policy.plan import EnableWebhook, Forgotten


async def enable_webhook(effect: EnableWebhook, view: View) -> Forgotten:
    """Forget what is noted of its endpoint; what that was.

    Raises:
        Waiting: nobody answers; it may have been forgotten all the same.
    """
    async with asked(view, effect.queue) as connection:
        spec = EventQueueSpec.stored(view.others[(EVENT_QUEUE.name, effect.queue)]["spec"])
        return Forgotten((await State(connection, notes_copies(spec)).enable(effect.webhook)).disabled)
