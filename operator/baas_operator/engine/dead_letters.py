"""Dead letters, replayed and purged by the operator: one step of some seconds at a time, over a connection for that step."""

from __future__ import annotations

from baas_operator.api.operation import Action
from baas_operator.dead_letters.inspect import purge_step, replay_step
from baas_operator.engine.queue_of import asked
from baas_operator.observe.view import View
from baas_operator.policy.plan import LetterWork, WorkOnLetters
from baas_operator.telemetry.metrics import LETTERS_PURGED, LETTERS_REPLAYED


async def work_on_letters(effect: WorkOnLetters, view: View) -> LetterWork:
    """Carry on, and say how far it is.

    Raises:
        Waiting: nobody answers; what was done meanwhile is found done.
    """
    async with asked(view, effect.queue) as connection:
        if effect.action is Action.PURGE_DEAD_LETTERS:
            counter = LETTERS_PURGED
            work = await purge_step(connection, effect.stream, effect.letters, effect.work, limit=effect.limit)
        else:
            counter = LETTERS_REPLAYED
            work = await replay_step(
                connection, effect.stream, effect.letters, effect.work, operation_id=effect.operation_uid, rate=effect.rate,
                limit=effect.limit,
            )  # fmt: skip
    counter.labels(view.owner.namespace, effect.queue, effect.stream).inc(max(0, work.done - effect.work.done))
    return work
