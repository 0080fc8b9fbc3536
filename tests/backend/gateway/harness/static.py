"""A gateway's files as one configuration without anything dynamic: `envoy --mode validate` reads no file that it would follow later."""

from __future__ import annotations

import json
from typing import Any


def as_static(files: dict[str, str], folder: str) -> str:
    """The same, in one text."""

    def followed(source: dict[str, Any]) -> list[dict[str, Any]]:
        path = source["path_config_source"]["path"]
        assert source["path_config_source"]["watched_directory"]["path"] == folder
        made: list[dict[str, Any]] = json.loads(files[path.removeprefix(f"{folder}/")])["resources"]
        return made

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(each) for each in value]
        if not isinstance(value, dict):
            return value
        made = dict(value)
        if "rds" in made:
            (made["route_config"],) = followed(made.pop("rds")["config_source"])
        if "config_discovery" in made:
            (found,) = followed(made.pop("config_discovery")["config_source"])
            assert found["name"] == made["name"]
            made["typed_config"] = found["typed_config"]
        if "tls_certificate_sds_secret_configs" in made:
            (secret,) = followed(made.pop("tls_certificate_sds_secret_configs")[0]["sds_config"])
            made["tls_certificates"] = [{key: secret["tls_certificate"][key] for key in ("certificate_chain", "private_key")}]
        made = {key: inlined(each) for key, each in made.items()}
        if made.get("@type", "").endswith("RouteConfiguration"):
            del made["@type"]
        return made

    bootstrap: dict[str, Any] = json.loads(files["envoy.yaml"])
    dynamic = bootstrap.pop("dynamic_resources")
    statics = bootstrap["static_resources"]
    for kind, source in (("listeners", "lds_config"), ("clusters", "cds_config")):
        found = [inlined(each) for each in followed(dynamic[source])]
        statics.setdefault(kind, []).extend({key: each for key, each in one.items() if key != "@type"} for one in found)
    return json.dumps(bootstrap)
