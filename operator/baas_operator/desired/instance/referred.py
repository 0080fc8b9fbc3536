"""Secrets and ConfigMaps of the user's that pods of a backend read only when they start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from baas_operator.api.instance.component import Component, EnvVar
from baas_operator.api.instance.spec import BaasInstanceSpec


def referred_secrets(spec: BaasInstanceSpec) -> frozenset[str]:
    """Names of such Secrets."""
    parts = (spec.components.storage, spec.components.server)
    files = {part.s3.credentials.secret_name for part in parts if part and part.s3}
    return frozenset(files | {name for name, secret in _of_variables(spec) if secret})


def referred_config_maps(spec: BaasInstanceSpec) -> frozenset[str]:
    """Names of such ConfigMaps."""
    server = spec.components.server
    code = {server.cloud_code.config_map} if server and server.cloud_code else set()
    return frozenset(code | {name for name, secret in _of_variables(spec) if not secret})


def of_component(options: Component) -> list[str]:
    """Names of those that variables of a component's pods are out of, its sidecars' included; files follow by themselves."""
    return sorted({name for name, _ in _named(_variables(options))})


def _of_variables(spec: BaasInstanceSpec) -> Iterator[tuple[str, bool]]:
    for program in (*spec.workers, *spec.jobs):
        yield from _named(program.env)
    for _, options in spec.components:
        if isinstance(options, Component):
            yield from _named(_variables(options))


def _variables(options: Component) -> list[EnvVar]:
    return [*options.env, *(each for sidecar in options.sidecars for each in sidecar.env)]


def _named(variables: Iterable[EnvVar]) -> Iterator[tuple[str, bool]]:
    for each in variables:
        if each.secret:
            yield each.secret.name, True
        elif each.config_map:
            yield each.config_map.name, False
