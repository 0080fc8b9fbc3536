"""Variables out of the user's Secrets and ConfigMaps: pods read them once, so that these are followed by rolling them."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.referred import references
from baas_operator.desired.meta import CHECKSUM_ANNOTATION, Owner

SMTP = {"name": "GOTRUE_SMTP_PASS", "secret": {"name": "smtp", "key": "password"}}
BRAND = {"name": "BRAND", "configMap": {"name": "brand", "key": "name"}}
PLAIN = {"name": "GOTRUE_SMTP_HOST", "value": "mail.example"}


def checksums(components: dict[str, Any], **versions: str) -> dict[str, str]:
    """What each component's pods are rolled for."""
    spec = BaasInstanceSpec.model_validate({"components": components})
    made = build_instance(spec, Owner("BaasInstance", "prod", "shop"), Images(), InstanceFacts(jwks="{}", versions=versions))
    return {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"][CHECKSUM_ANNOTATION]
        for each in made
        if each["kind"] == "Deployment"
    }


def rolled(components: dict[str, Any], before: dict[str, str], after: dict[str, str]) -> set[str]:
    first, second = checksums(components, **before), checksums(components, **after)
    return {name for name in first if first[name] != second[name]}


@pytest.mark.parametrize(
    ("auth", "changed"),
    [
        ({"env": [PLAIN, SMTP]}, "smtp"),
        ({"env": [BRAND]}, "brand"),
        ({"sidecars": [{"name": "logs", "image": "logs:1", "env": [SMTP]}]}, "smtp"),
    ],
)
def test_a_component_is_rolled_when_what_its_variables_are_out_of_changes(auth: dict[str, Any], changed: str) -> None:
    versions = {"smtp": "1", "brand": "1"}

    assert rolled({"auth": auth}, versions, versions | {changed: "2"}) == {"shop-auth"}
    assert rolled({"auth": auth}, versions, versions) == set()


def test_one_that_refers_to_nothing_is_as_it_was() -> None:
    """An operator that learns to follow more rolls nobody who has none of it."""
    assert rolled({"auth": {"env": [PLAIN]}}, {"smtp": "1"}, {"smtp": "2"}) == set()
    refers = {"auth": {"env": [SMTP]}}
    assert {name for name, each in checksums(refers, smtp="1").items() if each != checksums({}).get(name)} == {"shop-auth"}


def test_all_are_known_with_where_they_are_named() -> None:
    sidecar = {"name": "logs", "image": "logs:1", "env": [{"name": "TOKEN", "secret": {"name": "logs", "key": "token"}}]}
    volume = {"name": "more", "mountPath": "/more", "secret": "files"}
    s3 = {"endpoint": "http://s3:9000", "bucket": "files", "credentials": {"secretName": "s3"}}
    components = {
        "auth": {"env": [SMTP, PLAIN]},
        "gateway": {"sidecars": [sidecar], "tls": {"secretName": "tls"}},
        "rest": {"env": [BRAND], "volumes": [volume]},
        "storage": {"s3": s3},
        "functions": {"configMap": "code"},
        "meta": {"env": [{"name": "X", "secret": {"name": "of-what-is-not-there", "key": "x"}}]},
    }
    job = {"name": "clean", "image": "clean:1", "schedule": "0 3 * * *", "env": [{"name": "Y", "configMap": {"name": "jobs", "key": "y"}}]}
    spec = BaasInstanceSpec.model_validate({"components": components, "jobs": [job]})

    found = references(spec, Owner("BaasInstance", "prod", "shop"))

    assert {(each.kind.name, each.name, each.field, each.keys, each.at_start) for each in found} == {
        ("Secret", "smtp", "spec.components.auth.env[GOTRUE_SMTP_PASS]", ("password",), True),
        ("Secret", "logs", "spec.components.gateway.sidecars[logs].env[TOKEN]", ("token",), True),
        ("Secret", "tls", "spec.components.gateway.tls.secretName", ("tls.crt", "tls.key"), False),
        ("ConfigMap", "brand", "spec.components.rest.env[BRAND]", ("name",), True),
        ("Secret", "files", "spec.components.rest.volumes[more]", (), False),
        ("Secret", "s3", "spec.components.storage.s3.credentials.secretName", ("accessKeyId", "secretAccessKey"), True),
        ("ConfigMap", "code", "spec.components.functions.configMap", (), False),
        ("ConfigMap", "jobs", "spec.jobs[clean].env[Y]", ("y",), True),
    }


@pytest.mark.parametrize("front", [{"ingress": {}}, {"httpRoute": {"name": "front"}}])
def test_a_certificate_of_who_is_in_front_is_not_ours_to_look_for(front: dict[str, Any]) -> None:
    spec = BaasInstanceSpec.model_validate({"hosts": ["a.example"], "components": {"gateway": {"tls": {"secretName": "tls"}} | front}})
    with_tls = BaasInstanceSpec.model_validate({"hosts": ["a.example"], "components": {"gateway": {"tls": {"secretName": "tls"}}}})

    assert references(spec, Owner("BaasInstance", "prod", "shop")) == []
    assert len(references(with_tls, Owner("BaasInstance", "prod", "shop"))) == 1
