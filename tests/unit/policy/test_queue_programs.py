"""A queue is kept as if it declared what backends' programs need: a consumer and a user each, and nothing that JetStream would refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.names import other_slot, users
from baas_operator.desired.queue.programs import QueueProgram
from baas_operator.desired.queue.streams import all_kept
from baas_operator.desired.queue.users import rights
from baas_operator.observe.queue import ConsumerState, rounded
from baas_operator.observe.view import View
from baas_operator.policy.plan import EnsureConsumer, Plan
from baas_operator.policy.queue import plan_queue
from baas_operator.policy.queue.programs import impossible, programs_of, scaled_by_backlog, with_programs
from tests.unit.objects import NOW, own, owner
from tests.unit.policy.queue_at_rest import Queue

MAILER = {"name": "mailer", "image": "mailer:1", "stream": "orders", "publish": ["orders.mailed"]}
REPORT = {"name": "report", "image": "report:1", "schedule": "30 6 * * *"}
ORDERS = {"name": "orders", "subjects": ["orders.>"], "consumers": [{"name": "billing"}]}


def backend(name: str, queue: str | None = "mq", **spec: Any) -> Manifest:
    return own(BAAS_INSTANCE, name, spec | ({"queueRef": {"name": queue}} if queue else {}))


def seen(*instances: Manifest, name: str = "mq", made_for: str | None = None) -> View:
    resource = own(EVENT_QUEUE, name)
    if made_for:
        resource["metadata"]["ownerReferences"] = [owner(BAAS_INSTANCE, made_for).reference()]
    others = {(BAAS_INSTANCE.name, each["metadata"]["name"]): each for each in instances}
    return View(resource=resource, children={}, nodes={}, now=NOW, others=others)


def effective(view: View, **spec: Any) -> EventQueueSpec:
    declared = EventQueueSpec.model_validate({"streams": [ORDERS]} | spec)
    return with_programs(declared, view.owner.name, programs_of(view))


def consumers(spec: EventQueueSpec, stream: str = "orders") -> dict[str, Any]:
    (kept,) = (each for each in all_kept(spec, queue="mq", namespace="prod", shares={}) if each.name == stream)
    return dict(kept.consumers)


def may_publish(spec: EventQueueSpec, user: str) -> tuple[str, ...]:
    return rights(spec)["APP"][user].publish or ()


def test_a_worker_gets_a_consumer_and_a_user_that_reads_that_one_alone() -> None:
    spec = effective(seen(backend("shop", workers=[MAILER | {"filter": "orders.placed", "ackWaitSeconds": 90}])))

    made = consumers(spec)
    assert list(made) == ["billing", "shop_mailer"]
    assert made["shop_mailer"]["filter_subject"] == "orders.placed"
    assert made["shop_mailer"]["ack_wait"] == 90 * 10**9
    user = "shop.mailer.worker"
    assert user in users(spec)
    told = may_publish(spec, user)
    assert {"orders.mailed", "$JS.API.CONSUMER.MSG.NEXT.orders.shop_mailer", "$JS.API.CONSUMER.INFO.orders.shop_mailer"} <= set(told)
    assert not [each for each in told if "billing" in each or "CREATE" in each]
    assert rights(spec)["APP"][user].subscribe == ("_INBOX_shop.mailer.worker.>",)


def test_the_application_may_not_change_a_workers_consumer_or_listen_to_its_inbox() -> None:
    app = rights(effective(seen(backend("shop", workers=[MAILER]))))["APP"]["app"]

    assert "$JS.API.CONSUMER.DELETE.orders.shop_mailer" in app.deny_publish
    assert "_INBOX_shop.mailer.worker.>" in app.deny_subscribe


def test_backends_on_one_queue_have_their_own() -> None:
    spec = effective(seen(backend("shop", workers=[MAILER]), backend("blog", workers=[MAILER])))

    assert set(consumers(spec)) == {"billing", "blog_mailer", "shop_mailer"}
    assert not [each for each in may_publish(spec, "blog.mailer.worker") if "shop" in each]


def test_a_consumer_that_is_declared_is_shared_and_stays_as_it_is() -> None:
    spec = effective(seen(backend("shop", workers=[MAILER | {"consumer": "billing"}])))

    assert list(consumers(spec)) == ["billing"]
    assert "$JS.API.CONSUMER.MSG.NEXT.orders.billing" in may_publish(spec, "shop.mailer.worker")


def test_a_job_has_a_user_if_it_publishes() -> None:
    view = seen(backend("shop", jobs=[REPORT, REPORT | {"name": "loud", "publish": ["orders.late"]}]))

    assert [each for each in users(effective(view)) if "." in each] == ["shop.loud.job"]
    assert may_publish(effective(view), "shop.loud.job") == ("orders.late",)


@pytest.mark.parametrize(
    ("worker", "queue", "reason", "says"),
    [
        ({"stream": "none"}, {}, "StreamNotDeclared", "reads stream none, which the EventQueue mq does not declare: add it there."),
        ({"consumer": "none"}, {}, "ConsumerNotDeclared", "or leave `consumer` out"),
        ({"filter": "bills.>"}, {}, "FilterMatchesNothing", "reads bills.>"),
        ({}, {"streams": [ORDERS | {"retention": "workqueue"}]}, "ConsumerContested", "consumer billing takes the same ones"),
    ],
)
def test_what_can_not_be_is_said_and_left_out(worker: Manifest, queue: Manifest, reason: str, says: str) -> None:
    view = seen(backend("shop", workers=[MAILER | worker]))
    declared = EventQueueSpec.model_validate({"streams": [ORDERS]} | queue)
    (one,) = programs_of(view)

    found = impossible(declared, "mq", one)
    assert found
    assert found.reason == reason
    assert says in found.message

    spec = effective(view, **queue)
    assert "shop_mailer" not in consumers(spec)
    assert may_publish(spec, "shop.mailer.worker") == ("orders.mailed",), "its login is there, and reads nothing"


def test_a_workqueue_is_shared_by_who_takes_other_subjects() -> None:
    queue = {"name": "orders", "subjects": ["orders.>"], "retention": "workqueue"}
    first, second = MAILER | {"filter": "orders.placed"}, MAILER | {"name": "biller", "filter": "orders.paid"}
    everything = MAILER | {"name": "greedy"}
    view = seen(backend("shop", workers=[first, second]), backend("zoo", workers=[everything]))

    assert set(consumers(effective(view, streams=[queue]))) == {"shop_mailer", "shop_biller"}


def test_a_workqueue_that_a_webhook_reads_is_contested() -> None:
    queue = {"streams": [{"name": "orders", "subjects": ["orders.>"], "retention": "workqueue"}]}
    hooks = {"webhooks": [{"name": "crm", "stream": "orders", "url": "https://crm.example/"}]}
    view = seen(backend("shop", workers=[MAILER]))

    found = impossible(EventQueueSpec.model_validate(queue | hooks), "mq", programs_of(view)[0])
    assert found
    assert "webhook crm" in found.message


def test_a_consumer_that_is_there_is_no_rival_of_itself() -> None:
    queue = {"streams": [{"name": "orders", "subjects": ["orders.>"], "retention": "workqueue"}]}
    view = seen(backend("shop", workers=[MAILER]))

    assert impossible(effective(view, **queue), "mq", programs_of(view)[0]) is None


def test_a_queue_made_for_a_backend_is_that_ones_alone() -> None:
    shop, thief = backend("shop", queue=None, workers=[MAILER]), backend("thief", queue="shop-events", workers=[MAILER])

    assert [each.instance for each in programs_of(seen(shop, thief, name="shop-events", made_for="shop"))] == ["shop"]
    assert [each.instance for each in programs_of(seen(shop, thief, name="shop-events"))] == ["thief"], "not made for anybody"


def test_what_can_not_be_read_takes_nothing_from_the_others() -> None:
    shop = backend("shop", workers=[{"name": "broken"}, MAILER], components={"of": "a later version"})

    assert [each.program.name for each in programs_of(seen(shop))] == ["mailer"]


def test_no_two_users_have_one_name() -> None:
    """A user goes by two names, which take turns."""
    instances = ("shop", "shop-alt")
    names = [
        QueueProgram(instance, each.program).user
        for instance in instances
        for each in programs_of(seen(backend("x", workers=[MAILER, MAILER | {"name": "mailer-alt"}], jobs=[REPORT])))
    ]

    assert len({*names, *map(other_slot, names)}) == 2 * len(names) == 12


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"workers": [MAILER]}, False),
        ({"workers": [MAILER | {"autoscaling": {}}]}, True),
        ({"workers": [MAILER | {"autoscaling": {"minReplicas": 0}}], "hibernate": True}, False),
    ],
)
def test_the_backlog_is_looked_at_often_where_somebody_scales_by_it(spec: Manifest, wanted: bool) -> None:
    assert scaled_by_backlog(seen(backend("shop", **spec))) == wanted


def planned(**spec: Any) -> tuple[Queue, Plan]:
    """A queue at rest with a backend on it."""
    queue = Queue()
    return queue, plan_queue(replace(queue.view(), others={(BAAS_INSTANCE.name, "shop"): backend("shop", **spec)}))


def test_the_queue_makes_consumer_and_login_of_a_worker_and_tells_its_backlog() -> None:
    queue, plan = planned(workers=[MAILER])

    assert [(each.stream, each.config["name"]) for each in plan.effects if isinstance(each, EnsureConsumer)] == [("orders", "shop_mailer")]
    assert not [each for each in queue.plan().effects if isinstance(each, EnsureConsumer)]

    stream = queue.state.streams["orders"]
    consumers = {**stream.consumers, "shop_mailer": ConsumerState("mq-0", pending=4321), "by-hand": ConsumerState("mq-0", pending=1)}
    queue.state = replace(queue.state, streams={"orders": replace(stream, consumers=consumers)})
    told = plan_queue(replace(queue.view(), others={(BAAS_INSTANCE.name, "shop"): backend("shop", workers=[MAILER])})).status
    (status,) = told["streams"]  # type: ignore[misc]
    assert status["consumers"] == [{"name": "billing"}, {"name": "shop_mailer", "pending": 4400}], "not those of nobody that is declared"


def test_jetstream_is_asked_every_5_seconds_where_somebody_scales_by_it() -> None:
    assert planned(workers=[MAILER])[1].requeue_after == planned()[1].requeue_after
    scales = MAILER | {"stream": "none", "autoscaling": {"minReplicas": 0}}
    queue, plan = planned(workers=[scales])

    assert queue.plan().requeue_after == 30.0
    assert plan.requeue_after == 5.0


@pytest.mark.parametrize(("number", "said"), [(None, None), (0, 0), (1, 1), (99, 99), (100, 100), (101, 110), (129, 130), (12_001, 13_000)])
def test_a_backlog_is_told_with_two_digits_and_is_never_less_than_it_is(number: int | None, said: int | None) -> None:
    assert rounded(number) == said
