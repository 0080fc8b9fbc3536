"""A durable queue: copies in three zones, messages that outlive a server, and streams that stay as they were declared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import NATS, ClientPod
from tests.e2e.harness.kube import Kube, until
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

SCRIPT = "queue_client.py"
STREAMS = [{"name": "orders", "subjects": ["orders.>"], "maxAgeHours": 168}, {"name": "mails", "subjects": ["mails"]}]
PUT_BACK_SECONDS = 60.0
"""JetStream's state makes no Kubernetes event: the operator asks for it every 30 s."""
GOES_ON_SECONDS = 30.0
"""A stream whose leader is gone elects another after 4 to 9 s of silence (NATS documentation)."""
SCALE_SECONDS = 300.0
LET_IN_SECONDS = 30.0
"""Its Secret is drawn, the servers' are written, kubelets bring them, agents look every 2 s."""


@dataclass
class Queue:
    """The queue `main` and what was published to it."""

    kube: Kube
    namespace: str
    client: ClientPod
    published: list[int] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)

    def login(self, user: str) -> tuple[str, str]:
        """URI, and the authority that the servers' certificate is to be verified with."""
        found = self.kube.secret(self.namespace, f"main-user-{user}")
        return found["uri"], found["ca.crt"]

    def run(self, user: str, *words: str) -> list[dict[str, Any]]:
        """Lines that the client printed."""
        said = self.client.python(NATS, SCRIPT, *self.login(user), *words)
        return [json.loads(line) for line in said.splitlines()]

    def request(self, user: str, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request to JetStream's API."""
        (answer,) = self.run(user, "request", subject, json.dumps(body) if body else "")
        return answer

    def info(self, stream: str) -> dict[str, Any]:
        """What the stream's leader says of it; `error` when there is no such stream."""
        return self.request("app", f"$JS.API.STREAM.INFO.{stream}")

    def config(self, stream: str) -> dict[str, Any]:
        found: dict[str, Any] = self.info(stream)["config"]
        return found

    def note(self, line: dict[str, Any]) -> None:
        if "error" in line:
            self.in_doubt.append(line["error"])
        else:
            self.published.append(line["id"])

    def wait_for_more(self) -> None:
        """Until another 20 messages were acknowledged."""
        had = len(self.published)
        what = f"messages are acknowledged; in doubt: {self.in_doubt[-1:]}"
        wait_until(lambda: len(self.published) >= had + 20, timeout_seconds=GOES_ON_SECONDS, what=what)


@pytest.fixture(scope="module")
def queue(kube: Kube, namespace: str, client: ClientPod) -> Queue:
    kube.must_apply(own("EventQueue", "main", {"streams": STREAMS}), namespace)
    kube.wait_whole(namespace, "EventQueue", "main")
    return Queue(kube, namespace, client)


def test_a_declared_stream_has_a_copy_in_each_zone(queue: Queue) -> None:
    cluster = queue.info("orders")["cluster"]

    copies = {cluster["leader"], *(each["name"] for each in cluster["replicas"])}
    assert copies == {"main-0", "main-1", "main-2"}
    assert all(each["current"] for each in cluster["replicas"])
    assert queue.kube.zones_of(queue.kube.pods_of(queue.namespace, "main", "nats")) == {"zone-a", "zone-b", "zone-c"}


def test_no_acknowledged_message_is_lost_with_a_server(queue: Queue) -> None:
    """The one that leads the stream, which hurts most."""
    leader = queue.info("orders")["cluster"]["leader"]
    uid = queue.kube.must_get("Pod", queue.namespace, leader)["metadata"]["uid"]

    with queue.client.running(NATS, SCRIPT, *queue.login("app"), "publish", "orders.new", "1", tell=queue.note):
        queue.wait_for_more()
        assert queue.kube.delete("Pod", queue.namespace, leader).ok
        wait_until(
            lambda: (queue.kube.get("Pod", queue.namespace, leader) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid,
            timeout_seconds=90, what=f"{leader} is another pod",
        )  # fmt: skip
        queue.wait_for_more()
    queue.kube.wait_whole(queue.namespace, "EventQueue", "main")

    read = [line["id"] for line in queue.run("app", "read", "orders")]
    print(f"\n{len(queue.published)} messages acknowledged, {len(queue.in_doubt)} in doubt, {len(read)} read back")
    missing = sorted(set(queue.published) - set(read))
    assert not missing, f"{len(missing)} of {len(queue.published)} acknowledged messages are gone, such as {missing[:5]}"
    assert read == sorted(read), "they came in another order"


def test_an_application_can_not_take_a_stream_away(queue: Queue) -> None:
    for verb in ("DELETE", "PURGE", "UPDATE"):
        answer = queue.request("app", f"$JS.API.STREAM.{verb}.orders", {"name": "orders"})
        assert f"$js.api.stream.{verb.lower()}.orders" in answer["refused"].lower()

    assert queue.config("orders")["name"] == "orders"
    assert queue.info("orders")["state"]["messages"] == len(queue.run("app", "read", "orders"))


def test_a_user_that_is_declared_later_is_let_in_by_every_server_soon(queue: Queue) -> None:
    """Their kubelets are told, who would else take a minute and more."""
    users = [{"name": "shop", "publish": ["mails"]}]
    queue.kube.must_apply(own("EventQueue", "main", {"streams": STREAMS, "users": users}), queue.namespace)

    def let_in() -> bool:
        if queue.kube.get("Secret", queue.namespace, "main-user-shop") is None:
            return False
        # The Service leads to any of the three.
        return all("refused" not in queue.request("shop", "mails", {"n": n}) for n in range(9))

    took = until(let_in, timeout_seconds=LET_IN_SECONDS, what="the user is let in")
    print(f"\nlet in after {took:.0f} s")


def test_what_was_done_to_streams_by_hand_is_undone(queue: Queue) -> None:
    declared = queue.config("orders")
    assert queue.request("admin", "$JS.API.STREAM.DELETE.mails")["success"]
    changed = queue.request("admin", "$JS.API.STREAM.UPDATE.orders", declared | {"max_age": 10**12, "description": "by hand"})
    assert changed["config"]["max_age"] == 10**12

    took = until(
        lambda: queue.config("orders")["max_age"] == declared["max_age"] and "config" in queue.info("mails"),
        timeout_seconds=PUT_BACK_SECONDS, what="both streams are as declared",
    )  # fmt: skip

    print(f"\nundone after {took:.0f} s")
    assert queue.config("orders") == declared | {"description": "by hand"}, "what the operator does not decide has to stay"


@pytest.mark.chaos
def test_three_servers_become_five_and_three_again_and_keep_every_message(queue: Queue) -> None:
    """By `kubectl scale`, with messages all the while."""

    def servers() -> list[str]:
        return [pod["metadata"]["name"] for pod in queue.kube.pods_of(queue.namespace, "main", "nats")]

    def members() -> set[str]:
        """Servers by the status."""
        found = queue.kube.must_get("EventQueue", queue.namespace, "main")["status"]["servers"]
        return {each["name"] for each in found}

    with queue.client.running(NATS, SCRIPT, *queue.login("app"), "publish", "orders.scaled", "1000000", tell=queue.note):
        for count in (5, 3):
            queue.kube.lab.kubectl("--namespace", queue.namespace, "scale", "eventqueue/main", f"--replicas={count}")
            wait_until(lambda count=count: len(servers()) == count, timeout_seconds=SCALE_SECONDS, what=f"there are {count} servers")
            queue.kube.wait_settled(queue.namespace, "EventQueue", "main", timeout_seconds=SCALE_SECONDS)
            queue.kube.wait_whole(queue.namespace, "EventQueue", "main")
            queue.wait_for_more()
    assert members() == set(servers()) == {"main-0", "main-1", "main-2"}
    for stream in ("orders", "mails"):
        cluster = queue.info(stream)["cluster"]
        assert {cluster["leader"], *(each["name"] for each in cluster["replicas"])} == {"main-0", "main-1", "main-2"}, stream
    missing = sorted(set(queue.published) - {line["id"] for line in queue.run("app", "read", "orders")})
    assert not missing, f"{len(missing)} of {len(queue.published)} acknowledged messages are gone, such as {missing[:5]}"
