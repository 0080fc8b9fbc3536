"""Posts messages to one endpoint: one session for all of them, whose every connection the guard judges."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress

import aiohttp
from aiohttp.abc import AbstractResolver

from baas_operator.dispatcher.addresses import GuardedResolver, RefusedError
from baas_operator.dispatcher.config import MakeGuard, Told
from baas_operator.dispatcher.outcome import Outcome, Verdict, of_answer
from baas_operator.dispatcher.request import Message, Requests

_MOST_ANSWER = 4096
"""Bytes of an answer that are read, so that its connection can be used again; one with more is closed."""
_ANSWER_SECONDS = 1.0
"""How long that may take: what becomes of the message is known by then."""
_IDLE_SECONDS = 20.0
_DNS_SECONDS = 10
_MOST_DETAIL = 300


class Sender:
    """One endpoint. It is made and used in one event loop."""

    def __init__(self, told: Told, *, where: tuple[str, str], make_guard: MakeGuard, resolver: AbstractResolver) -> None:
        self._told, webhook = told, told.webhook
        self._requests = Requests(webhook, where)
        guard = make_guard(told.allowed)
        self._resolver = GuardedResolver(resolver, guard)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=webhook.concurrency, resolver=self._resolver, socket_factory=guard.socket,
                keepalive_timeout=_IDLE_SECONDS, ttl_dns_cache=_DNS_SECONDS,
                ssl=ssl.create_default_context(cadata=told.ca) if told.ca else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False, skip_auto_headers=("Accept-Encoding",),
            timeout=aiohttp.ClientTimeout(total=webhook.timeout_seconds),
        )  # fmt: skip

    async def post(self, message: Message, keys: tuple[bytes, ...], attempt: int) -> Outcome:
        """Make an attempt; what came of it. Nothing is raised but a cancellation."""
        now = time.time()
        headers = self._requests.headers(message, keys, now=now, attempt=attempt)
        try:
            async with self._session.post(self._told.webhook.url, data=message.payload, headers=headers, allow_redirects=False) as answer:
                if not answer.content.at_eof():
                    await _skim(answer.content)
                return of_answer(answer.status, answer.headers.get("Retry-After"), now)
        except TimeoutError:
            return Outcome(Verdict.TIMEOUT, f"did not answer within {self._told.webhook.timeout_seconds} s")
        except aiohttp.ClientConnectorError as error:
            refused = next((each for each in (error.os_error, error.os_error.__cause__) if isinstance(each, RefusedError)), None)
            if refused:
                return Outcome(Verdict.REFUSED, str(refused)[:_MOST_DETAIL])
            return Outcome(Verdict.UNREACHABLE, f"can not be reached: {error.os_error}"[:_MOST_DETAIL])
        except aiohttp.InvalidURL:
            return Outcome(Verdict.REFUSED, "the URL is none")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(Verdict.UNREACHABLE, f"the connection failed: {type(error).__name__}"[:_MOST_DETAIL])

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._resolver.close()  # aiohttp closes none that it was given


async def _skim(content: aiohttp.StreamReader) -> None:
    left = _MOST_ANSWER
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            while left > 0 and (piece := await content.read(left)):
                left -= len(piece)
