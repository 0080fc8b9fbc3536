"""A queue is kept as if it declared what backends' programs need: a consumer and a user each, and nothing that JetStream would refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.names import other_slot, users
from baas_operator.desired.queue.programs import QueueProgram
from baas_operator.desired.queue.streams import DELETION_MARK, QUEUE_MARK, all_kept
from baas_operator.desired.queue.users import rights
from baas_operator.observe.queue import ConsumerState, JetStreamState, rounded
from baas_operator.observe.view import View
from baas_operator.policy.plan import DeleteConsumer, EnsureConsumer, Plan
from baas_operator.policy.programs import look_at_programs
from baas_operator.policy.queue import plan_queue
from baas_operator.policy.queue.programs import held_consumers, impossible, programs_of, scaled_by_backlog, told_consumers, with_programs
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
    return with_programs(declared, view.owner.name, programs_of(view), told_consumers(view.resource))


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


WORKQUEUE = {"name": "orders", "subjects": ["orders.>"], "retention": "workqueue"}
FETCH, ACK = "$JS.API.CONSUMER.MSG.NEXT.{}", "$JS.ACK.{}.*.*.*.*.*"


def reads(spec: EventQueueSpec, user: str, consumer: str) -> bool:
    """Whether it may fetch by a consumer, and acknowledge."""
    return {FETCH.format(consumer), ACK.format(consumer)} <= set(may_publish(spec, user))


def with_consumers(view: View, *names: str, stream: str = "orders") -> View:
    """The queue's status tells of these consumers."""
    view.resource["status"] = {"streams": [{"name": stream, "replicas": 3, "consumers": [{"name": each} for each in names]}]}
    return view


def found_wrong(view: View, instance: Manifest, **spec: Any) -> list[str]:
    """What a backend says of its workers."""
    others = {**view.others, (EVENT_QUEUE.name, "mq"): view.resource | {"spec": {"streams": [WORKQUEUE]} | spec}}
    mine = {key: each for key, each in others.items() if each is not instance}
    parsed = BaasInstanceSpec.model_validate(instance["spec"])
    its_view = replace(view, resource=instance, others=mine)
    return [each.reason or "" for each in look_at_programs(parsed, its_view, ENGINES[parsed.engine].program_keys(its_view.owner)).statuses]


