"""Manifests of our kinds, as short as a test wants them."""

from __future__ import annotations

from baas_operator.api.group import API_VERSION
from tests.harness.api import Object


def own(kind: str, name: str, spec: object = None, **metadata: object) -> Object:
    """An object of one of our kinds; `spec=None` leaves the spec out altogether."""
    made: Object = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name} | metadata}
    return made if spec is None else made | {"spec": spec}


def switchover(name: str, database: str, to: str | None = None) -> Object:
    """An Operation that moves the primary of `database`."""
    parameters = {"parameters": {"to": to}} if to else {}
    return own("Operation", name, {"action": "switchover", "target": {"name": database}} | parameters)
