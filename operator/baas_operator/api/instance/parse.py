"""The components of the `parse` engine beside its gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from baas_operator.api.common import ApiModel
from baas_operator.api.instance.component import Component, ConfigName
from baas_operator.api.instance.s3 import S3

ClassName = Annotated[str, Field(pattern=r"^_?[A-Za-z][A-Za-z0-9_]*$", max_length=100)]


class CloudCode(ApiModel):
    """Code of your own in Parse Server."""

    config_map: ConfigName
    """ConfigMap with `main.js` and what that requires. A change is taken up by rolling the pods."""


class LiveQuery(ApiModel):
    """Changes over WebSockets."""

    classes: Annotated[list[ClassName], Field(min_length=1, max_length=100)]
    """Classes that clients may subscribe to."""


class Server(Component):
    """Parse Server."""

    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=100)] | None = None
    """Application id that clients send; the name of the BaasInstance when left out."""
    cloud_code: CloudCode | None = None
    """Code of your own. It may be part of an image of your own instead, in `/cloud`."""
    live_query: LiveQuery | None = None
    """Changes over WebSockets; none when left out."""
    s3: S3 | None = None
    """Where files are; none can be uploaded when left out."""
    master_key_ips: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$", max_length=50)]], Field(min_length=1, max_length=50)
    ] = ["127.0.0.1", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
    """Addresses and networks that the master keys are taken from, as the gateway sees them; private ones when left out."""
    query_timeout_seconds: Annotated[int, Field(ge=1, le=300)] = 5
    """How long one query may take. For so long a request hangs whose database has frozen."""
    client_class_creation: bool = False
    """Whether clients may make classes by saving the first object. Convenient while one develops."""
    session_seconds: Annotated[int, Field(ge=60, le=10 * 31_536_000)] = 31_536_000
    """How long a session is good for."""


class Dashboard(Component):
    """Parse Dashboard."""

    enabled: bool = False
    """Whether it is there. Who can log in to it can do everything."""
    replicas: Annotated[int, Field(ge=1, le=50)] = 1
    """Pods."""


class CacheOptions(Component):
    """Valkey: it carries changes between the pods of Parse Server, and sessions that were looked up."""

    replicas: Annotated[int, Field(ge=1, le=5)] = 2
    """Pods, each a cache by itself. Changes go through all of them, so while one is left none is missed."""
