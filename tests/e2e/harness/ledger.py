"""A ledger of what a database acknowledged, kept by its client, and the comparison with what each member has in the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from baas_lab.errors import CommandError
from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import SQL, ClientPod
from tests.e2e.harness.database import Database

TABLE = "create table if not exists ledger (id bigint primary key, payload text not null, checksum text not null)"
WRITES_AGAIN_SECONDS = 60.0


class Ack(NamedTuple):
    """An acknowledged row: its id, the checksum of its payload, the member that took it, and when the answer came."""

    id: int
    checksum: str
    server: str
    at: float


@dataclass
class Ledger:
    """Rows written through one URI. `acks` grows while `writing`."""

    client: ClientPod
    uri: str
    acks: list[Ack] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    began: float = 0.0
    """When the latest `writing` began, by the monotonic clock."""

    def prepare(self) -> None:
        """Make the table."""
        self.client.psql(self.uri, TABLE)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write all the while; begins and ends with rows that were acknowledged."""
        first = 1 + max((ack.id for ack in self.acks), default=0)
        first += 100_000 if self.acks else 0  # rows in doubt have ids, too
        self.began = time.monotonic()
        with self.client.running(SQL, "ledger_writer.py", self.uri, str(first), tell=self._note):
            self.wait_for_writes()
            yield
            self.wait_for_writes()

    def wait_for_writes(self, rows: int = 20) -> None:
        """Wait for some more acknowledgements."""
        wanted = len(self.acks) + rows
        wait_until(lambda: len(self.acks) >= wanted, timeout_seconds=WRITES_AGAIN_SECONDS, what=f"rows are acknowledged{self._doubts()}")

    def wait_for_another_server(self, than: str, timeout_seconds: float = WRITES_AGAIN_SECONDS) -> Ack:
        """Wait until another member than `than` (an address) takes the rows."""
        what = f"a member other than {than} takes rows{self._doubts()}"
        wait_until(lambda: self.acks[-1].server != than, timeout_seconds=timeout_seconds, what=what)
        return self.acks[-1]

    def longest_gap_seconds(self, since: float) -> float:
        """The longest time without an acknowledgement in the latest `writing`, from the last one before `since` (monotonic) on; nobody
        waited for one before that writing began."""
        times = [self.began, *(ack.at for ack in self.acks if ack.at >= self.began)]
        return max((later - earlier for earlier, later in pairwise(times) if later >= since), default=0.0)

    def missing_in(self, uri: str) -> list[Ack]:
        """Acknowledged rows that the member at `uri` lacks or has otherwise. It has replayed all by then: see `wait_replayed`."""
        rows = self.client.psql(uri, "select id, checksum, payload from ledger")
        have = {}
        for row in rows:
            number, checksum, payload = row.split("|")
            assert hashlib.sha256(payload.encode()).hexdigest() == checksum, f"row {number} is damaged: {row}"
            have[int(number)] = checksum
        return [ack for ack in self.acks if have.get(ack.id) != ack.checksum]

    def wait_replayed(self, uri: str, timeout_seconds: float = 30) -> None:
        """Wait until the member at `uri` has all that the primary has by now."""
        (position,) = self.client.psql(self.uri, "select pg_current_wal_lsn()")
        replayed = f"select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= '{position}'"
        what = f"the member has replayed {position}"

        def has_replayed() -> bool:
            try:
                return self.client.psql(uri, replayed) == ["t"]
            except CommandError:
                return False  # a former primary that comes back is started twice, once for pg_rewind

        wait_until(has_replayed, timeout_seconds=timeout_seconds, what=what)

    def _note(self, line: dict[str, Any]) -> None:
        if "error" in line:
            self.in_doubt.append(line["error"])
        else:
            self.acks.append(Ack(line["id"], line["checksum"], line["server"], time.monotonic()))

    def _doubts(self) -> str:
        return f"; the last error: {self.in_doubt[-1]}" if self.in_doubt else ""


def assert_nothing_lost(ledger: Ledger, database: Database) -> None:
    """Every acknowledged row is in every member."""
    database.wait_whole()
    for member in database.names():
        ledger.wait_replayed(database.member_uri(member))
        missing = ledger.missing_in(database.member_uri(member))
        assert not missing, f"{member} lacks {len(missing)} of {len(ledger.acks)} acknowledged rows, such as {missing[:3]}"
