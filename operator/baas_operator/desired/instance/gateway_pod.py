"""The gateway as a component: Envoy, which every engine has in front."""

from __future__ import annotations

from baas_operator.api.instance.gateway import ServiceType
from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import Component, Flow, Mount
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.exposure import HTTPS_ANNOTATION, certificate_secret, fronted, terminates_tls
from baas_operator.desired.instance.gateway import (
    CONFIG_MOUNT,
    DRAIN_SECONDS,
    FINISH_SECONDS,
    READY_PATH,
    STARTED_PATH,
    TLS_MOUNT,
    GatewayInput,
    Ports,
    Route,
    Upstream,
    arguments,
    bootstrap_of,
    drain_path,
    gateway_files,
    gateway_spec,
)
from baas_operator.desired.meta import checksum
from baas_operator.desired.pods import http_probe

ISSUER = "baas-operator"
_PORTS = Ports(http=names.GATEWAY_PORT)


def gateway(given: Given, upstreams: list[Upstream], routes: list[Route]) -> Component:
    """The gateway in front of these upstreams."""
    options = given.spec.components.gateway
    tls = terminates_tls(options)
    drain_key = checksum("drain", given.owner.uid or given.owner.name)
    files = _files(given, upstreams, routes, drain_key)
    certificate = certificate_secret(given.owner, options) if tls else None
    return Component(
        name="gateway",
        options=options,
        image=options.image or given.images.envoy,
        uid=101,
        ports={"http": _PORTS.http, "health": _PORTS.health} | ({"https": _PORTS.https} if tls else {}),
        public_ports=("http", "https") if tls else ("http",),
        command=("envoy",),
        args=arguments(CONFIG_MOUNT),
        config=files,
        config_mount=CONFIG_MOUNT,
        hot=True,
        notes={HTTPS_ANNOTATION: "true"} if tls and given.https else {},
        rolls=(bootstrap_of(files),) if files else (),
        kids=given.kids,
        # cert-manager makes the Secret after the pods are there, and Envoy takes the certificate up when it comes.
        mounts=(Mount(TLS_MOUNT, secret=certificate, optional=True),) if certificate else (),
        startup=http_probe(STARTED_PATH, _PORTS.health, period=1, failures=3600),
        readiness=http_probe(READY_PATH, _PORTS.health, period=3, failures=2),
        liveness=http_probe(READY_PATH, _PORTS.health, period=10, failures=6),
        pre_stop={"httpGet": {"path": drain_path(drain_key), "port": _PORTS.health, "scheme": "HTTP"}},
        drain_seconds=DRAIN_SECONDS,
        finish_seconds=FINISH_SECONDS + 8,
        scrape=_PORTS.health,
        same_zone=True,
        flows=tuple(sorted({Flow(each.name, port) for each in upstreams for port in (each.port, each.health_port)}, key=str)),
        service_type=options.service.type.value,
        # Where TLS ends here it is what clients use, as soon as no pod is left without.
        node_ports={"https" if tls and given.https else "http": options.service.node_port} if options.service.node_port else {},
        external_traffic=None if options.service.type is ServiceType.CLUSTER_IP else options.service.external_traffic_policy.value,
        cpu="100m",  # twice any component's: all of them wait while it waits for a processor
        memory="64Mi",
    )


def _files(given: Given, upstreams: list[Upstream], routes: list[Route], drain_key: str) -> dict[str, str]:
    """None while there are no keys: a gateway that knows none could let nobody in."""
    if not given.kids:
        return {}
    return gateway_files(
        GatewayInput(
            upstreams=tuple(upstreams),
            routes=tuple(routes),
            jwks=given.jwks,
            issuer=ISSUER,
            hosts=tuple(given.spec.hosts),
            own_hosts=_own_hosts(given),
            spec=gateway_spec(
                given.spec.components.gateway,
                tls=terminates_tls(given.spec.components.gateway), trusted_hops=int(fronted(given.spec.components.gateway)),
                redirects=given.https, replicas=given.gateways, defaults=given.spec.isolation.limit_range,
            ),
            ports=_PORTS,
            drain_key=drain_key,
        )
    )  # fmt: skip


def _own_hosts(given: Given) -> tuple[str, ...]:
    """Names of the Service, which clients inside the cluster use."""
    service = f"{given.owner.name}-gateway"
    return tuple(f"{service}{end}" for end in ("", *(f".{given.owner.namespace}{more}" for more in ("", ".svc", ".svc.cluster.local"))))
