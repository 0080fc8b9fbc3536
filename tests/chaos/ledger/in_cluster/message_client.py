"""A ledger of messages: publishes with ids and keeps account of every attempt, until a file named `stop` appears in its folder.

Runs in a pod, detached from whoever started it. Several publishers, each with a connection of its own; publisher 0 is the probe, whose
acknowledgements the gap is measured with. A group of readers shares a durable consumer, and acknowledges what it gets.

At least once, as a careful application does it: a message whose acknowledgement did not come within its deadline, or was refused, is sent
again with the same `Nats-Msg-Id`, over a new connection where the old one was silent. A publisher has one message under way, so that in the
stream its messages have to be in the order of their numbers.

Argument: JSON. Always `servers` (URLs with addresses: no name is resolved), and where they ask for it `user`, `password`, and for TLS `ca`
(PEM) and `hostname`. `verb` is one of

write   `stream`, `subject`, `consumer`, `run` (begins the ids), `publishers`, `readers`, `folder`, `most_seconds`; `create`: JSON of the
        stream's and the consumer's configuration, where nobody else makes them. In the folder, times in seconds of CLOCK_MONOTONIC:
        log.jsonl    {"e": "start", "w", "id", "t"}: the first attempt of publisher `w`
                     {"e": "doubt", "w", "id", "t", "error", "server"}: an attempt that was not acknowledged; it is made again
                     {"e": "ack", "w", "id", "t", "server", "seq", "sum", "duplicate"}: JetStream said that it is kept
                     {"e": "got", "c", "id", "seq", "n", "t"}: reader `c` got it, the `n`th time that it was delivered
                     {"e": "read-fail", "c", "t", "error"}
                     {"e": "made", "t"}: the stream was not there, and was made
                     {"e": "end", "t", "died", "left"}: the last line of a log that is complete; `t` is when it was told to end, `left` is
                         what readers had not got and acknowledged when they ended
        status.json  what of it the driver needs while it runs
ask     `subject`, `body`: prints the answer
read    `stream`, `run`, `copies` (names of servers): prints every message of the run as each server has it on its own disk:
        `SERVER SEQ ID CHECKSUM STORED` a line, the checksum made anew from the payload, or `damaged` where it does not fit the one beside
        it; `SERVER stuck WHY` of one whose copy can not be read. The last line is `end LINES`. Each server is made the stream's leader
        for that, as a leader alone answers a request for a message, from its own store (a direct get is answered by any server, not by
        the client's own). It takes a user who may do that.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import os
import ssl
import sys
import time
from datetime import datetime

import nats
from nats.js.errors import NotFoundError

DEADLINE_SECONDS = 2.0
ANSWER_SECONDS = 0.5  # what is on its way while its leader moves gets no answer from NATS at all: the sooner it is sent again, the better
PAUSE_SECONDS = 0.02
AGAIN_SECONDS = 0.05
STATUS_SECONDS = 0.25
UNSTEADY_SECONDS = 1.0  # two acknowledgements of the probe that are further apart than this are no steady publishing
FETCH = 100
DRAIN_SECONDS = 20.0
BATCH = 200  # requests under way at a time
LEAD_SECONDS = 60.0
PATIENCE = 4
PROBE = 0
ID, SUM = "Nats-Msg-Id", "Ledger-Sum"


class Book:
    """The ledger."""

    def __init__(self, folder):
        self.folder = folder
        self.file = open(os.path.join(folder, "log.jsonl"), "w")
        self.acks = 0
        self.fails = 0
        self.last = {"server": "", "error": "", "at": 0.0, "steady_since": 0.0, "probe_acks": 0}

    def write(self, **entry):
        self.file.write(json.dumps(entry) + "\n")

    def ack(self, publisher, number, server, answer, checksum):
        at = time.monotonic()
        self.write(e="ack", w=publisher, id=number, t=at, server=server, seq=answer.seq, sum=checksum, duplicate=bool(answer.duplicate))
        self.acks += 1
        if publisher == PROBE:
            if at - self.last["at"] > UNSTEADY_SECONDS:
                self.last["steady_since"] = at
            self.last.update(server=server, at=at, probe_acks=self.last["probe_acks"] + 1)

    def doubt(self, publisher, number, error, server):
        said = f"{type(error).__name__}: {error}".strip()
        self.write(e="doubt", w=publisher, id=number, t=time.monotonic(), error=said, server=server)
        self.fails += 1
        self.last["error"] = said

    def publish(self, ended=False):
        self.file.flush()
        status = {"t": time.monotonic(), "acks": self.acks, "fails": self.fails, "ended": ended, **self.last}
        path = os.path.join(self.folder, "status.json")
        with open(path + ".new", "w") as file:
            json.dump(status, file)
        os.replace(path + ".new", path)


async def quiet(_error):
    """What goes wrong is noted where it is waited for."""


class Session:
    """One client's connection, made anew when it is silent or gone; servers take turns."""

    def __init__(self, settings, servers=None):
        self.settings = settings
        self.turns = itertools.cycle(servers or settings["servers"])
        self.connection = None
        self.gone = None
        self.unanswered = 0

    @property
    def server(self):
        return self.connection._server_info.get("server_name", "") if self.connection else ""

    async def connected(self):
        """A connection. Raises an error of nats, OSError or TimeoutError."""
        if self.connection is None or self.gone.is_set():
            await self.drop()
            options = {name: self.settings[name] for name in ("user", "password") if self.settings.get(name)}
            if self.settings.get("ca"):
                context = ssl.create_default_context(cadata=self.settings["ca"])
                options |= {"tls": context, "tls_hostname": self.settings["hostname"]}
            gone = asyncio.Event()

            async def closed():
                gone.set()

            # It says itself when it is gone; a reconnect of its own would hide from the ledger which server it spoke to.
            self.connection = await asyncio.wait_for(
                nats.connect(
                    next(self.turns), allow_reconnect=False, connect_timeout=DEADLINE_SECONDS, ping_interval=1, max_outstanding_pings=2,
                    error_cb=quiet, disconnected_cb=closed, closed_cb=closed, **options,
                ),
                DEADLINE_SECONDS,
            )  # fmt: skip
            self.gone, self.unanswered = gone, 0
        return self.connection

    @property
    def silent(self):
        """Whether nothing was answered for so long that the server may be frozen."""
        return self.unanswered * ANSWER_SECONDS >= DEADLINE_SECONDS

    async def until_gone(self, answer):
        """The result of something that is waited for on this connection. Raises ConnectionError as soon as that is gone."""
        task, gone = asyncio.ensure_future(answer), asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ConnectionError("the connection is gone")
            return task.result()
        finally:
            task.cancel()
            gone.cancel()

    async def drop(self):
        connection, self.connection = self.connection, None
        if connection is not None:
            # A frozen peer takes no farewell: nobody waits for it.
            closing = asyncio.ensure_future(asyncio.wait_for(connection.close(), DEADLINE_SECONDS))
            closing.add_done_callback(lambda task: task.cancelled() or task.exception())