def test_who_reads_a_workqueue_already_goes_on_and_who_comes_later_is_told() -> None:
    """Its name may sort earlier, and it may be older: JetStream has the other's consumer, and would refuse its own."""
    shop, alpha = backend("shop", workers=[MAILER]), backend("alpha", workers=[MAILER])
    alpha["metadata"]["creationTimestamp"], shop["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
    view = with_consumers(seen(shop, alpha), "shop_mailer")
    spec = effective(view, streams=[WORKQUEUE])

    assert list(consumers(spec)) == ["shop_mailer"]
    assert reads(spec, "shop.mailer.worker", "orders.shop_mailer")
    assert may_publish(spec, "alpha.mailer.worker") == ("orders.mailed",)
    assert "consumer shop_mailer takes the same ones" in found_wrong(view, alpha)[0]
    assert found_wrong(view, shop) != found_wrong(view, alpha), "both sides decide alike"
    assert "takes the same ones" not in found_wrong(view, shop)[0]


def test_before_anybody_reads_the_backend_that_was_made_first_comes_first() -> None:
    shop, alpha = backend("shop", workers=[MAILER]), backend("alpha", workers=[MAILER])
    alpha["metadata"]["creationTimestamp"], shop["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z"
    view = seen(shop, alpha)

    assert list(consumers(effective(view, streams=[WORKQUEUE]))) == ["shop_mailer"]
    assert "takes the same ones" in found_wrong(view, alpha)[0]
    assert "takes the same ones" not in found_wrong(view, shop)[0]


@pytest.mark.parametrize(
    "newcomer",
    [{"streams": [WORKQUEUE | {"consumers": [{"name": "billing"}]}]},
     {"streams": [WORKQUEUE], "webhooks": [{"name": "crm", "stream": "orders", "url": "https://crm.example/"}]}],
)  # fmt: skip
def test_what_is_declared_later_on_a_workqueue_takes_nothing_from_a_worker_that_reads(newcomer: Manifest) -> None:
    shop = backend("shop", workers=[MAILER])
    view = with_consumers(seen(shop), "shop_mailer")
    spec = effective(view, **newcomer)

    assert "shop_mailer" in consumers(spec)
    assert reads(spec, "shop.mailer.worker", "orders.shop_mailer")
    assert "takes the same ones" not in found_wrong(view, shop, **newcomer)[0]


@pytest.mark.parametrize(
    ("worker", "queue"),
    [({}, {"streams": []}), ({"stream": "ordres"}, {}), ({"filter": "bills.>"}, {}), ({"consumer": "none"}, {})],
)
def test_a_worker_that_runs_may_fetch_and_acknowledge_whatever_is_wrong_with_it(worker: Manifest, queue: Manifest) -> None:
    view = with_consumers(seen(backend("shop", workers=[MAILER | worker])), "billing", "shop_mailer")
    spec = effective(view, **queue)

    assert reads(spec, "shop.mailer.worker", "orders.shop_mailer")
    assert not reads(spec, "shop.mailer.worker", "orders.billing")
    assert held_consumers(spec) == {("orders", "shop_mailer")}


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


def told_of(queue: Queue, status: Manifest, *, spec: Manifest | None = None) -> Manifest:
    """What the queue says next of its streams, with a worker on it."""
    view = replace(queue.view(), others={(BAAS_INSTANCE.name, "shop"): backend("shop", workers=[MAILER])})
    resource = {**view.resource, "status": status} | ({"spec": spec} if spec is not None else {})
    streams: list[Manifest] = plan_queue(replace(view, resource=resource)).status["streams"]  # type: ignore[assignment]
    return {each["name"]: [one["name"] for one in each["consumers"]] for each in streams}


def test_a_workers_consumer_is_told_of_as_long_as_jetstream_has_it_or_is_silent() -> None:
    """Rights and seniority follow from it: neither may go with a stream's declaration, or while servers are rolled."""
    queue = Queue()
    stream = queue.state.streams["orders"]
    made = replace(stream, consumers={**stream.consumers, "shop_mailer": ConsumerState("mq-0", pending=1)})
    queue.state = replace(queue.state, streams={"orders": made})
    said = {"streams": [{"name": "orders", "replicas": 3, "consumers": [{"name": "billing"}, {"name": "shop_mailer"}]}]}
    assert told_of(queue, {}) == {"orders": ["billing", "shop_mailer"]}
    assert told_of(queue, said, spec=queue.view().spec | {"streams": []}) == {"orders": ["shop_mailer"]}

    answers = queue.state
    for silence in (replace(answers, streams={}, silent=frozenset({"orders"})), JetStreamState(), None):
        queue.state = silence  # type: ignore[assignment]
        assert told_of(queue, said) == {"orders": ["billing", "shop_mailer"]}
    queue.state = replace(answers, streams={})
    assert told_of(queue, said) == {}, "it is known to be gone"


def test_a_consumer_that_goes_with_its_declaration_stays_while_its_worker_is_only_wrong() -> None:
    """A mistyped filter must not throw its place away."""
    queue = Queue(streams=(ORDERS | {"deletionPolicy": "Delete"},))
    stream = queue.state.streams["orders"]
    marks = {"metadata": {QUEUE_MARK: "mq", DELETION_MARK: "Delete"}}
    queue.state = replace(
        queue.state,
        streams={"orders": replace(stream, consumers={**stream.consumers, "shop_mailer": ConsumerState("mq-0", config=marks)})},
    )
    view = with_consumers(queue.view(), "billing", "shop_mailer")

    def deleted(**worker: Any) -> list[str]:
        others = {(BAAS_INSTANCE.name, "shop"): backend("shop", workers=[MAILER | {"name": "mailer"} | worker])}
        return [each.name for each in plan_queue(replace(view, others=others)).effects if isinstance(each, DeleteConsumer)]

    assert deleted() == deleted(filter="bills.>") == []
    assert deleted(name="other") == ["shop_mailer"], "a worker that is taken out"


def test_jetstream_is_asked_every_5_seconds_where_somebody_scales_by_it() -> None:
    assert planned(workers=[MAILER])[1].requeue_after == planned()[1].requeue_after
    scales = MAILER | {"stream": "none", "autoscaling": {"minReplicas": 0}}
    queue, plan = planned(workers=[scales])

    assert queue.plan().requeue_after == 30.0
    assert plan.requeue_after == 5.0


@pytest.mark.parametrize(("number", "said"), [(None, None), (0, 0), (1, 1), (99, 99), (100, 100), (101, 110), (129, 130), (12_001, 13_000)])
def test_a_backlog_is_told_with_two_digits_and_is_never_less_than_it_is(number: int | None, said: int | None) -> None:
    assert rounded(number) == said
