"""Writes rows through one URI and keeps a ledger of every attempt, until a file named `stop` appears in its folder.

Runs in a pod, detached from whoever started it: a stopped API server must not end it. Several writers, each with a connection of its
own; writer 0 is the probe, whose acknowledgements the write gap is measured with. One checker reads what the writers were told.

A deadline here closes the connection and never cancels the statement: a commit that is cancelled while it waits for a standby says
that it was done, and may be lost (PostgreSQL manual, "Synchronous replication"). A row whose answer did not come is in doubt; it
counts neither as written nor as lost, and the next one has another id.

Argument: JSON with `uri` (it has `hostaddr`: name resolution blocks, and is not what is measured), `table`, `folder`, `writers`,
`most_seconds` (after that it ends by itself). In the folder it writes, times being seconds of CLOCK_MONOTONIC:

log.jsonl    {"e": "start", "w", "id", "t"}: an attempt of writer `w`
             {"e": "ack", "w", "id", "t", "server", "timeline", "sum"}: PostgreSQL said that it was committed
             {"e": "fail", "w", "id", "t", "error", "sent"}: it did not; `sent` is false where the row can not have been written
             {"e": "read", "began", "t", "server", "recovery", "checked", "missing", "vanished"}: the checker read; `missing` ids were
                 acknowledged before it began, `vanished` ones were only seen by an earlier read; `checked` is how many it looked for
             {"e": "read-fail", "t", "error"}
             {"e": "end", "t", "died"}: the last line of a log that is complete; `t` is when it was told to end, `died` names threads
status.json  what of it the driver needs while it runs
"""

import collections
import hashlib
import itertools
import json
import os
import random
import select
import sys
import threading
import time

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 2.0
PAUSE_SECONDS = 0.02
READ_PAUSE_SECONDS = 0.1
STATUS_SECONDS = 0.25
UNSTEADY_SECONDS = 1.0  # two acknowledgements of the probe that are further apart than this are no steady writing
RECENT = 300  # ids below the newest acknowledged one that each read covers
OLDER = 20  # as well as that many acknowledged ones of any age
PROBE = 0

INSERT = (
    "insert into {table} (id, payload, checksum) values (%s, %s, %s)"
    " returning host(inet_server_addr()), pg_walfile_name(pg_current_wal_lsn())"
)
READ = "select array(select id from {table} where id >= %s or id = any(%s)), host(inet_server_addr()), pg_is_in_recovery()"


class Book:
    """The ledger: what is written down, and what the checker and the driver need of it. Every method holds its lock."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()
        self.file = open(os.path.join(folder, "log.jsonl"), "w")
        self.acked = []
        self.recent = collections.deque(maxlen=2 * RECENT)
        self.newest = 0
        self.fails = 0
        self.last = {"server": "", "timeline": 0, "error": "", "at": 0.0, "steady_since": 0.0, "probe_acks": 0}

    def write(self, **entry):
        with self.lock:
            self.file.write(json.dumps(entry) + "\n")

    def ack(self, writer, number, at, server, timeline, checksum):
        entry = {"e": "ack", "w": writer, "id": number, "t": at, "server": server, "timeline": timeline, "sum": checksum}
        with self.lock:
            self.file.write(json.dumps(entry) + "\n")
            self.acked.append(number)
            self.recent.append(number)
            self.newest = max(self.newest, number)
            if writer == PROBE:
                if at - self.last["at"] > UNSTEADY_SECONDS:
                    self.last["steady_since"] = at
                self.last.update(server=server, timeline=timeline, at=at, probe_acks=self.last["probe_acks"] + 1)

    def fail(self, writer, number, error, sent):
        entry = {"e": "fail", "w": writer, "id": number, "t": time.monotonic(), "error": error, "sent": sent}
        with self.lock:
            self.file.write(json.dumps(entry) + "\n")
            self.fails += 1
            self.last["error"] = error

    def expected(self):
        """The lowest recent id, acknowledged ids from there on, and some older ones."""
        with self.lock:
            low = self.newest - RECENT
            recent = {number for number in self.recent if number >= low}
            older = random.sample(self.acked, min(OLDER, len(self.acked)))
            return low, recent | set(older), older

    def publish(self, ended=False):
        with self.lock:
            self.file.flush()
            status = {"t": time.monotonic(), "acks": len(self.acked), "fails": self.fails, "ended": ended, **self.last}
        path = os.path.join(self.folder, "status.json")
        with open(path + ".new", "w") as file:
            json.dump(status, file)
        os.replace(path + ".new", path)


def settle(connection, deadline, what):
    """Wait until an asynchronous connection has done what it was asked for."""
    while (state := connection.poll()) != POLL_OK:
        left = deadline - time.monotonic()
        watched = [connection.fileno()]
        ready = select.select(watched if state == POLL_READ else [], [] if state == POLL_READ else watched, [], max(left, 0))
        if not any(ready):
            raise TimeoutError(f"no answer in time: {what}")


class Session:
    """One client's connection, made anew after every error."""

    def __init__(self, uri):
        self.uri = uri
        self.connection = None
        self.sent = False

    def ask(self, sql, parameters):
        """One row. Raises psycopg2.Error or TimeoutError; `sent` says whether the statement had been sent by then."""
        self.sent = False
        if self.connection is None:
            deadline = time.monotonic() + CONNECT_SECONDS
            self.connection = psycopg2.connect(self.uri, async_=True)
            settle(self.connection, deadline, "connect")
        cursor = self.connection.cursor()
        deadline = time.monotonic() + STATEMENT_SECONDS
        self.sent = True
        cursor.execute(sql, parameters)
        settle(self.connection, deadline, "statement")
        return cursor.fetchone()

    def drop(self):
        if self.connection is not None:
            try:
                self.connection.close()
            except psycopg2.Error:
                pass
        self.connection = None