async def publisher(index, numbers, settings, book, ended):
    session = Session(settings)
    while not ended.is_set():
        number, payload = next(numbers), os.urandom(32).hex().encode()
        checksum = hashlib.sha256(payload).hexdigest()[:16]
        headers = {ID: f"{settings['run']}.{index}.{number}", SUM: checksum}
        book.write(e="start", w=index, id=number, t=time.monotonic())
        while not ended.is_set():
            if await attempt(session, index, number, payload, headers, settings, book):
                break
            await asyncio.sleep(AGAIN_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)
    await session.drop()


async def attempt(session, index, number, payload, headers, settings, book):
    """Whether the message was acknowledged."""
    try:
        stream = (await session.connected()).jetstream(timeout=DEADLINE_SECONDS)
        session.unanswered += 1
        answer = await session.until_gone(stream.publish(settings["subject"], payload, timeout=ANSWER_SECONDS, headers=headers))
        session.unanswered = 0
        book.ack(index, number, session.server, answer, headers[SUM])
        return True
    except (nats.js.errors.NoStreamResponseError, nats.js.errors.APIError) as error:  # an answer, from a server that is well
        session.unanswered = 0
        book.doubt(index, number, error, session.server)
        if settings.get("create") and index == PROBE:
            await make(session, settings, book)
    except nats.errors.TimeoutError as error:
        book.doubt(index, number, error, session.server)
        if session.silent:
            await session.drop()
    except (nats.errors.Error, OSError, TimeoutError) as error:
        book.doubt(index, number, error, session.server)
        await session.drop()
    return False


