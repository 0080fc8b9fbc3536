"""The components of the `supabase` engine beside its gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import Quantity, SqlName, rule, rules
from baas_operator.api.instance.component import Component, ConfigName
from baas_operator.api.instance.s3 import S3

Settings = Annotated[
    dict[str, Annotated[str, Field(max_length=4000)]],
    Field(
        max_length=100,
        json_schema_extra=rules(
            rule("self.all(k, k.matches('^[A-Z][A-Z0-9_]*$') && size(k) <= 200)", "settings are named as their variables: A-Z, 0-9 and _.")
        ),
    ),
]
"""Settings of a program as variables, in plain text; what is secret goes into `env`."""


class Rest(Component):
    """PostgREST, the data API."""

    schemas: Annotated[
        list[SqlName],
        Field(
            min_length=1,
            max_length=20,
            json_schema_extra=rules(
                rule(
                    "self.all(s, !s.startsWith('pg_') && !(s in ['information_schema', 'auth', 'storage', 'baas_probe', 'baas_operator']))",
                    "rest.schemas has a schema of the system or of a component (pg_*, information_schema, auth, storage, "
                    "baas_probe, baas_operator): exposing it gives away what is not for clients. Name your own.",
                )
            ),
        ),
    ] = ["public"]
    """Schemas that the API shows; the first is the default."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Most rows of one answer."""
    statement_seconds: Annotated[int, Field(ge=1, le=600)] = 8
    """Longest time that a statement of a client may take; what takes longer is ended by PostgreSQL."""


class Reads(Component):
    """PostgREST on standbys: it answers reads while there is no primary."""

    enabled: bool = True
    """Whether it is there."""
    replicas: Annotated[int, Field(ge=1, le=50)] = 2
    """Pods, spread over the zones."""


class Auth(Component):
    """GoTrue: users and their tokens."""

    enabled: bool = True
    """Whether it is there. Without it tokens are signed by somebody else with the instance's key."""
    site_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=300)] | None = None
    """Where users come back to from links in mails; the first of `spec.hosts` when left out."""
    token_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    """How long an access token is good for."""
    settings: Settings = {}
    """Further settings of GoTrue (`GOTRUE_…`)."""


class Storage(Component):
    """storage-api: files, on S3. It is there when `s3` is."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "quantity(self.fileSizeLimit).compareTo(quantity('5Ti')) <= 0",
                "storage.fileSizeLimit is more than 5Ti, which is the most that an object store takes: give less.",
            )
        )
    )

    s3: S3 | None = None
    """Where the files are."""
    file_size_limit: Quantity = "50Mi"
    """Largest file."""


class Meta(Component):
    """postgres-meta: the catalogue over HTTP, for who has the service key."""

    enabled: bool = False
    """Whether it is there. It lets whoever has the service key run any SQL, so it is only there when asked for."""
    replicas: Annotated[int, Field(ge=1, le=50)] = 2
    """Pods, spread over the zones."""


class Functions(Component):
    """Functions of your own, in Deno. It is there when `configMap` or `image` is."""

    config_map: ConfigName | None = None
    """ConfigMap with a file `NAME.ts` for each function. A change is taken up while they run, as soon as the kubelet brings it."""


class Realtime(Component):
    """Realtime: changes over WebSockets."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!self.enabled", "realtime can not be run yet: leave it out, or run supabase/realtime beside the backend by yourself."),
        )
    )

    enabled: bool = False
    """Whether it is there."""
