"""What of each dashboard is drawn, and which panels may have nothing to show."""

from __future__ import annotations

from collections.abc import Mapping

MAIN: Mapping[str, tuple[str, ...]] = {
    "executive": (
        "Serves", "Any zone may be lost", "Waits for somebody", "Answered without an error, 30 days",
        "Synthetic transactions that worked, 7 days", "Last failover took", "Requests by result", "Time to answer",
    ),
    "on-call": (
        "Backend serves", "Backend may lose a zone", "Database serves", "Database may lose a zone", "Queue serves", "Queue may lose a zone",
        "Errors of all requests", "Time to answer", "Turned away: limits and keys",
        "Healthy pods", "Errors by component", "Reads that standbys answer",
        "Primary", "Standbys behind, bytes", "Connections of those that there may be",
        "Shed: more than a component may get", "Pods put out for a moment", "Synthetic transactions in a row that failed",
        "Servers that are up to date", "Dead letters",
    ),
    "debug": (
        "Requests by route", "Time behind the gateway by route, 95 %", "Errors by route",
        "Requests by pod", "Under way by pod", "Memory by pod",
        "Requests by component", "Time to answer by component, 95 %", "Sent again",
        "Commits and rollbacks", "Sessions by state", "Longest transaction",
        "What each server leads", "Reconciles by outcome",
    ),
}  # fmt: skip
"""Dashboard -> titles of the panels of its picture. All others are asked, too."""

_FAILOVER = frozenset({"zone-away", "each-pod"})
"""Scenes in which the database's primary goes."""
QUIET: Mapping[tuple[str, str], tuple[str, frozenset[str]]] = {
    ("executive", "Last failover took"): ("the database had none yet", _FAILOVER),
    ("executive", "Failovers and switchovers of the database"): ("the database had none yet", _FAILOVER),
    ("on-call", "Errors by component"): ("Envoy has no count of a status that there was not", frozenset()),
    ("on-call", "Oldest message that waits for a webhook"): ("the backend has no webhook", frozenset()),
    ("debug", "Errors by route"): ("Envoy has no count of a status that there was not", frozenset()),
    ("debug", "Attempts of webhooks by outcome"): ("the backend has no webhook", frozenset()),
}
"""(dashboard, panel) -> why it may have nothing to show, and the scenes in which it may not."""


def may_be_empty(board: str, title: str, scene: str) -> bool:
    """Whether a panel may have nothing to show of a scene."""
    found = QUIET.get((board, title))
    return found is not None and scene not in found[1]
