"""Secrets and ConfigMaps of the user's that pods of a backend read only when they start."""

from __future__ import annotations

from collections.abc import Iterator

from baas_operator.api.instance.spec import BaasInstanceSpec


def referred_secrets(spec: BaasInstanceSpec) -> frozenset[str]:
    """Names of such Secrets."""
    parts = (spec.components.storage, spec.components.server)
    files = {part.s3.credentials.secret_name for part in parts if part and part.s3}
    return frozenset(files | {name for name, secret in _of_programs(spec) if secret})


def referred_config_maps(spec: BaasInstanceSpec) -> frozenset[str]:
    """Names of such ConfigMaps."""
    server = spec.components.server
    code = {server.cloud_code.config_map} if server and server.cloud_code else set()
    return frozenset(code | {name for name, secret in _of_programs(spec) if not secret})


def _of_programs(spec: BaasInstanceSpec) -> Iterator[tuple[str, bool]]:
    for program in (*spec.workers, *spec.jobs):
        for each in program.env:
            if each.secret:
                yield each.secret.name, True
            elif each.config_map:
                yield each.config_map.name, False
