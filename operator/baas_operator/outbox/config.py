"""What a relay has to know of its outbox, from a JSON object and a folder of secrets."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TEXTS = ("name", "host", "database", "user", "stream")


class ConfigError(Exception):
    """The configuration does not do; the message is a sentence for whoever wrote it."""


@dataclass(frozen=True)
class OutboxConfig:
    """One outbox. `host` leads to the primary itself (`-rw`): advisory locks and LISTEN do not go through a pooler in transaction mode.

    `secrets` is a folder with `password` and, unless `tls` is off, `ca.crt`. Both are read anew with each connection, so that a change of
    them needs no restart."""

    name: str
    host: str
    database: str
    user: str
    stream: str
    secrets: Path
    port: int = 5432
    schema: str = "public"
    table: str = "outbox"
    batch_size: int = 100
    tls: bool = True

    @classmethod
    def of(cls, given: Mapping[str, Any], secrets: Path) -> OutboxConfig:
        """From an object with `name`, `host`, `database`, `user`, `stream`, and, where they differ from what is usual, `port`, `schema`,
        `table`, `batchSize` and `tls`.

        Raises:
            ConfigError: something is missing, or no text or number where one has to be.
        """
        for key in _TEXTS:
            if not isinstance(given.get(key), str) or not given[key]:
                raise ConfigError(f"An outbox needs {key!r}, a text: {given.get('name', 'one without a name')} has none.")
        try:
            return cls(
                **{key: given[key] for key in _TEXTS}, secrets=secrets, port=int(given.get("port", cls.port)),
                schema=str(given.get("schema", cls.schema)), table=str(given.get("table", cls.table)),
                batch_size=max(1, int(given.get("batchSize", cls.batch_size))), tls=given.get("tls", cls.tls) is not False,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Outbox {given['name']}: port and batchSize have to be whole numbers.") from error

    def password(self) -> str:
        """The password as it is now.

        Raises:
            ConfigError: it can not be read.
        """
        try:
            return (self.secrets / "password").read_text().rstrip("\n")
        except OSError as error:
            raise ConfigError(f"Outbox {self.name}: {self.secrets / 'password'} can not be read ({error.strerror}).") from error

    def tls_context(self) -> ssl.SSLContext | None:
        """Verifies the server and its name with the authority as it is now; None where TLS is off.

        Raises:
            ConfigError: the authority can not be read, or is no certificate.
        """
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.secrets / "ca.crt"))
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"Outbox {self.name}: {self.secrets / 'ca.crt'} is no certificate that can be read.") from error