async def make(session, settings, book):
    """Make the stream and its consumer if they are not there; nothing happens while nobody can say so."""
    try:
        stream = (await session.connected()).jetstream(timeout=DEADLINE_SECONDS)
        try:
            await stream.stream_info(settings["stream"])
        except NotFoundError:
            await stream._api_request(f"$JS.API.STREAM.CREATE.{settings['stream']}", settings["create"]["stream"].encode(), timeout=5)
            book.write(e="made", t=time.monotonic())
        where = f"{settings['stream']}.{settings['consumer']}"
        await stream._api_request(f"$JS.API.CONSUMER.DURABLE.CREATE.{where}", settings["create"]["consumer"].encode(), timeout=5)
        return True
    except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
        book.last["error"] = f"{type(error).__name__}: {error}"
        return False


async def reader(index, settings, book, drained):
    session, silent = Session(settings), 0
    while not drained.is_set():
        try:
            stream = (await session.connected()).jetstream(timeout=DEADLINE_SECONDS)
            consumer = await stream.pull_subscribe_bind(consumer=settings["consumer"], stream=settings["stream"])
            while not drained.is_set():
                try:
                    got = await session.until_gone(consumer.fetch(FETCH, timeout=1.0))
                    silent = 0
                except TimeoutError:
                    silent += 1
                    if silent > 2:
                        raise
                    continue
                for message in got:
                    run, _, number = (message.headers or {}).get(ID, "..0").split(".")
                    if run == settings["run"]:
                        about = message.metadata
                        book.write(e="got", c=index, id=int(number), seq=about.sequence.stream, n=about.num_delivered, t=time.monotonic())
                    await message.ack()
        except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
            silent = 0
            book.write(e="read-fail", c=index, t=time.monotonic(), error=f"{type(error).__name__}: {error}".strip())
            await session.drop()
            await asyncio.sleep(AGAIN_SECONDS)
    await session.drop()


async def left_over(settings):
    """Messages that the group has not got and acknowledged; -1 where nobody could say."""
    session, left, deadline = Session(settings), -1, time.monotonic() + DRAIN_SECONDS
    while left != 0 and time.monotonic() < deadline:
        try:
            stream = (await session.connected()).jetstream(timeout=DEADLINE_SECONDS)
            info = await stream.consumer_info(settings["stream"], settings["consumer"])
            left = info.num_pending + info.num_ack_pending
        except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError):
            left = -1
            await session.drop()
        await asyncio.sleep(0.2)
    await session.drop()
    return left


async def write(settings):
    os.makedirs(settings["folder"], exist_ok=True)
    book, ended, drained, numbers = Book(settings["folder"]), asyncio.Event(), asyncio.Event(), itertools.count(1)
    stop, latest = os.path.join(settings["folder"], "stop"), time.monotonic() + settings["most_seconds"]
    if settings.get("create"):
        session = Session(settings)
        while not await make(session, settings, book) and not os.path.exists(stop) and time.monotonic() < latest:
            await session.drop()
            book.publish()
            await asyncio.sleep(0.5)
        await session.drop()
    publishers = [
        asyncio.create_task(publisher(each, numbers, settings, book, ended), name=f"publisher {each}")
        for each in range(settings["publishers"])
    ]
    readers = [asyncio.create_task(reader(each, settings, book, drained), name=f"reader {each}") for each in range(settings["readers"])]
    while not os.path.exists(stop) and time.monotonic() < latest and not any(task.done() for task in publishers + readers):
        book.publish()
        await asyncio.sleep(STATUS_SECONDS)
    stopped = time.monotonic()
    died = [f"{task.get_name()}: {task.exception()!r}" for task in publishers + readers if task.done()]
    ended.set()
    await asyncio.wait(publishers, timeout=3 * DEADLINE_SECONDS)
    left = await left_over(settings) if readers else 0
    drained.set()
    await asyncio.wait(publishers + readers, timeout=3 * DEADLINE_SECONDS)
    book.write(e="end", t=stopped, died=died, left=left)
    book.publish(ended=True)


