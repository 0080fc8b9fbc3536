"""Where a backend's files are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from baas_operator.api.common import PORT, ApiModel
from baas_operator.api.instance.component import ConfigName

_ENDPOINT = rf"^https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?)(:{PORT})?/?$"


class S3Credentials(ApiModel):
    """How to log in."""

    secret_name: ConfigName
    """Secret with the keys `accessKeyId` and `secretAccessKey`."""


class S3(ApiModel):
    """A bucket of an object store that speaks S3."""

    endpoint: Annotated[str, Field(pattern=_ENDPOINT, max_length=300)]
    """URL of the object store."""
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", max_length=63)]
    """Bucket; it has to be there."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=40)] = "us-east-1"
    """Region that requests are signed for."""
    path_style: bool = True
    """Whether the bucket is part of the path, and not of the host name."""
    credentials: S3Credentials
    """How to log in."""

    @property
    def place(self) -> tuple[str, int]:
        """Host, without brackets, and port of the endpoint. By hand: `urlsplit` raises for brackets around what is no address."""
        scheme, _, rest = self.endpoint.rstrip("/").partition("://")
        host, colon, port = rest.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = rest, "443" if scheme == "https" else "80"
        return host.strip("[]"), int(port)
