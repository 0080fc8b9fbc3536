"""Variables out of the user's Secrets and ConfigMaps: pods read them once, so that these are followed by rolling them."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.referred import referred_config_maps, referred_secrets
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


def test_they_are_asked_for() -> None:
    sidecar = {"name": "logs", "image": "logs:1", "env": [{"name": "TOKEN", "secret": {"name": "logs", "key": "token"}}]}
    volume = {"name": "more", "mountPath": "/more", "secret": "files"}
    components = {"auth": {"env": [SMTP, PLAIN]}, "gateway": {"sidecars": [sidecar]}, "rest": {"env": [BRAND], "volumes": [volume]}}
    spec = BaasInstanceSpec.model_validate({"components": components})

    assert referred_secrets(spec) == {"smtp", "logs"}, "files follow by themselves"
    assert referred_config_maps(spec) == {"brand"}
