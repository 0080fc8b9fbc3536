"""Secrets that are made once and then kept: a request says what, the engine draws the random part.

A secret of ours is created, never updated: whoever comes second finds it there and uses it. So two leaders, or a leader that
dies between two steps, can not leave two versions of a password behind.

Certificates end, and passwords of roles can be rotated, so theirs are replaced in place: the request then names the version that is due,
and a write to any other fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from baas_operator.desired.meta import Owner, checksum

EXPIRES_ANNOTATION = "baas-operator.io/expires"
"""When the certificate or password in a Secret ends (RFC 3339). A certificate that has none was brought by somebody: it is used as it is,
and never replaced. A password has none, until somebody asks for another with a past date."""
PREVIOUS = "previous"
"""Key of the password before the last rotation, where whoever sets the new one has to log in with it."""
CONTENT_ANNOTATION = "baas-operator.io/certificate"
"""A hash of what a certificate was asked to say: one that should say something else by now is drawn anew."""


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Usage `ca` signs itself, and the others; `days` is its life."""

    usage: Literal["ca", "server", "client"]
    common_name: str
    days: int
    dns_names: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its Secret: those of `kubernetes.io/tls`, or ones that nobody takes for a server's."""
        return ("ca.crt", "ca.key") if self.usage == "ca" else ("tls.crt", "tls.key", "ca.crt")

    @property
    def content(self) -> str:
        """The value of `CONTENT_ANNOTATION`."""
        return checksum(self.usage, self.common_name, self.days, self.dns_names)


@dataclass(frozen=True)
class SecretRequest:
    """One Secret: `random` keys are drawn (URL-safe, 32 characters), then `fixed` ones are filled in, where `{key}` stands for
    the value of another key; `extra` ones likewise, which a Secret that was made before there were such need not have. `recipe` names
    a maker that draws more than a password (see engine/generate.py); `source` names the secret that it needs. `owned=False` lets it
    outlive its owner. `rotates`: the password may be replaced in place, by us or by hand; `remembers` then keeps the one before under
    `PREVIOUS`. `replaces` is the version of the Secret that is due."""

    owner: Owner
    name: str
    component: str
    random: tuple[str, ...] = ()
    fixed: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    recipe: Literal["password", "signing-key", "api-keys", "certificate"] = "password"
    source: str | None = None
    owned: bool = True
    type: str = "Opaque"
    certificate: Certificate | None = None
    rotates: bool = False
    remembers: bool = False
    replaces: str | None = None


def password(
    owner: Owner, name: str, component: str, username: str, *, owned: bool, extra: dict[str, str] | None = None, rotates: bool = False,
    remembers: bool = False, **fixed: str,
) -> SecretRequest:  # fmt: skip
    """A user name and its password; further keys may use `{username}` and `{password}`."""
    return SecretRequest(
        owner, name, component, random=("password",), fixed={"username": username, **fixed}, owned=owned,
        extra=extra or {}, rotates=rotates, remembers=remembers,
    )  # fmt: skip
