"""Secrets that are made once and then kept: a request says what, the engine draws the random part.

A secret of ours is created, never updated: whoever comes second finds it there and uses it. So two leaders, or a leader that
dies between two steps, can not leave two versions of a password behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from baas_operator.desired.meta import Owner


@dataclass(frozen=True)
class SecretRequest:
    """One Secret: `random` keys are drawn (URL-safe, 32 characters), then `fixed` ones are filled in, where `{key}` stands for
    the value of another key; `extra` ones likewise, which a Secret that was made before there were such need not have. `recipe` names
    a maker that draws more than a password (see engine/generate.py); `source` names the secret that it needs. `owned=False` lets it
    outlive its owner."""

    owner: Owner
    name: str
    component: str
    random: tuple[str, ...] = ()
    fixed: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    recipe: Literal["password", "signing-key", "api-keys"] = "password"
    source: str | None = None
    owned: bool = True
    type: str = "Opaque"


def password(
    owner: Owner, name: str, component: str, username: str, *, owned: bool, extra: dict[str, str] | None = None, **fixed: str
) -> SecretRequest:  # fmt: skip
    """A user name and its password; further keys may use `{username}` and `{password}`."""
    return SecretRequest(
        owner, name, component, random=("password",), fixed={"username": username, **fixed}, owned=owned,
        extra=extra or {},
    )  # fmt: skip
