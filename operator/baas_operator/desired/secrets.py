"""Secrets that are made once and then kept: a request says what, the engine draws the random part.

A secret of ours is created, never updated: whoever comes second finds it there and uses it. So two leaders, or a leader that
dies between two steps, can not leave two versions of a password behind.

Certificates end, and passwords of roles and signing keys can be rotated, so theirs are replaced in place: the request then names the
version that is due, and a write to any other fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from baas_operator.desired.key_set import KeySetWanted
from baas_operator.desired.meta import Owner, checksum

EXPIRES_ANNOTATION = "baas-operator.io/expires"
"""When the certificate or password in a Secret ends (RFC 3339). A certificate that has none was brought by somebody: it is used as it is,
and never replaced. A password has none, until somebody asks for another with a past date."""
PREVIOUS = "previous"
"""Key of the password before the last rotation, where whoever sets the new one has to log in with it, or where it still counts."""
NEXT = "next"
"""Key of the password that a user of two names will have, while whoever checks passwords learns it."""
OVERLAP_ANNOTATION = "baas-operator.io/overlap"
"""Until when the name and password before the last rotation still count (RFC 3339). Anybody may bring it forward."""
PREPARED_ANNOTATION = "baas-operator.io/prepared"
"""When `next` was drawn (RFC 3339)."""
ROTATED_ANNOTATION = "baas-operator.io/rotated"
"""When the password in a Secret that `retires` took the place of another (RFC 3339)."""
CONTENT_ANNOTATION = "baas-operator.io/certificate"
"""A hash of what a certificate was asked to say: one that should say something else by now is drawn anew."""


def marker(username: str) -> str:
    """Key of a Secret that is there since this name is the one to log in with; its value is empty."""
    return f"login-{username}"


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Usage `ca` signs itself, and the others; a `peer` is server and client; `days` is its life."""

    usage: Literal["ca", "server", "client", "peer"]
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
    `PREVIOUS`. `alternate` is the user name
    that takes turns with the one in `fixed`: each rotation goes to the other, in two steps (the new password is drawn as `NEXT`, then it is
    the one), and `overlap_seconds` is how long the one before still counts. `retires`: a third step takes that one out of the Secret, which
    says by a key of its own (`marker`) who logs in since. `replaces` is the version of the Secret that is due. `keys` is
    the set of signing keys that it is to have."""

    owner: Owner
    name: str
    component: str
    random: tuple[str, ...] = ()
    fixed: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    recipe: Literal["password", "signing-key", "api-keys", "certificate", "webhook"] = "password"
    source: str | None = None
    owned: bool = True
    type: str = "Opaque"
    certificate: Certificate | None = None
    rotates: bool = False
    remembers: bool = False
    alternate: str | None = None
    overlap_seconds: int = 0
    retires: bool = False
    replaces: str | None = None
    keys: KeySetWanted | None = None


def password(
    owner: Owner, name: str, component: str, username: str, *, owned: bool, extra: dict[str, str] | None = None, rotates: bool = False,
    remembers: bool = False, alternate: str | None = None, overlap_seconds: int = 0, retires: bool = False, **fixed: str,
) -> SecretRequest:  # fmt: skip
    """A user name and its password; further keys may use `{username}` and `{password}`."""
    return SecretRequest(
        owner, name, component, random=("password",), fixed={"username": username, **fixed}, owned=owned,
        extra=extra or {}, rotates=rotates, remembers=remembers, alternate=alternate, overlap_seconds=overlap_seconds,
        retires=retires,
    )  # fmt: skip
