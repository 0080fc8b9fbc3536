"""A parameter that PostgreSQL takes in only at its start, changed while a client writes: who is started anew, in which order, at what cost.

`max_connections` is the one that people change, and the awkward one: a standby must not have it lower than its primary. So it is raised on
the standbys first, and lowered on the primary first. What needs no start is told in `test_database.py`.
"""

from __future__ import annotations

import time
from itertools import groupby

import pytest

from baas_lab.errors import CommandError
from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.ledger import Ledger, assert_nothing_lost

pytestmark = pytest.mark.e2e

ROLLED_SECONDS = 420.0
"""For all members, one after the other, each of which has to start, follow and confirm commits again."""
MOVE_SECONDS = 3.0
"""Half as much again as `tests/chaos/database/bounds.py` promises of a rolling update: a busy machine runs this in between."""
START_SECONDS = 10.0
"""A primary that is started anew in its place shuts down and starts: 2 to 3 s on a quiet machine."""
SENT = 2
"""Rows that a move may leave in doubt: one that the old primary has got, and one whose connection went before it was asked for."""


def set_max_connections(database: Database, value: str) -> None:
    changed = {"spec": {"parameters": {"max_connections": value}}}
    database.kube.must_patch("DatabaseReplica", database.namespace, database.name, changed)


def pods(database: Database) -> dict[str, str]:
    """The members' pods: name → uid."""
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in database.members()}


_REFUSED = (
    "shutting down", "Connection refused", "starting up", "not yet accepting", "read-only transaction", "hot standby mode",
    "Is the server running",
)  # fmt: skip
"""What PostgreSQL, or its host, says to a client whose statement it did not take."""


def wait_for_all(database: Database, client: ClientPod, value: str) -> dict[str, set[str]]:
    """Until each member says that it has the value; by member the uids of the pods that it had meanwhile."""
    had: dict[str, set[str]] = {}

    def has(member: str) -> bool:
        try:
            return client.psql(database.member_uri(member), "show max_connections") == [value]
        except CommandError:
            return False  # it is the one that starts

    def all_have() -> bool:
        for name, uid in pods(database).items():
            had.setdefault(name, set()).add(uid)
        return len(names := database.names()) == 3 and all(map(has, names))

    wait_until(all_have, timeout_seconds=ROLLED_SECONDS, what=f"every member has max_connections {value}")
    return had


def started(database: Database, client: ClientPod) -> dict[str, float]:
    """When each member's PostgreSQL started, in seconds since 1970."""
    asked = "select extract(epoch from pg_postmaster_start_time())"
    return {member: float(client.psql(database.member_uri(member), asked)[0]) for member in database.names()}


def sent_in_doubt(ledger: Ledger) -> list[str]:
    """Errors of rows that may have been written: neither the connection nor the statement was refused."""
    return [each for each in ledger.in_doubt if not any(text in each for text in _REFUSED)]


def test_a_raised_max_connections_restarts_standbys_first_and_moves_the_primary_once(
    database: Database, client: ClientPod, ledger: Ledger
) -> None:
    old, were = database.leader(), pods(database)
    was_at, first = database.address(old), len(ledger.acks)
    ledger.in_doubt.clear()

    with ledger.writing():
        since = time.monotonic()
        set_max_connections(database, "130")
        had = wait_for_all(database, client, "130")
        took = time.monotonic() - since

    gap, doubts = ledger.longest_gap_seconds(since), sent_in_doubt(ledger)
    database.wait_whole()
    begun = started(database, client)
    order = sorted(begun, key=lambda name: begun[name])
    print(f"\nmax_connections raised: {took:.0f} s, {' → '.join(order)} (primary: {old}), {gap:.2f} s without writes, doubts: {doubts}")
    assert_nothing_lost(ledger, database)
    assert {name: len(uids) for name, uids in had.items()} == dict.fromkeys(were, 2), "each was made anew once"
    assert order[-1] == old, "the primary last"
    servers = [server for server, _ in groupby(ack.server for ack in ledger.acks[first:])]
    assert servers == [was_at, database.address(database.leader())], "one move, and no more"
    assert gap < MOVE_SECONDS
    assert len(doubts) <= SENT


@pytest.mark.chaos
def test_a_lowered_max_connections_restarts_the_primary_first_and_in_its_place(
    database: Database, client: ClientPod, ledger: Ledger
) -> None:
    set_max_connections(database, "130")
    wait_for_all(database, client, "130")
    database.wait_whole()
    primary, were = database.leader(), pods(database)
    before = started(database, client)
    ledger.in_doubt.clear()

    with ledger.writing():
        since = time.monotonic()
        set_max_connections(database, "110")
        had = wait_for_all(database, client, "110")
        took = time.monotonic() - since

    gap, doubts = ledger.longest_gap_seconds(since), sent_in_doubt(ledger)
    database.wait_whole()
    begun = started(database, client)
    order = sorted(begun, key=lambda name: begun[name])
    print(
        f"\nmax_connections lowered: {took:.0f} s, {' → '.join(order)} (primary: {primary}), {gap:.2f} s without writes, doubts: {doubts}"
    )
    assert_nothing_lost(ledger, database)
    assert database.leader() == primary, "it did not move"
    now = pods(database)
    assert [name for name in were if now[name] == were[name]] == [primary], "the primary in its place, the others made anew"
    assert all(begun[name] > before[name] for name in before), "each was started anew"
    assert order[0] == primary, "no standby has it lower than the primary had"
    assert gap < START_SECONDS
    assert len(doubts) <= SENT
    assert {name: len(uids) for name, uids in had.items()} == {name: 1 if name == primary else 2 for name in were}, "nobody for nothing"
