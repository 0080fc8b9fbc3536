"""What the transaction `publish` is made of: of the backend a prober that may get where it has to, of its queue a stream, a user and a
webhook (tests/unit/policy/test_queue_probes.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.desired.images import Images
from baas_operator.desired.instance import publishing
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.prober import HOOK_PATH
from baas_operator.desired.instance.probes import probes_of
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue import names as queue_names
from baas_operator.desired.render import render
from baas_operator.prober.config import read
from baas_operator.prober.transactions.publish import HOOK, NAME
from tests.unit.desired.instance.policies import NAMESPACE, Pod, connects
from tests.unit.desired.rendered import resource
from tests.unit.objects import owner

SHOP = owner(BAAS_INSTANCE, "shop")
PROBER = Pod(SHOP.labels("prober"))
DISPATCHER = Pod(Owner("EventQueue", NAMESPACE, "shop-events").labels(queue_names.DISPATCHER))
ANOTHER = Pod(Owner("EventQueue", NAMESPACE, "events").labels(queue_names.DISPATCHER))
SERVERS = Pod(Owner("EventQueue", NAMESPACE, "shop-events").labels(queue_names.COMPONENT))
ON = {"prober": {"publish": True}}


def made(**said: Any) -> dict[tuple[str, str], Manifest]:
    found = build_instance(BaasInstanceSpec.model_validate(said), SHOP, Images(), InstanceFacts(jwks='{"keys": []}'))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def transactions(**said: Any) -> list[str]:
    found = probes_of(BaasInstanceSpec.model_validate(said), SHOP)
    return [each.name for each in found.transactions] if found else []


@pytest.mark.parametrize("engine", ["supabase", "parse"])
def test_it_is_there_where_it_is_asked_for_and_the_queue_is_the_backends_own(engine: str) -> None:
    assert transactions(engine=engine, **ON)[-1] == "publish"
    assert "publish" not in transactions(engine=engine)
    assert "publish" not in transactions(engine=engine, queueRef={"name": "events"}, **ON)
    assert transactions(engine=engine, prober={"publish": True, "enabled": False}) == []


def test_without_it_nothing_is_other_than_it_was() -> None:
    assert made() == made(prober={"publish": False})
    assert "queue" not in json.loads(made()["ConfigMap", "shop-prober"]["data"]["probe.json"])


def test_nothing_of_it_is_written_into_the_queues_spec() -> None:
    """Its lists may have others' entries, and who writes a list has it whole."""
    assert made(**ON)["EventQueue", "shop-events"] == made()["EventQueue", "shop-events"]


def test_a_prober_has_what_it_logs_in_with_by_names_that_no_other_key_has(tmp_path: Any) -> None:
    found = made(**ON)
    text = found["ConfigMap", "shop-prober"]["data"]["probe.json"]
    assert json.loads(text)["queue"] == {
        "host": "shop-events.prod.svc", "port": 4222, "subject": "baas-probe", "inbox": "_INBOX_shop.prober",
    }  # fmt: skip
    (tmp_path / "probe.json").write_text(text)
    told = read(tmp_path / "probe.json")
    assert told.queue is not None
    (publish,) = [each for each in told.transactions if each.name == NAME]
    assert (publish.every, publish.after) == (10, 1)

    volumes = found["Deployment", "shop-prober"]["spec"]["template"]["spec"]["volumes"]
    mounted = {each["secret"]["secretName"]: each["secret"] for each in volumes if "secret" in each}
    files = [item["path"] for each in mounted.values() for item in each["items"]]
    assert len(files) == len(set(files)), "a prober finds a key by the name of its file alone"
    assert [item["key"] for item in mounted["shop-events-user-shop.prober"]["items"]] == ["username", "password", "ca.crt"]
    assert [item["key"] for item in mounted["shop-events-webhook-baas-probe"]["items"]] == ["secret"]
    assert all(each["optional"] for each in mounted.values()), "a pod starts before the queue has made them"


def test_the_webhook_leads_where_probers_listen_and_to_no_other_private_address() -> None:
    hook = publishing.webhook("http://shop-prober.prod.svc:8080/hook", ["10.96.3.4", "fd00::7"], enabled=True)
    assert hook.allow_networks == ["10.96.3.4/32", "fd00::7/128"]
    assert HOOK_PATH == HOOK
    service = made(**ON)["Service", "shop-prober"]["spec"]
    assert [each["port"] for each in service["ports"]] == [8080]
    assert service.get("clusterIP") != "None", "its address has to be one that stays"


def test_a_message_that_nobody_takes_is_gone_before_it_becomes_a_dead_letter() -> None:
    hook, stream = publishing.webhook("http://a.b/hook", [], enabled=True), publishing.stream()
    assert stream.max_age_hours is not None
    assert hook.retry_seconds[-1] > stream.max_age_hours * 3600
    assert sum(hook.retry_seconds[:-1]) * 1.2 < 10, "within the deadline of the transaction"
    assert stream.deletion_policy.value == "Delete"


def test_the_network_lets_dispatchers_and_other_probers_in_and_nobody_else() -> None:
    theirs = [each for each in render(resource("EventQueue")) if each["kind"] == "NetworkPolicy"]
    on, off = ([each for (kind, _), each in made(**said).items() if kind == "NetworkPolicy"] + theirs for said in (ON, {}))
    for policies, there in ((on, True), (off, False)):
        assert connects(policies, DISPATCHER, PROBER, 8080) is there
        assert connects(policies, PROBER, PROBER, 8080) is there
        assert connects(policies, PROBER, SERVERS, 4222) is there
        assert not connects(policies, PROBER, DISPATCHER, 8080)
        for other in (ANOTHER, SERVERS, Pod({"app": "miner"}), Pod(SHOP.labels("rest")), Pod(DISPATCHER.labels, "elsewhere")):
            assert not connects(policies, other, PROBER, 8080)


def test_the_switch_is_a_boolean() -> None:
    with pytest.raises(ValidationError):
        BaasInstanceSpec.model_validate({"prober": {"publish": "sometimes"}})
