"""`baas-operator dlq list|show`: dead letters as a dispatcher's pod sees them, a JSON object a line. `kubectl baas dlq` runs it there, so
that nobody needs the queue's password."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client as Nats

from baas_operator.api.operation import LetterFilter
from baas_operator.dead_letters.inspect import list_letters, show
from baas_operator.dead_letters.letter import DeadLetter
from baas_operator.desired.queue import names
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.observe.addresses import authority

CONFIG = Path(names.DISPATCHER_CONFIG_DIR) / "dispatcher.json"
SECRETS = Path(names.DISPATCHER_SECRETS_DIR) / "nats"
_CONNECT_SECONDS = 5
_NONE = "stream {} has no dead letters: it is not declared, or neither with deadLetter nor for a webhook."


class CommandError(Exception):
    """Why there is no answer, as a sentence."""


@dataclass(frozen=True)
class Place:
    """Where a dispatcher finds the queue, and as whom: `host`, `port` and `inboxPrefix` of its configuration, and the files `username`,
    `password` and, where there is TLS, `ca.crt` of its Secret."""

    config: Path = CONFIG
    secrets: Path = SECRETS

    def keeps(self, stream: str) -> bool:
        """Whether a stream has dead letters. A dispatcher has no right to ask for those of another: nobody would answer."""
        try:
            said: dict[str, Any] = json.loads(self.config.read_text())
            return stream in said.get("deadLetters", {}) or stream in [each["stream"] for each in said.get("webhooks", [])]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return True  # `connect` says so

    async def connect(self) -> Nats:
        """A connection.

        Raises:
            CommandError: there are no such files, or nobody answers.
        """

        async def quiet(_: Exception) -> None:
            """What matters is raised by the request."""

        try:
            said: dict[str, Any] = json.loads(self.config.read_text())
            user, password = ((self.secrets / each).read_text().strip() for each in ("username", "password"))
            address = f"{authority(said['host'], said.get('port', 4222))}"
            more: dict[str, Any] = {"inbox_prefix": said.get("inboxPrefix", "_INBOX")}
            if (self.secrets / "ca.crt").exists():
                more |= {"tls": ssl.create_default_context(cafile=self.secrets / "ca.crt"), "tls_hostname": said["host"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandError(f"this is no dispatcher's pod: its configuration can not be read ({error}).") from error
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):  # the client would try a server that refuses it for ever
                return await nats.connect(
                    f"nats://{address}", user=user, password=password, allow_reconnect=False, max_reconnect_attempts=0, error_cb=quiet,
                    name="baas-dlq", **more,
                )  # fmt: skip
        except Unreachable as error:
            raise CommandError(f"the queue's servers do not answer: {str(error) or type(error).__name__}.") from error


async def write(
    place: Place, stream: str, write_line: Callable[[str], None], *, wanted: LetterFilter | None = None, sequence: int | None = None,
    limit: int | None = None,
) -> int:  # fmt: skip
    """Write dead letters, a JSON object a line: those that are `wanted`, or the one with that `sequence` and its payload. How many.

    Raises:
        CommandError: there is no answer.
    """
    if not place.keeps(stream):
        raise CommandError(_NONE.format(stream))
    connection = await place.connect()
    written = 0
    try:
        async for letter in _found(connection, stream, wanted or LetterFilter(), sequence):
            write_line(json.dumps(letter.data(), ensure_ascii=False))
            written += 1
            if written == limit:
                break
    except JetStreamError as error:
        missing = "not found" in str(error)
        raise CommandError(_NONE.format(stream) if missing else f"JetStream refused: {error}.") from error
    except Unreachable as error:
        raise CommandError(f"JetStream does not answer: {str(error) or type(error).__name__}.") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    finally:
        await connection.close()
    return written


async def _found(connection: Nats, stream: str, wanted: LetterFilter, sequence: int | None) -> AsyncGenerator[DeadLetter, None]:
    if sequence is None:
        async for letter in list_letters(connection, stream, wanted):
            yield letter
    elif (found := await show(connection, stream, sequence)) is not None:
        yield found
