"""What a dispatcher is told: `dispatcher.json` from a ConfigMap, and a folder of Secrets, all of which may change while it runs.

Everything is read anew every few seconds and compared: the files are small, and so nothing depends on how the kubelet swaps them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from baas_operator.api.common import ApiModel
from baas_operator.api.webhooks import OrderBy, Webhook
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.queue.names import OUTBOX_FOLDER, WEBHOOK_FOLDER
from baas_operator.dispatcher.addresses import Guard, Network, networks
from baas_operator.dispatcher.signing import SecretError, keys_of
from baas_operator.outbox.config import ConfigError as OutboxConfigError
from baas_operator.outbox.config import OutboxConfig

MakeGuard = Callable[[Iterable[Network]], Guard]
"""What judges addresses for a webhook with such `allowNetworks`; tests hand in one that lets loopback pass."""


class ConfigError(Exception):
    """What a dispatcher is told is not to be understood. The text is a sentence."""


class DispatcherConfig(ApiModel):
    """`dispatcher.json`."""

    queue: str
    """Name of the EventQueue."""
    namespace: str
    """Namespace of it."""
    host: str
    """Where NATS is."""
    port: int = 4222
    """Port of NATS."""
    inbox_prefix: str = "_INBOX"
    """Where answers come to: subjects that no other user may listen to."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Dispatchers that share a webhook's rate, but for one with an order, which one of them delivers."""
    copies: Annotated[int, Field(ge=1, le=5)] = 3
    """Servers that keep what dispatchers note of endpoints."""
    streams: list[str] = []
    """Names of all declared streams: where consumers of webhooks may have been left behind."""
    dead_letters: dict[str, str] = {}
    """Stream -> retention, of those whose consumers' dead letters are kept."""
    webhooks: list[Webhook] = []
    """The declared webhooks."""
    outboxes: list[dict[str, Any]] = []
    """The declared outboxes, as `OutboxConfig.of` takes them; or `name`, and as `trouble` the sentence why one can not run."""


@dataclass(frozen=True)
class Told:
    """A webhook with all that is needed to deliver it, or what keeps that from being done."""

    webhook: Webhook
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    ca: str | None = field(default=None, repr=False)
    allowed: tuple[Network, ...] = ()
    max_payload: int = 0
    rate: float | None = None
    trouble: str | None = None


@dataclass(frozen=True)
class ToldOutbox:
    """An outbox with all that its relay needs, or what keeps it from running."""

    name: str
    config: OutboxConfig | None
    trouble: str = ""


@dataclass(frozen=True)
class Loaded:
    """All that a dispatcher is told."""

    config: DispatcherConfig
    webhooks: tuple[Told, ...]
    outboxes: tuple[ToldOutbox, ...] = ()


@dataclass(frozen=True)
class NatsFiles:
    """`<secrets>/nats`: the user that a dispatcher is, and the authority of the servers' certificates. Read with every connection, so that
    a new password is taken up."""

    folder: Path

    def user(self) -> str:
        """Name of the user; empty where there is none."""
        return _text(self.folder / "username") or ""

    def password(self) -> str:
        """Password of the user."""
        return _text(self.folder / "password") or ""

    def tls(self) -> ssl.SSLContext | None:
        """How the servers are verified; None where there is no authority, and no TLS."""
        path = self.folder / "ca.crt"
        return ssl.create_default_context(cafile=str(path)) if path.exists() else None


def read(config: Path, secrets: Path, guard: MakeGuard = Guard) -> Loaded:
    """Read everything. A webhook whose secret is broken says so, and harms no other; so does an outbox.

    Raises:
        ConfigError: `dispatcher.json` can not be read.
    """
    try:
        told = DispatcherConfig.model_validate_json(config.read_bytes())
    except OSError as error:
        raise ConfigError(f"{config} can not be read: {error.strerror}") from error
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)[:5])
        raise ConfigError(f"{config} is not what a dispatcher understands: {where}") from None
    webhooks = tuple(_webhook(each, secrets / WEBHOOK_FOLDER / each.name, told.replicas, guard) for each in told.webhooks)
    return Loaded(told, webhooks, tuple(_outbox(each, secrets) for each in told.outboxes))


def _outbox(given: dict[str, Any], secrets: Path) -> ToldOutbox:
    name = str(given.get("name", ""))
    if given.get("trouble"):
        return ToldOutbox(name, None, str(given["trouble"]))
    try:
        return ToldOutbox(name, OutboxConfig.of(given, secrets / OUTBOX_FOLDER / name))
    except OutboxConfigError as error:
        return ToldOutbox(name, None, str(error))


def _webhook(webhook: Webhook, folder: Path, replicas: int, guard: MakeGuard) -> Told:
    ca = _text(folder / "ca.crt") if webhook.ca else None
    try:
        allowed = networks(webhook.allow_networks)
        if why := guard(allowed).url_refusal(webhook.url):
            return Told(webhook, allowed=allowed, trouble=f"the URL is refused: {why}")
        secret = _text(folder / "secret")
        if secret is None:
            return Told(webhook, trouble="its secret is not there, or is no text: the Secret needs a key `secret`")
        if webhook.ca and not ca:
            return Told(webhook, trouble=f"the authority of its certificate is not there: Secret {webhook.ca.name} needs a key `ca.crt`")
        if ca:
            ssl.create_default_context(cadata=ca)
        shares = replicas if webhook.ordering.by is OrderBy.NOTHING else 1
        rate = webhook.rate_per_second / shares if webhook.rate_per_second else None
        return Told(webhook, keys_of(secret), ca, allowed, parse_bytes(webhook.max_payload), rate)
    except SecretError as error:
        return Told(webhook, trouble=f"{error}. Put it right in the Secret's key `secret`")
    except ssl.SSLError:
        return Told(webhook, trouble="`ca.crt` is no certificate of an authority: give it in PEM")
    except ValueError as error:
        return Told(webhook, trouble=f"allowNetworks: {error}")


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None
