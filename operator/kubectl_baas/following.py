"""An Operation, followed to its end, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from baas_operator.api.kinds import OPERATION
from baas_operator.api.operation import OperationPhase
from baas_operator.observe.conditions import READY, find
from kubectl_baas.cluster import Api
from kubectl_baas.errors import PluginError

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 15.0
"""How long past the Operation's own timeout the operator has to write its verdict: a leader that was lost is replaced in 15 s."""
_FINAL = (OperationPhase.SUCCEEDED, OperationPhase.REFUSED, OperationPhase.FAILED)


def follow(
    api: Api,
    made: dict[str, Any],
    tell: Callable[[dict[str, Any]], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Look at an Operation until it is over, and `tell` of each look. A look that fails is not the end: during a switchover
    the API server may be away for a moment, and the Operation goes on without being watched.

    Raises:
        PluginError: it was not over in time, or the API server was away for all the rest of it.
    """
    namespace, name = made["metadata"]["namespace"], made["metadata"]["name"]
    limit = float(made["spec"].get("timeoutSeconds", 120)) + _GRACE_SECONDS
    deadline = clock() + limit
    now, trouble = made, None
    while True:
        try:
            now, trouble = api.get(OPERATION.path(namespace, name)), None
        except PluginError as error:
            if error.status in (401, 403, 404):
                raise
            trouble = error
        tell(now)
        if phase(now) in _FINAL:
            return now
        if clock() >= deadline:
            raise trouble or PluginError(
                f"Operation {name} is still {phase(now)} after {limit:.0f} s. Is the operator up? `kubectl baas doctor` says. "
                "The Operation is still there: an operator that comes back gives it up, as its time is over. "
                f"Take it back with `kubectl delete bop {name} -n {namespace}`."
            )
        pause(_POLL_SECONDS)


def phase(made: dict[str, Any]) -> str:
    """How far an Operation is."""
    return str((made.get("status") or {}).get("phase") or OperationPhase.PENDING.value)


def steps(made: dict[str, Any]) -> list[tuple[str, bool]]:
    """(name, finished) of each step so far."""
    return [(str(each.get("name")), bool(each.get("finishedAt"))) for each in (made.get("status") or {}).get("steps") or []]


def outcome(made: dict[str, Any]) -> tuple[bool, str]:
    """Whether an Operation that is over succeeded, and the sentence that says what came of it."""
    said = str((find(made, READY) or {}).get("message") or "")
    if phase(made) != OperationPhase.SUCCEEDED:
        return False, f"{phase(made)}: {said or 'the operator gave no reason.'}"
    result = (made.get("status") or {}).get("result") or {}
    before, after = result.get("fromMember"), result.get("toMember")
    if not after:
        return True, f"Succeeded: {said}".rstrip(": ")
    took = result.get("durationSeconds")
    return True, (
        f"{made['spec']['target']['name']}: {before or 'the primary'} -> {after}" + (f" in {took:.1f} s" if took is not None else "")
    )
