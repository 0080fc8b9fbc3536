"""Containers of the user's beside a component."""

from __future__ import annotations

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.meta import Owner


def test_they_are_there_before_the_component_and_until_it_has_drained() -> None:
    """As containers like others they would be told to end with the component, while it still serves what is under way through them."""
    proxy = {"name": "proxy", "image": "proxy:1", "env": [{"name": "A", "value": "b"}]}
    spec = BaasInstanceSpec.model_validate({"components": {"rest": {"sidecars": [proxy]}}})
    made = build_instance(spec, Owner("BaasInstance", "prod", "shop"), Images(), InstanceFacts(jwks="{}"))
    pods = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in made if each["kind"] == "Deployment"}

    (sidecar,) = pods["shop-rest"]["initContainers"]
    assert (sidecar["name"], sidecar["image"], sidecar["restartPolicy"]) == ("proxy", "proxy:1", "Always")
    assert sidecar["securityContext"] == pods["shop-rest"]["containers"][0]["securityContext"]
    assert "proxy" not in {each["name"] for each in pods["shop-rest"]["containers"]}
    assert "initContainers" not in pods["shop-reads"], "who has none is as it was"
