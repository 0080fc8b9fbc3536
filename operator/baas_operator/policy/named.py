"""Secrets and ConfigMaps of the user's that a backend names: told where they lack, and HTTPS waits for the one with its certificate."""

from __future__ import annotations

from dataclasses import dataclass, replace

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import CONFIG_MAP, POD, SECRET
from baas_operator.desired.instance.exposure import HTTPS_ANNOTATION, certificate_secret, terminates_tls
from baas_operator.desired.instance.referred import Reference, references
from baas_operator.observe.instance import every_gateway_has, is_over
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding
from baas_operator.policy.telling import told_of

LOOK_AGAIN_SECONDS = 10.0
"""Nobody watches what is not ours: while one lacks, or has just come, it is asked for again so soon."""


@dataclass(frozen=True)
class Lacking:
    """What lacks, and whether somebody has to act."""

    finding: Finding
    stuck: bool


def missing_named(spec: BaasInstanceSpec, view: View) -> Lacking | None:
    """The first that is not there, or lacks what has to be in it: pods that need it do not start, and the kubelet tells that to events
    alone."""
    if spec.hibernate:
        return None
    found = [each for one in references(spec, view.owner) if (each := _wrong_with(one, view))]
    first = next(iter(sorted(found, key=lambda each: not each.stuck)), None)
    if first is None or len(found) == 1:
        return first
    more = f"{first.finding.message} So it is with {len(found) - 1} more."
    return replace(first, finding=replace(first.finding, message=more))


def leads_to_https(spec: BaasInstanceSpec, view: View) -> bool:
    """Whether clients are led to HTTPS where the spec asks for that: all gateways listen there, and have the certificate or were told of
    it, so that nobody is led to where nobody answers. A backend that is new serves nothing in the clear, and one that led there once goes
    on to, whatever becomes of the certificate: gateways that run keep theirs, and who was sent there is not served in the clear again."""
    gateway = spec.components.gateway
    if not terminates_tls(gateway):
        return True
    files = view.child(CONFIG_MAP, f"{view.owner.name}-gateway")
    if files is not None and HTTPS_ANNOTATION in (files["metadata"].get("annotations") or {}):
        return True
    if not every_gateway_has(view, "https"):
        return False
    if files is None:
        return True
    name = certificate_secret(view.owner, gateway) or ""
    certificate = view.named.get((SECRET.name, name))
    if certificate is None or certificate.flaw or not {"tls.crt", "tls.key"} <= certificate.keys:
        return False
    pods = [each for each in view.all(POD, "gateway") if not each["metadata"].get("deletionTimestamp") and not is_over(each)]
    return all(told_of(each, certificate.version) for each in pods)


def _wrong_with(one: Reference, view: View) -> Lacking | None:
    there = view.named.get((one.kind.name, one.name))
    what = f"{one.kind.name} {one.name!r}, which"
    if there is None and one.maker:
        message = f"{what} {one.maker} is to make for {one.field}, is not there yet: if it does not come, {one.maker} says why."
        return Lacking(Finding(f"{one.kind.name}NotFound", message), stuck=False)
    if there is None:
        message = f"{what} {one.field} names, is not there: create it, or name another."
        return Lacking(Finding(f"{one.kind.name}NotFound", message), stuck=True)
    if lacking := [each for each in one.keys if each not in there.keys]:
        message = f"{what} {one.field} names, has no {' and no '.join(lacking)}: put it there, or name another."
        return Lacking(Finding(f"{one.kind.name}Incomplete", message), stuck=True)
    if there.flaw:
        return Lacking(Finding(f"{one.kind.name}Incomplete", f"{what} {one.field} names, is of no use: {there.flaw}."), stuck=True)
    return None
