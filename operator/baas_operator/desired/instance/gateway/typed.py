"""Small words of Envoy's v3 API that every part of the configuration uses."""

from __future__ import annotations

import json
from typing import Any

from baas_operator.desired.instance.gateway.model import GatewayInput
from baas_operator.desired.meta import checksum

Config = dict[str, Any]
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
EXTENSION = "envoy.config.core.v3.TypedExtensionConfig"

BOOTSTRAP = "envoy.yaml"
LISTENERS = "listeners.yaml"
CLUSTERS = "clusters.yaml"
PUBLIC_ROUTES = "routes.yaml"
HEALTH_ROUTES = "health-routes.yaml"
CERTIFICATE = "certificate.yaml"
JWT_FILTER = "jwt"
RATE_FILTER = "rate-limit"


def extension_file(filter_name: str) -> str:
    """File with one filter's configuration."""
    return f"filter-{filter_name}.yaml"


def typed(type_name: str, **body: Any) -> Config:
    """A message with its type."""
    return {"@type": f"type.googleapis.com/{type_name}", **body}


def extension(name: str, type_name: str, **body: Any) -> Config:
    """A named extension with a configuration of its type."""
    return {"name": name, "typed_config": typed(type_name, **body)}


def seconds(value: float) -> str:
    """A protobuf duration."""
    return f"{value:g}s"


def health_check(interval: float, timeout: float, *, misses: int) -> Config:
    """A health check, in seconds; `misses` in a row put a pod out."""
    every = seconds(interval)
    return {
        "interval": every, "no_traffic_interval": every, "unhealthy_interval": every,
        "timeout": seconds(timeout), "unhealthy_threshold": misses,
    }  # fmt: skip


def address(host: str, port: int) -> Config:
    """Where something listens."""
    return {"socket_address": {"address": host, "port_value": port}}


def one_place(cluster: str, host: str, port: int) -> Config:
    """The endpoints of a cluster that leads to one address."""
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}]}


def header(key: str, value: str, *, only_if_absent: bool = False) -> Config:
    """A header to set; or, `only_if_absent`, to add where there is none."""
    action = "ADD_IF_ABSENT" if only_if_absent else "OVERWRITE_IF_EXISTS_OR_ADD"
    return {"header": {"key": key, "value": value}, "append_action": action}


def from_file(given: GatewayInput, file: str) -> Config:
    """A source of configuration that follows a file of the ConfigMap: Kubernetes changes a mounted ConfigMap by moving a symlink in its
    folder, so it is the folder that has to be watched (Envoy documentation, "xDS configuration", "Dynamic configuration from files")."""
    return {
        "path_config_source": {"path": f"{given.folder}/{file}", "watched_directory": {"path": given.folder}},
        "resource_api_version": "V3",
        # What is not there yet keeps the pod from listening, for ever: a gateway without its key filter must not serve.
        "initial_fetch_timeout": "0s",
    }


def discovered(given: GatewayInput, name: str, type_name: str) -> Config:
    """A filter whose configuration is a file of its own."""
    source = {"config_source": from_file(given, extension_file(name)), "type_urls": [f"type.googleapis.com/{type_name}"]}
    return {"name": name, "config_discovery": source}


def resources(*made: Config) -> str:
    """A file of dynamic configuration."""
    return to_text({"version_info": checksum(*made), "resources": list(made)})


def to_text(value: Config) -> str:
    """JSON, which is YAML; sorted, so that what means the same is the same text."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
