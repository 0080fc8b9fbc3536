"""How clients outside of the cluster come to the gateway: an Ingress, an HTTPRoute of the Gateway API, and a certificate of cert-manager.

Where an Ingress or a Gateway is in front, TLS ends there and not at our gateway: how one speaks TLS to what is behind it is each
controller's own affair. So the gateway then serves plain HTTP and sends nobody to HTTPS, which would lead in a circle, and takes a client's
address from the proxy in front.
"""

from __future__ import annotations

from baas_operator.api.instance.gateway import Gateway
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import CERTIFICATE, HTTP_ROUTE, Kind
from baas_operator.desired.instance import names
from baas_operator.desired.meta import Manifest, Owner

HTTPS_ANNOTATION = "baas-operator.io/https"
"""On the ConfigMap of gateways: they lead clients to HTTPS."""
_COMPONENT = "gateway"
_INSTALL = {HTTP_ROUTE: "the Gateway API", CERTIFICATE: "cert-manager"}


def fronted(gateway: Gateway) -> bool:
    """Whether a proxy of the cluster's is in front of the gateway, whose `x-forwarded-for` is to be believed."""
    return gateway.ingress is not None or gateway.http_route is not None


def terminates_tls(gateway: Gateway) -> bool:
    """Whether TLS ends at the gateway itself."""
    return gateway.tls is not None and not fronted(gateway)


def certificate_secret(owner: Owner, gateway: Gateway) -> str | None:
    """Secret with the gateway's certificate: the user's own, or where cert-manager puts it. None without TLS."""
    if gateway.tls is None:
        return None
    return gateway.tls.secret_name or f"{owner.name}-gateway-tls"


def exposure_manifests(spec: BaasInstanceSpec, owner: Owner, *, kinds: frozenset[str]) -> list[Manifest]:
    """What was asked for, as far as the cluster has the kinds (`lacking` tells of the rest)."""
    gateway = spec.components.gateway
    made = []
    if gateway.tls and gateway.tls.issuer_ref and CERTIFICATE.name in kinds:
        made.append(_certificate(spec, owner))
    if gateway.ingress:
        made.append(_ingress(spec, owner))
    if gateway.http_route and HTTP_ROUTE.name in kinds:
        made.append(_http_route(spec, owner))
    return made


def lacking(spec: BaasInstanceSpec, kinds: frozenset[str]) -> str | None:
    """What was asked for and can not be made, as the cluster has no such kind: a sentence, or None."""
    gateway = spec.components.gateway
    asked: list[tuple[str, Kind]] = []
    if gateway.http_route:
        asked.append(("httpRoute", HTTP_ROUTE))
    if gateway.tls and gateway.tls.issuer_ref:
        asked.append(("tls.issuerRef", CERTIFICATE))
    for field, kind in asked:
        if kind.name not in kinds:
            return (
                f"spec.components.gateway.{field} asks for a {kind.name}, and this cluster has no CustomResourceDefinition "
                f"{kind.plural}.{kind.group} in version {kind.version}: install {_INSTALL[kind]}, and it is made within a minute, or take "
                f"{field} out."
            )
    return None


def _certificate(spec: BaasInstanceSpec, owner: Owner) -> Manifest:
    tls = spec.components.gateway.tls
    assert tls is not None
    assert tls.issuer_ref is not None
    return owner.child(
        CERTIFICATE.api_version, CERTIFICATE.name, f"{owner.name}-gateway", _COMPONENT,
        spec={
            "secretName": certificate_secret(owner, spec.components.gateway),
            "dnsNames": list(spec.hosts),
            "issuerRef": {"name": tls.issuer_ref.name, "kind": tls.issuer_ref.kind, "group": "cert-manager.io"},
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth"],
        },
    )  # fmt: skip


def _ingress(spec: BaasInstanceSpec, owner: Owner) -> Manifest:
    gateway = spec.components.gateway
    assert gateway.ingress is not None
    service = {"service": {"name": f"{owner.name}-gateway", "port": {"number": names.GATEWAY_PORT}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": service}]
    body: Manifest = {"rules": [{"host": host, "http": {"paths": paths}} for host in spec.hosts]}
    if gateway.ingress.class_name:
        body["ingressClassName"] = gateway.ingress.class_name
    if secret := certificate_secret(owner, gateway):
        body["tls"] = [{"hosts": list(spec.hosts), "secretName": secret}]
    return owner.child("networking.k8s.io/v1", "Ingress", f"{owner.name}-gateway", _COMPONENT, spec=body)


def _http_route(spec: BaasInstanceSpec, owner: Owner) -> Manifest:
    parent = spec.components.gateway.http_route
    assert parent is not None
    to = {"group": HTTP_ROUTE.group, "kind": "Gateway", "name": parent.name}
    if parent.namespace:
        to["namespace"] = parent.namespace
    if parent.section_name:
        to["sectionName"] = parent.section_name
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": f"{owner.name}-gateway", "port": names.GATEWAY_PORT, "weight": 1}],
    }
    return owner.child(
        HTTP_ROUTE.api_version, HTTP_ROUTE.name, f"{owner.name}-gateway", _COMPONENT,
        spec={"parentRefs": [to], "hostnames": list(spec.hosts), "rules": [rule]},
    )  # fmt: skip
