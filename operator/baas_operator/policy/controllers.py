"""Which decision belongs to which kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION
from baas_operator.observe.view import View
from baas_operator.policy.database import plan_database
from baas_operator.policy.instance import plan_instance
from baas_operator.policy.operation import plan_operation
from baas_operator.policy.plan import Plan
from baas_operator.policy.queue import plan_queue

PLANNERS: Mapping[str, Callable[[View], Plan]] = {
    DATABASE_REPLICA.name: plan_database,
    EVENT_QUEUE.name: plan_queue,
    BAAS_INSTANCE.name: plan_instance,
    OPERATION.name: plan_operation,
}
