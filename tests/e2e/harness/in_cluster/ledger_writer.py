"""Writes rows through one URI until its stdin ends, and tells of each that the database acknowledged.

A deadline here closes the connection and never cancels the statement: a commit that is cancelled while it waits for a standby says
that it was done, and may be lost (PostgreSQL manual, "Synchronous replication"). A row whose answer did not come is in doubt; it
counts neither as written nor as lost, and the next one has another id.

Arguments: URI, first id. Prints {"id", "checksum", "server"} for an acknowledged row, {"error"} for one in doubt.
"""

import hashlib
import json
import select
import sys
import threading
import time

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

DEADLINE_SECONDS = 2.0
PAUSE_SECONDS = 0.02
INSERT = "insert into ledger (id, payload, checksum) values (%s, %s, %s) returning host(inet_server_addr())"

ended = threading.Event()


def wait_for_end():
    sys.stdin.read()
    ended.set()


def settle(connection, deadline):
    """Wait until an asynchronous connection has done what it was asked for."""
    while (state := connection.poll()) != POLL_OK:
        left = deadline - time.monotonic()
        watched = [connection.fileno()]
        ready = select.select(watched if state == POLL_READ else [], [] if state == POLL_READ else watched, [], max(left, 0))
        if not any(ready):
            raise TimeoutError(f"no answer within {DEADLINE_SECONDS} s")


def write(connection, number):
    deadline = time.monotonic() + DEADLINE_SECONDS
    if connection is None:
        connection = psycopg2.connect(sys.argv[1], async_=True)
        settle(connection, deadline)
    payload = f"row {number}"
    checksum = hashlib.sha256(payload.encode()).hexdigest()
    cursor = connection.cursor()
    cursor.execute(INSERT, (number, payload, checksum))
    settle(connection, deadline)
    return connection, {"id": number, "checksum": checksum, "server": cursor.fetchone()[0]}


threading.Thread(target=wait_for_end, daemon=True).start()
connection, number = None, int(sys.argv[2])
while not ended.is_set():
    try:
        connection, row = write(connection, number)
        print(json.dumps(row))
    except (psycopg2.Error, TimeoutError) as error:
        print(json.dumps({"error": f"row {number}: {error}".strip()}))
        if connection is not None:
            connection.close()
        connection = None
    number += 1
    ended.wait(PAUSE_SECONDS)
