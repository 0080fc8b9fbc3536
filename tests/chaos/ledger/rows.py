"""The client that writes rows, and psql beside it, in a ledger's pod."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tests.chaos.ledger.pod import FETCH_SECONDS, LedgerPod, Writing, script_text

WRITERS = 5
"""The probe, and four for load."""


def psql(pod: LedgerPod, uri: str, sql: str, *, timeout_seconds: float = 30) -> list[str]:
    """Rows of a query, fields separated by `|`. Raises CommandError with what the server said."""
    script = 'PGCONNECT_TIMEOUT=3 exec psql -XAtq -v ON_ERROR_STOP=1 -f - "$1"'
    return pod.shell(script, uri, input=sql, timeout_seconds=timeout_seconds).splitlines()


def read_back(pod: LedgerPod, uri: str, table: str) -> str:
    """All rows of a table as the member at `uri` has them, as `verdict.rows_of` reads it. Raises CommandError."""
    return pod.shell('exec python3 - "$1" "$2"', uri, table, input=script_text("read_back.py"), timeout_seconds=FETCH_SECONDS)


def writing(pod: LedgerPod, uri: str, table: str, *, writers: int = WRITERS) -> AbstractContextManager[Writing]:
    """Have the client write into `table`, which is made if it is not there. Ends it, if the block has not."""
    psql(pod, uri, f"create table if not exists {table} (id bigint primary key, payload text not null, checksum text not null)")
    return pod.running("ledger_client.py", table, {"uri": uri, "table": table, "writers": writers})
