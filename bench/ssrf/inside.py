"""Runs in a network and a mount namespace of its own: `python -m bench.ssrf.inside`. All addresses are this machine's there, and behind
each of them somebody listens; names are those of its own `/etc/hosts`, so it is the system's resolver that answers.

Prints a list, a `Tried` each. The machine that it runs on is not changed, and nothing leaves it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp

from baas_operator.api.webhooks import Webhook
from baas_operator.dispatcher.addresses import Guard
from baas_operator.dispatcher.config import Told
from baas_operator.dispatcher.request import Message
from baas_operator.dispatcher.resolver import ApartResolver
from baas_operator.dispatcher.sender import Sender
from bench.ssrf.ways import INSIDE, PUBLIC, WAYS, Way

PORTS = (80, 443)
ATTEMPT_SECONDS = 3
FORGOTTEN_SECONDS = 10.5
"""A client remembers for 10 s what a name led to (aiohttp, `ttl_dns_cache`)."""
KEY = b"k" * 24

Send = Callable[[], Awaitable[str]]


@dataclass
class Tried:
    """One way, and where each of two clients came by it: addresses whose listener was connected to."""

    kind: str
    url: str
    inside: bool
    ours: list[str] = field(default_factory=list)
    ours_says: str = ""
    plain: list[str] = field(default_factory=list)


def _prepare(hosts: Path) -> None:
    """Give this network all addresses, and this process a file of names."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for each in (*PUBLIC, *INSIDE):
        # fe80::1 is of the interface alone; without nodad IPv6 would wait for others who have the address.
        subprocess.run(
            ["ip", "address", "add", f"{each}/{128 if ':' in each else 32}", "dev", "lo", *(["nodad"] if ":" in each else [])], check=True
        )
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


def _address(connection: asyncio.StreamWriter) -> str:
    found = ip_address(str(connection.get_extra_info("sockname")[0]).partition("%")[0])
    return str(found.ipv4_mapped if isinstance(found, IPv6Address) and found.ipv4_mapped else found)


@asynccontextmanager
async def _listening(reached: list[str]) -> AsyncIterator[None]:
    """Somebody behind every address, who notes at which one a connection came in, and says what the path asks for."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(_address(writer))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = urlsplit(head.split(b" ", 2)[1].decode())
            _, _, status = path.path.partition("/redirect/")
            said = f"{status} Elsewhere\r\nLocation: {parse_qs(path.query)['to'][0]}" if status else "200 OK"
            writer.write(f"HTTP/1.1 {said}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, LookupError, UnicodeDecodeError):
            pass  # it speaks TLS, or is gone: it was here, which is all that counts
        finally:
            writer.close()

    servers = [await asyncio.start_server(answer, host, port) for port in PORTS for host in ("0.0.0.0", "::")]  # noqa: S104 - a network of its own
    try:
        yield
    finally:
        for each in servers:
            each.close()


@asynccontextmanager
async def _ours(url: str) -> AsyncIterator[Send]:
    """The dispatcher's own sender, without the look at the URL that comes before it."""
    known = Webhook(name="a", stream="orders", url="https://a.example", timeout_seconds=ATTEMPT_SECONDS)
    webhook = Webhook.model_construct(**(known.__dict__ | {"url": url}))
    sender = Sender(Told(webhook, (KEY,), None, ()), where=("shop", "jobs"), make_guard=Guard, resolver=ApartResolver())
    message = Message("orders", 1, "orders.new", b"{}", {}, datetime.now(UTC))

    async def send() -> str:
        came = await sender.post(message, (KEY,), 1)
        return f"{came.verdict}: {came.detail}"

    try:
        yield send
    finally:
        await sender.close()


@asynccontextmanager
async def _plain(url: str) -> AsyncIterator[Send]:
    """aiohttp as most would use it."""
    async with aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)) as session:

        async def send() -> str:
            try:
                async with session.post(url, data=b"{}") as answer:
                    return str(answer.status)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return type(error).__name__

        yield send


async def _try(
    way: Way, client: Callable[[str], AbstractAsyncContextManager[Send]], reached: list[str], hosts: Path
) -> tuple[list[str], str]:
    os.environ.pop("http_proxy", None)
    if way.proxy:
        os.environ["http_proxy"] = way.proxy
    reached.clear()
    said = ""
    async with client(way.url) as send:
        for number, names in enumerate(way.names):
            lines = [
                f"{address} {name}" for name, addresses in ({"localhost": ("127.0.0.1", "::1")} | names).items() for address in addresses
            ]
            hosts.write_text("\n".join(lines) + "\n")  # noqa: ASYNC240 - nothing else is to go on meanwhile
            if number:
                await asyncio.sleep(FORGOTTEN_SECONDS)
            said = await send()
    await asyncio.sleep(0.01)  # who was connected to is noted by the listener
    return sorted(set(reached)), said


async def run(hosts: Path) -> list[Tried]:
    """All ways, one after another."""
    reached: list[str] = []
    found = []
    async with _listening(reached):
        for way in WAYS:
            tried = Tried(way.kind, way.url, way.inside)
            tried.ours, tried.ours_says = await _try(way, _ours, reached, hosts)
            tried.plain, _ = await _try(way, _plain, reached, hosts)
            found.append(tried)
    return found


def main() -> None:
    """Prepare, try, print."""
    with tempfile.TemporaryDirectory(prefix="baas-bench-") as name:
        hosts = Path(name) / "hosts"
        hosts.write_text("")
        _prepare(hosts)
        json.dump([asdict(each) for each in asyncio.run(run(hosts))], sys.stdout)
        subprocess.run(["umount", "/etc/hosts"], check=True)


if __name__ == "__main__":
    main()
