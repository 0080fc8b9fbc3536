"""A backend with programs on a queue, as time goes by: what stories of its workers and jobs begin with."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from baas_operator.api.instance.programs import Worker
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.programs import QueueProgram
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View
from baas_operator.policy.programs import Programs, look_at_programs
from tests.unit.objects import NOW, ZONES, keyed, nodes, own, owner, pod, secret

MAILER = {"name": "mailer", "image": "mailer:1", "stream": "orders"}
REPORT = {"name": "report", "image": "report:1", "schedule": "30 6 * * *"}
ORDERS = {"name": "orders", "subjects": ["orders.>"]}
SHOP, QUEUE = owner(BAAS_INSTANCE, "shop"), owner(EVENT_QUEUE, "mq")
DEPLOYMENT = ("Deployment", "shop-worker-mailer")


class Backend:
    """A backend with programs on a queue `mq`, as time goes by. What is decided is applied; pods come when a story says so."""

    def __init__(self, **spec: Any) -> None:
        self.spec = {"queueRef": {"name": "mq"}} | spec
        self.queue = own(EVENT_QUEUE, "mq", {"streams": [ORDERS]})
        self.logins: dict[tuple[str, str], Manifest] = {}
        self.children: dict[tuple[str, str], Manifest] = keyed(
            secret(SHOP, "shop-api-keys", "instance", anon="a-1", service_role="s-1", **{"jwks.json": "{}"})
        )
        self.now = NOW

    def serve(self, pending: int | None = 0) -> Backend:
        """The queue has made what each program needs; so many messages wait for the mailer."""
        parsed = BaasInstanceSpec.model_validate(self.spec)
        programs = [QueueProgram("shop", each) for each in [*parsed.workers, *parsed.jobs]]
        self.logins |= keyed(*(
            secret(QUEUE, each.secret("mq"), "nats", username=each.user, password="p") for each in programs if each.has_login
        ))  # fmt: skip
        told = [{"name": each.consumer, "pending": pending} for each in programs if isinstance(each.program, Worker)]
        self.queue["status"] = {"streams": [{"name": "orders", "consumers": told}]}
        return self

    def view(self) -> View:
        return View(
            resource=own(BAAS_INSTANCE, "shop", self.spec), children=self.children, nodes=nodes(*ZONES), now=self.now,
            others={(EVENT_QUEUE.name, "mq"): self.queue}, other_children={(EVENT_QUEUE.name, "mq"): self.logins},
        )  # fmt: skip

    def look(self) -> Programs:
        spec = BaasInstanceSpec.model_validate(self.spec)
        return look_at_programs(spec, self.view(), ENGINES[spec.engine].program_keys(SHOP))

    def reconcile(self) -> Programs:
        found = self.look()
        facts = InstanceFacts(jwks="{}", programs=found.facts)
        for key, each in keyed(*build_instance(BaasInstanceSpec.model_validate(self.spec), SHOP, Images(), facts)).items():
            if "-worker-" in key[1] or "-job-" in key[1]:
                before = self.children.get(key, {"metadata": {"creationTimestamp": to_text(self.now), "generation": 1}})
                born = before["metadata"]["creationTimestamp"]
                each["metadata"] |= {"creationTimestamp": born, "generation": 1}
                each["status"] = before.get("status", {"observedGeneration": 1})
                self.children[key] = each
        return self.look()

    def passes(self, seconds: float) -> Backend:
        self.now += timedelta(seconds=seconds)
        return self

    def pods(self, count: int, **how: Any) -> None:
        """The mailer has these pods."""
        self.children = {key: each for key, each in self.children.items() if key[0] != "Pod"}
        self.children |= keyed(*(pod(SHOP, f"mailer-{index}", "worker-mailer", on="node-zone-a", **how) for index in range(count)))
        self.children[DEPLOYMENT]["status"] = {"observedGeneration": 1, "updatedReplicas": count, "replicas": count}

    @property
    def replicas(self) -> int:
        return int(self.children[DEPLOYMENT]["spec"]["replicas"])


def told(found: Programs) -> tuple[bool | None, str, str]:
    assert found.condition
    assert found.condition.type == "ProgramsHealthy"
    return found.condition.status, found.condition.reason, found.condition.message
