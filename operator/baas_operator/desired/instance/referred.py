"""Secrets and ConfigMaps of the user's that a backend's spec names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from baas_operator.api.instance.component import Component, EnvVar, Volume
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import CONFIG_MAP, SECRET, Kind
from baas_operator.desired.instance.exposure import certificate_secret, terminates_tls
from baas_operator.desired.meta import Owner


@dataclass(frozen=True)
class Reference:
    """One of them. `field`: where it is named; `keys`: what has to be in it; `at_start`: pods read it only when they start, and are rolled
    when it is another; the files of all others follow by themselves. `maker`: who makes it, where that is not the user; `certificate`: it
    has to have one, with its key."""

    kind: Kind
    name: str
    field: str
    keys: tuple[str, ...] = ()
    at_start: bool = False
    maker: str | None = None
    certificate: bool = False


def references(spec: BaasInstanceSpec, owner: Owner) -> list[Reference]:
    """All of them. Those to pull images with are not: the kubelet goes on without."""
    made = [*_certificate(spec, owner)]
    for part, where in ((spec.components.storage, "storage"), (spec.components.server, "server")):
        if part and part.s3:
            field = f"spec.components.{where}.s3.credentials.secretName"
            made.append(Reference(SECRET, part.s3.credentials.secret_name, field, ("accessKeyId", "secretAccessKey"), at_start=True))
    server, functions = spec.components.server, spec.components.functions
    if server and server.cloud_code:
        made.append(Reference(CONFIG_MAP, server.cloud_code.config_map, "spec.components.server.cloudCode.configMap", at_start=True))
    if functions and functions.config_map:
        made.append(Reference(CONFIG_MAP, functions.config_map, "spec.components.functions.configMap"))
    for field, programs in (("workers", spec.workers), ("jobs", spec.jobs)):
        for program in programs:
            made += _of_pods(f"spec.{field}[{program.name}]", program.env, program.volumes)
    for name, options in _components(spec):
        made += _of_pods(f"spec.components.{name}", options.env, options.volumes)
        for sidecar in options.sidecars:
            made += _of_pods(f"spec.components.{name}.sidecars[{sidecar.name}]", sidecar.env)
    return made


def of_component(options: Component) -> list[str]:
    """Names of those that variables of a component's pods are out of, its sidecars' included."""
    variables = [*options.env, *(each for sidecar in options.sidecars for each in sidecar.env)]
    return sorted({each.name for each in _of_pods("", variables)})


def _components(spec: BaasInstanceSpec) -> Iterator[tuple[str, Component]]:
    for name, options in spec.components:
        if isinstance(options, Component) and getattr(options, "enabled", True):
            yield name, options


def _certificate(spec: BaasInstanceSpec, owner: Owner) -> Iterator[Reference]:
    gateway = spec.components.gateway
    name = certificate_secret(owner, gateway)
    if name is None or gateway.tls is None or not terminates_tls(gateway):
        return
    by_us = gateway.tls.issuer_ref is not None
    field = f"spec.components.gateway.tls.{'issuerRef' if by_us else 'secretName'}"
    yield Reference(SECRET, name, field, ("tls.crt", "tls.key"), maker="cert-manager" if by_us else None, certificate=True)


def _of_pods(where: str, variables: Iterable[EnvVar], volumes: Iterable[Volume] = ()) -> Iterator[Reference]:
    for each in variables:
        field = f"{where}.env[{each.name}]"
        if each.secret:
            yield Reference(SECRET, each.secret.name, field, (each.secret.key,), at_start=True)
        elif each.config_map:
            yield Reference(CONFIG_MAP, each.config_map.name, field, (each.config_map.key,), at_start=True)
    for volume in volumes:
        field = f"{where}.volumes[{volume.name}]"
        if volume.secret:
            yield Reference(SECRET, volume.secret, field)
        elif volume.config_map:
            yield Reference(CONFIG_MAP, volume.config_map, field)
