"""What a prober is told: `probe.json` of a ConfigMap, and keys in mounted Secrets. Both are read anew for every round, so that a key that
was rotated, and a component that was added, need no new pod; the first between rounds, too, as the interval may be another."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baas_operator.prober.client import Gateway
from baas_operator.prober.queue import Queue


class ConfigError(Exception):
    """The configuration can not be used; the sentence says why."""


@dataclass(frozen=True)
class Wanted:
    """One transaction. `every`: it is part of every so many rounds, of which `after` are before the first."""

    name: str
    every: int = 1
    after: int = 0


@dataclass(frozen=True)
class Place:
    """Where a component's own pods are: all of them behind one name."""

    host: str
    port: int


@dataclass(frozen=True)
class Config:
    """All of it. `interval` and `deadline` are seconds. `settings`: what the engine's transactions need to know beside. `standby_schema`:
    who is asked for the schema of standbys (standby_schema.py). `queue`: where messages are published (transactions/publish.py)."""

    engine: str
    gateway: Gateway
    interval: float
    deadline: float
    transactions: tuple[Wanted, ...]
    settings: dict[str, str] = field(default_factory=dict)
    standby_schema: Place | None = None
    queue: Queue | None = None


def read(path: Path) -> Config:
    """Read it.

    Raises:
        ConfigError: it is not there, or not as it should be.
    """
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        gateway = said["gateway"]
        asked, queue = said.get("standbySchema"), said.get("queue")
        tls = _tls(Path(gateway["tls"]), gateway["named"]) if gateway["tls"] else None
        return Config(
            engine=str(said["engine"]),
            gateway=Gateway(
                str(gateway["address"]), int(gateway["port"]), str(gateway["host"]), tls
            ),
            interval=float(said["intervalSeconds"]),
            deadline=float(said["deadlineSeconds"]),
            transactions=tuple(
                Wanted(str(each["name"]), max(1, int(each["every"])), max(0, int(each.get("after", 0)))) for each in said["transactions"]
            ),
            settings={str(key): str(value) for key, value in said["settings"].items()},
            standby_schema=Place(str(asked["host"]), int(asked["port"])) if asked else None,
            queue=Queue(str(queue["host"]), int(queue["port"]), str(queue["subject"]), str(queue["inbox"])) if queue else None,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{path} can not be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not as it should be: {type(error).__name__}: {error}") from error


def _tls(folder: Path, named: bool) -> ssl.SSLContext:
    """Trust in the very certificate that the gateway has, in its authority where its Secret has it, and in those of the system: whoever
    issued it, a client has to find it in force and, where it is known what clients call it (`named`), for that host.

    Raises:
        ConfigError: there is none, or it is none.
    """
    certificate = folder / "tls.crt"
    made = ssl.create_default_context()
    made.check_hostname = named
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for each in (certificate, folder / "ca.crt"):
        if each is not certificate and not each.exists():
            continue
        try:
            made.load_verify_locations(each)
        except OSError as error:  # ssl.SSLError is one
            why = "is no certificate" if isinstance(error, ssl.SSLError) else f"can not be read: {error.strerror}"
            raise ConfigError(f"{each.name} of the Secret with the gateway's certificate {why}") from error
    return made


class Secrets:
    """Mounted keys, by file name: each Secret is a folder of its own in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> str:
        """A key.

        Raises:
            ConfigError: it is not there.
        """
        try:
            path = next(each / name for each in sorted(self._folder.iterdir()) if (each / name).is_file())
            return path.read_text().strip()
        except (OSError, ValueError, StopIteration) as error:
            raise ConfigError(f"no mounted Secret has the key {name} yet") from error