def writer(index, numbers, settings, book, ended):
    session, sql = Session(settings["uri"]), INSERT.format(table=settings["table"])
    while not ended.is_set():
        number = next(numbers)
        payload = os.urandom(32).hex()
        checksum = hashlib.sha256(payload.encode()).hexdigest()[:16]
        book.write(e="start", w=index, id=number, t=time.monotonic())
        try:
            server, segment = session.ask(sql, (number, payload, checksum))
            book.ack(index, number, time.monotonic(), server or "", int(segment[:8], 16), checksum)
        except (psycopg2.Error, TimeoutError) as error:
            session.drop()
            book.fail(index, number, f"{type(error).__name__}: {error}".strip(), session.sent)
        ended.wait(PAUSE_SECONDS)
    session.drop()


def checker(settings, book, ended):
    session, sql = Session(settings["uri"]), READ.format(table=settings["table"])
    seen = set()
    while not ended.is_set():
        began = time.monotonic()
        low, acknowledged, older = book.expected()
        seen = {number for number in seen if number >= low}
        try:
            found, server, recovery = session.ask(sql, (low, older))
            rows = set(found)
            book.write(
                e="read",
                began=began,
                t=time.monotonic(),
                server=server or "",
                recovery=recovery,
                checked=len(acknowledged | seen),
                missing=sorted(acknowledged - rows),
                vanished=sorted(seen - acknowledged - rows),
            )
            seen |= {number for number in rows if number >= low}
        except (psycopg2.Error, TimeoutError) as error:
            session.drop()
            book.write(e="read-fail", t=time.monotonic(), error=f"{type(error).__name__}: {error}".strip())
        ended.wait(READ_PAUSE_SECONDS)
    session.drop()


def main():
    settings = json.loads(sys.argv[1])
    book, ended, numbers = Book(settings["folder"]), threading.Event(), itertools.count(1)
    threads = [threading.Thread(target=writer, args=(each, numbers, settings, book, ended)) for each in range(settings["writers"])]
    threads.append(threading.Thread(target=checker, args=(settings, book, ended)))
    for thread in threads:
        thread.daemon = True
        thread.start()
    stop, latest = os.path.join(settings["folder"], "stop"), time.monotonic() + settings["most_seconds"]
    while not os.path.exists(stop) and time.monotonic() < latest and all(thread.is_alive() for thread in threads):
        book.publish()
        time.sleep(STATUS_SECONDS)
    stopped = time.monotonic()
    died = [thread.name for thread in threads if not thread.is_alive()]
    ended.set()
    for thread in threads:
        thread.join(CONNECT_SECONDS + STATEMENT_SECONDS + 1)
    book.write(e="end", t=stopped, died=died)
    book.publish(ended=True)


if __name__ == "__main__":
    main()
