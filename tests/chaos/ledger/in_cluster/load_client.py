"""Load on a backend, at a steady rate whatever it answers, and an account of every single request, until a file named `stop` appears.

Runs in a pod, detached from whoever started it. Requests begin by the clock (an open loop: a backend that is slow gets no less to do), and
what comes of the first attempt is written down: what failed there is what a client without retries saw fail. Then it is tried again as a
careful client does: a write only where the answer says that it was not done and when to come again (`Retry-After`), a read also where there
was no answer, for `patience` seconds in all. Connections are kept and reused, as HTTP clients do.

Argument: JSON. `urls` (of addresses, as no name is resolved; they take turns), `prefix` of their paths, `keys` (headers of each request),
`rate` (requests a second), `mix` (kind -> weight), `run` (begins what is written), `deadline` (seconds that an attempt may take),
`patience`, `connections`, `folder`, `most_seconds`. Kinds:

read    a row of the table `load` by its id
list    ten rows of it
rpc     a function that writes nothing
write   a new row, whose id is the number of the request

In the folder, times in seconds of CLOCK_MONOTONIC:
    log.jsonl    {"k", "id", "t0", "t", "status", "error", "degraded", "tries", "end", "last"} a request: its first attempt, `status` 0
                 where there was no answer, and of the last one when it ended and its status;
                 {"e": "end", "t", "skipped"} the last line of a log that is complete; `skipped` requests were due while too many were
                 under way, and were not made
    status.json  what of it the driver needs while it runs
"""

import asyncio
import json
import os
import random
import sys
import time
from itertools import cycle

import aiohttp

STATUS_SECONDS = 0.25
UNSTEADY_SECONDS = 1.0
MOST_UNDER_WAY = 2000


class Book:
    """The log, and what is told of it while it is written."""

    def __init__(self, folder, kinds):
        self.folder = folder
        self.probed = {"write"} & set(kinds) or set(kinds)  # what it has to go on with, to be called steady
        self.log = open(f"{folder}/log.jsonl", "w", buffering=1 << 16)
        self.acks = self.fails = self.probe_acks = 0
        self.at = self.steady_since = time.monotonic()
        self.error = ""

    def add(self, kind, number, began, first, tries, last):
        now = time.monotonic()
        ended, status, error, degraded, _ = first
        self.log.write(json.dumps(
            {"k": kind, "id": number, "t0": began, "t": ended, "status": status, "error": error, "degraded": degraded, "tries": tries,
             "end": now, "last": last}
        ) + "\n")  # fmt: skip
        if 200 <= last < 300:
            self.acks += 1
            if kind in self.probed:
                self.probe_acks += 1
                if now - self.at > UNSTEADY_SECONDS:
                    self.steady_since = now
                self.at = now
        else:
            self.fails += 1
            self.error = f"{kind}: {status} {error}"[:300]

    def tell(self, ended=False):
        said = {
            "t": time.monotonic(), "acks": self.acks, "fails": self.fails, "probe_acks": self.probe_acks, "at": self.at,
            "steady_since": self.steady_since, "server": "", "error": self.error, "ended": ended,
        }  # fmt: skip
        with open(f"{self.folder}/status.new", "w") as file:
            json.dump(said, file)
        os.replace(f"{self.folder}/status.new", f"{self.folder}/status.json")


def again(kind, attempt):
    """Seconds after which a request is made again; None: it is over."""
    _, status, _, _, later = attempt
    if status in (429, 503) and later is not None:
        return float(later) * random.uniform(0.8, 1.2)
    return random.uniform(0.2, 0.5) if kind != "write" and status in (0, 502, 503, 504) else None


class Client:
    """Makes requests."""

    def __init__(self, session, settings, book):
        self.session, self.settings, self.book = session, settings, book
        self.run = settings["run"]
        self.urls = cycle(settings["urls"])
        self.newest = 0

    async def one(self, kind, number):
        began = time.monotonic()
        first = attempt = await self.attempt(kind, number)
        tries = 1
        while (wait := again(kind, attempt)) is not None and time.monotonic() + wait - began < self.settings["patience"]:
            await asyncio.sleep(wait)
            attempt = await self.attempt(kind, number)
            tries += 1
        if kind == "write" and 200 <= attempt[1] < 300:
            self.newest = number
        self.book.add(kind, number, began, first, tries, attempt[1])

    async def attempt(self, kind, number):
        """When it ended, its status, what was wrong, whether a standby answered, and after how many seconds to come again."""
        status, error, degraded, later = 0, "", False, None
        try:
            async with self.request(kind, number) as answer:
                body = await answer.read()
                status, degraded, later = answer.status, "baas-degraded" in answer.headers, answer.headers.get("retry-after")
                if not 200 <= status < 300:
                    error = body[:200].decode(errors="replace")
        except TimeoutError:
            error = "no answer in time"
        except (aiohttp.ClientError, OSError) as failed:
            error = repr(failed)[:200]
        return time.monotonic(), status, error, degraded, later

    def request(self, kind, number):
        base, keys = next(self.urls) + self.settings["prefix"], self.settings["keys"]
        if kind == "read":
            return self.session.get(f"{base}/load?select=id,text&id=eq.{self.newest}&run=eq.{self.run}", headers=keys)
        if kind == "list":
            return self.session.get(f"{base}/load?select=id,text&limit=10", headers=keys)
        if kind == "rpc":
            return self.session.get(f"{base}/rpc/double?x={number}", headers=keys)
        row = {"run": self.run, "id": number, "text": f"{self.run}-{number}"}
        return self.session.post(f"{base}/load", json=row, headers={**keys, "prefer": "return=minimal"})


async def main():
    settings = json.loads(sys.argv[1])
    book = Book(settings["folder"], settings["mix"])
    kinds, weights = zip(*settings["mix"].items(), strict=True)
    pick = random.Random(settings["run"])
    connector = aiohttp.TCPConnector(limit=settings["connections"], keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=settings["deadline"])
    under_way, skipped = set(), 0
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        client = Client(session, settings, book)
        start = told = time.monotonic()
        number = 0
        while not os.path.exists(f"{settings['folder']}/stop") and time.monotonic() - start < settings["most_seconds"]:
            due = int((time.monotonic() - start) * settings["rate"])
            while number < due:
                number += 1
                if len(under_way) >= MOST_UNDER_WAY:
                    skipped += 1
                    continue
                task = asyncio.create_task(client.one(pick.choices(kinds, weights)[0], number))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            if time.monotonic() - told > STATUS_SECONDS:
                told = time.monotonic()
                book.tell()
            await asyncio.sleep(0.005)
        if under_way:
            await asyncio.wait(under_way, timeout=settings["deadline"] + settings["patience"] + 5)
    book.log.write(json.dumps({"e": "end", "t": time.monotonic(), "skipped": skipped}) + "\n")
    book.log.close()
    book.tell(ended=True)


asyncio.run(main())