async def patiently(session):
    """A connection, to whichever server answers."""
    for _ in range(PATIENCE):
        try:
            return await session.connected()
        except (nats.errors.Error, OSError, TimeoutError):
            await asyncio.sleep(0.5)
    return await session.connected()


async def ask(settings):
    session = Session(settings)
    connection = await patiently(session)
    answer = await connection.request(settings["subject"], settings["body"].encode(), timeout=5)
    print(answer.data.decode())
    await connection.close()


async def read(settings):
    session, lines = Session(settings), 0
    connection = await patiently(session)
    for server in settings["copies"]:
        try:
            kept = await copy_of(connection, settings["stream"], server)
        except StuckError as error:
            print(server, "stuck", error)
            lines += 1
            continue
        for sequence, headers, payload, stored in kept:
            run, _, name = headers.get(ID, "").partition(".")
            if run == settings["run"]:
                made = hashlib.sha256(payload).hexdigest()[:16]
                checksum = made if made == headers.get(SUM) else "damaged"
                print(server, sequence, name, checksum, seconds(stored))
                lines += 1
    print(f"end {lines}")
    await connection.close()


class StuckError(Exception):
    """A server's copy can not be read."""


async def copy_of(connection, stream, server):
    """What a server has. Raises StuckError where it does not become the leader, or does not stay it."""
    for _ in range(3):
        state = await lead(connection, stream, server)
        kept = await everything(connection, stream, state)
        now = await info(connection, stream)
        if "gone" in now or now["cluster"].get("leader") == server:
            return kept
    raise StuckError("did not lead for as long as it took to read its copy, three times")


async def api(connection, verb, stream, body=None):
    """The answer to a request to JetStream; what nobody answers is asked again."""
    asked, left = json.dumps(body).encode() if body else b"", 3
    while True:
        try:
            return json.loads((await connection.request(f"$JS.API.STREAM.{verb}.{stream}", asked, timeout=5)).data)
        except nats.errors.Error:
            left -= 1
            if not left:
                raise
            await asyncio.sleep(1)


async def info(connection, stream):
    """What the stream's leader says; empty of everything where there is no stream."""
    answer = await api(connection, "INFO", stream)
    return answer if "cluster" in answer else {"cluster": {}, "state": {"first_seq": 1, "last_seq": 0}, "gone": True}


async def lead(connection, stream, server):
    """Have a server lead the stream; the stream's state."""
    deadline, said = time.monotonic() + LEAD_SECONDS, "nothing was refused"
    while time.monotonic() < deadline:
        found = await info(connection, stream)
        if found["cluster"].get("leader") == server or "gone" in found:
            return found["state"]
        answer = await api(connection, "LEADER.STEPDOWN", stream, {"placement": {"preferred": server}})
        if "error" in answer:
            said = answer["error"].get("description", "")
            await asyncio.sleep(1)
        await asyncio.sleep(0.5)
    raise StuckError(f"did not become the leader in {LEAD_SECONDS:.0f} s: {said}")


async def everything(connection, stream, state):
    """(sequence, headers, payload, stored) of all messages that the leader can read."""

    async def one(sequence):
        # Whatever it is that it can not read, it is not there for anybody.
        message = (await api(connection, "MSG.GET", stream, {"seq": sequence})).get("message")
        if message is None:
            return None
        lines = base64.b64decode(message.get("hdrs", "")).decode().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        return sequence, headers, base64.b64decode(message.get("data", "")), message["time"]

    found = []
    for first in range(state["first_seq"], state["last_seq"] + 1, BATCH):
        places = range(first, min(first + BATCH, state["last_seq"] + 1))
        found += [each for each in await asyncio.gather(*map(one, places)) if each]
    return found


def seconds(stamp):
    """Seconds since the epoch of a time that has nanoseconds, or fewer digits."""
    whole, _, part = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{part or 0}")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run({"write": write, "ask": ask, "read": read}[given["verb"]](given))
