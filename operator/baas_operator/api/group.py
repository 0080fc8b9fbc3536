"""The API's group and version. Without pydantic: agents name objects of ours, and read none."""

from __future__ import annotations

GROUP = "baas-operator.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
