"""The Lease that the working replica of the operator renews: who holds it, and whether anybody does. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from kubectl_baas.text import parse_time
from kubectl_baas.views import OperatorView

Manifest = Mapping[str, Any]

LEASES = "/apis/coordination.k8s.io/v1"
LEASE = "baas-operator"
DEFAULT_LEASE_SECONDS = 15
_HANDOVER = timedelta(seconds=5)
"""A leader that is lost is replaced within 2 s after its Lease has run out; the API server's clock is read to whole seconds."""


def renewed_at(lease: Manifest) -> datetime | None:
    """When it was last renewed."""
    renewed = (lease.get("spec") or {}).get("renewTime")
    return parse_time(renewed) if renewed else None


def lasts(lease: Manifest) -> timedelta:
    """How long it is good without being renewed."""
    return timedelta(seconds=(lease.get("spec") or {}).get("leaseDurationSeconds") or DEFAULT_LEASE_SECONDS)


def observe_operator(leases: Iterable[Manifest], now: datetime | None) -> OperatorView | None:
    """Whether an operator runs, from all Leases of its name; None where that can not be told. `now` is the API server's clock.

    Who holds it does not matter: one replica lets go of it, and the other takes it, whenever the operator is updated.
    """
    if now is None:
        return None
    held = [(renewed, lasts(each)) for each in leases if (renewed := renewed_at(each))]
    running = any(now - renewed <= duration + _HANDOVER for renewed, duration in held)
    last = max((renewed for renewed, _ in held), default=None)
    return OperatorView(running=running, last_seen=last.isoformat(timespec="seconds") if last else None)
