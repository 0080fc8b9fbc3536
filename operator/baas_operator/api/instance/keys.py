"""The keys that a backend signs tokens with: when there is another, and what is told of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import ApiModel, rule, rules

KeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", max_length=43)]
"""An RFC 7638 thumbprint, as the header of a token (`kid`) and `status.keys` have it."""


class Keys(ApiModel):
    """When signing keys, and passwords of roles in the database, change."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.rotationDays == 0 || self.rotationDays * 24 > self.overlapHours",
                "keys.rotationDays is not longer than keys.overlapHours: ever more keys would count. Rotate less often, or let the "
                "overlap be shorter.",
            )
        )
    )

    rotation_days: Annotated[int, Field(ge=0, le=3650)] = 0
    """Days after which there is another signing key; 0 for only when asked for."""
    password_rotation_days: Annotated[int, Field(ge=0, le=3650)] = 0
    """Days after which roles of the database have other passwords; 0 for only when asked for."""
    overlap_hours: Annotated[int, Field(ge=1, le=8760)] = 168
    """Hours for which tokens of the key before still count, API keys among them; as long as access tokens live at the least."""
    revoked: Annotated[list[KeyId], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Ids of keys whose tokens count no more, at once. If it is the one that signs, another takes its place."""


class KeysPhase(StrEnum):
    """How far a rotation is."""

    STABLE = "Stable"
    PUBLISHING = "Publishing"
    SWITCHING = "Switching"
    OVERLAPPING = "Overlapping"


class KeyStatus(ApiModel):
    """One key that counts."""

    kid: str
    """Id of the key, which the header of its tokens has."""
    state: str
    """`current` signs; `next` is going to; `previous` did, and still counts; `revoking` is to count no more, but not all who verify tokens
    are given the set without it yet."""
    since: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When it came into that state."""
    until: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When a previous one is retired, once all who sign use another."""


class KeysStatus(ApiModel):
    """The keys that count, without anything secret."""

    phase: KeysPhase
    """How far a rotation is: `Publishing` until all who verify know the next key, `Switching` until all who sign use it, `Overlapping`
    while keys before it still count, and else `Stable`."""
    since: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When that began."""
    set: Annotated[
        list[KeyStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["kid"]}),
    ] = []
    """The keys, the one that signs first."""
    next_rotation: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When the next one begins by itself."""
    revoked: list[str] = []
    """Ids of keys that were in the set and are revoked: nobody is given them any more."""


class PasswordsStatus(ApiModel):
    """How the passwords of the backend's roles in its database are rotated."""

    phase: KeysPhase
    """How far a rotation is, of the role that is least far: `Publishing` until the database and its standbys know the next password,
    `Switching` until no pod logs in with the one before, `Overlapping` until that is taken away, and else `Stable`."""
    next_rotation: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When the next one begins by itself, or as it was asked for."""
