"""What a decision is shown: beside the object and its children, the Operations that are on the same database."""

from __future__ import annotations

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.engine.config import Config
from baas_operator.engine.gather import view_of
from baas_operator.engine.store import Store
from tests.unit.objects import own


def operation(name: str, database: str, phase: str | None = None) -> Manifest:
    spec = {"target": {"kind": "DatabaseReplica", "name": database}, "action": "switchover"}
    return own(OPERATION, name, spec, status={"phase": phase} if phase else {})


@pytest.fixture
def store() -> Store:
    made = Store()
    for each in (
        own(DATABASE_REPLICA, "db"), operation("db", "db"), operation("done", "db", "Succeeded"), operation("waits", "db"),
        operation("elsewhere", "other"),
    ):  # fmt: skip
        made.put(each)
    return made


def operations_in_view(store: Store, kind: str, name: str) -> set[str]:
    resource = store.get(kind, "prod", name)
    assert resource
    return {name for kind, name in view_of(store, resource, Config()).others if kind == OPERATION.name}


def test_a_database_is_shown_the_operations_on_it_whoever_made_them_and_whatever_they_are_called(store: Store) -> None:
    assert operations_in_view(store, "DatabaseReplica", "db") == {"db", "done", "waits"}


def test_an_operation_is_shown_the_others_until_it_is_over(store: Store) -> None:
    assert operations_in_view(store, "Operation", "waits") == {"db", "done"}
    assert operations_in_view(store, "Operation", "done") == set()
