"""Pods that are in too few zones are moved back once the zone that was away takes pods again, and none goes before another has come up."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baas_operator.observe.conditions import ZONE_TOLERANT
from baas_operator.observe.view import View
from baas_operator.policy.plan import Plan, TellPod
from baas_operator.policy.rebalance import COST_ANNOTATION, MOVE_ANNOTATION
from tests.unit.objects import NOW, ZONES, keyed, message, pod
from tests.unit.policy.backend import Backend

OLD, YOUNG = NOW - timedelta(hours=1), NOW - timedelta(minutes=6)
CROWDED = ("zone-b", "zone-c", "zone-c")
FIRST_TO_GO = TellPod("shop-gateway-2", "shop-gateway-2-uid", COST_ANNOTATION, "-1")


class Crowd(Backend):
    """A backend whose gateways were all made while zone-a was away, with a clock, and a scheduler that has `room` in some zones."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(**spec)
        self.now, self.room = NOW, set(ZONES)
        self.ready: dict[str, bool] = {}
        self.cordoned = ""
        self.made = 0
        self.starting = 0
        """Reconciles that a new pod takes to get ready once it has a node."""
        self.until: dict[str, int] = {}
        self.fewest_ready = 3

    def view(self) -> View:
        found = super().view()
        for name, node in found.nodes.items():
            node["status"] = {"conditions": [{"type": "Ready", "status": str(self.ready.get(name, True))}]}
            if name == self.cordoned:
                node["spec"]["unschedulable"] = True
        return replace(found, now=self.now)

    @property
    def gateways(self) -> list[Any]:
        return [each for (_, name), each in self.pods.items() if name.startswith("shop-gateway-")]

    @property
    def zones(self) -> list[str | None]:
        return sorted((each["spec"].get("nodeName") or "").removeprefix("node-") for each in self.gateways)

    @property
    def deployment(self) -> Any:
        return self.applied["Deployment", "shop-gateway"]

    def act(self, minutes: float = 0.0) -> Plan:
        """A reconcile, and what the cluster makes of it; then so much time passes."""
        plan = self.reconcile()
        for effect in plan.effects:
            if isinstance(effect, TellPod) and effect.key == COST_ANNOTATION:
                self.pods["Pod", effect.name]["metadata"].setdefault("annotations", {})[effect.key] = effect.value
        wanted = self.deployment["spec"]["replicas"]
        for each in self.gateways:
            if "nodeName" not in each["spec"]:
                self._schedule(each)
            elif (left := self.until.get(each["metadata"]["name"])) is not None:
                self.until[each["metadata"]["name"]] = left - 1
                each["status"]["conditions"] = [{"type": "Ready", "status": str(left <= 0)}]
        while len(self.gateways) < wanted:
            self._make()
        while len(self.gateways) > wanted:
            self._take_one()
        self.deployment["status"] = {"observedGeneration": 1, "updatedReplicas": wanted, "replicas": wanted}
        self.fewest_ready = min(self.fewest_ready, sum(each["status"]["conditions"][0]["status"] == "True" for each in self.gateways))
        self.now += timedelta(minutes=minutes)
        return plan

    def _make(self) -> None:
        self.made += 1
        made = pod(self.owner, f"shop-gateway-new-{self.made}", "gateway", on=None, ready=False)
        made["metadata"]["creationTimestamp"] = text(self.now)
        self.pods |= keyed(made)
        self._schedule(made)

    def _schedule(self, made: Any) -> None:
        """The scheduler (zones DoNotSchedule, maxSkew 1): a zone with the fewest, or none."""
        counts = {zone: self.zones.count(zone) for zone in ZONES}
        zone = next((each for each in ZONES if counts[each] == min(counts.values()) and each in self.room), None)
        if zone is None:
            return
        made["spec"]["nodeName"] = f"node-{zone}"
        self.until[made["metadata"]["name"]] = self.starting
        made["status"]["conditions"] = [{"type": "Ready", "status": str(not self.starting)}]

    def _take_one(self) -> None:
        """The ReplicaSet's order: those that have no node, that are not ready, that cost least, the youngest."""

        def rank(each: Any) -> tuple[bool, bool, int, float]:
            cost = int((each["metadata"].get("annotations") or {}).get(COST_ANNOTATION, 0))
            ready = each["status"]["conditions"][0]["status"] == "True"
            return "nodeName" in each["spec"], ready, cost, -datetime.fromisoformat(each["metadata"]["creationTimestamp"]).timestamp()

        del self.pods["Pod", min(self.gateways, key=rank)["metadata"]["name"]]


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def crowd(**spec: Any) -> Crowd:
    made = Crowd(**spec)
    made.serving()
    for (_, name), each in made.pods.items():
        each["metadata"]["creationTimestamp"] = text(OLD)
        if name.startswith("shop-gateway-"):
            each["spec"]["nodeName"] = f"node-{CROWDED[int(name[-1]) % 3]}"
    made.pods["Pod", "shop-gateway-2"]["metadata"]["creationTimestamp"] = text(YOUNG)
    return made


@pytest.fixture
def shop() -> Crowd:
    return crowd()


def moves(shop: Crowd, view: View | None = None) -> bool:
    """Whether a move begins."""
    plan = shop.plan_of(view or shop.view())
    (gateway,) = (each for each in plan.manifests if (each["kind"], each["metadata"]["name"]) == ("Deployment", "shop-gateway"))
    return FIRST_TO_GO in plan.effects and gateway["spec"]["replicas"] == 4


def test_one_more_comes_up_in_the_empty_zone_and_then_the_youngest_of_the_fullest_goes(shop: Crowd) -> None:
    plan = shop.act()
    assert FIRST_TO_GO in plan.effects
    assert shop.zones == ["zone-a", *CROWDED]
    for _ in range(4):
        shop.act()
    assert shop.zones == list(ZONES)
    assert ("Pod", "shop-gateway-2") not in shop.pods
    assert shop.deployment["spec"]["replicas"] == 3
    assert MOVE_ANNOTATION not in shop.deployment["metadata"]["annotations"]
    assert shop.fewest_ready == 3
    assert not moves(shop)


def test_one_that_takes_its_time_to_get_ready_is_waited_for_and_is_not_what_goes() -> None:
    """From where it has a node, zones are even: of pods that cost the same the youngest would go, which is that one."""
    shop = crowd()
    shop.starting = 4
    for _ in range(10):
        shop.act(minutes=0.2)
        assert ("Pod", "shop-gateway-new-1") in shop.pods
    assert shop.zones == list(ZONES)
    assert ("Pod", "shop-gateway-2") not in shop.pods
    assert shop.fewest_ready == 3
    assert shop.made == 1


def test_one_that_lost_its_note_of_what_goes_is_given_it_again() -> None:
    """As where the operator ended before it could tell the pod."""
    shop = crowd()
    shop.starting = 4
    shop.act(minutes=0.2)
    del shop.pods["Pod", "shop-gateway-2"]["metadata"]["annotations"][COST_ANNOTATION]
    for _ in range(10):
        shop.act(minutes=0.2)
    assert shop.zones == list(ZONES)
    assert ("Pod", "shop-gateway-2") not in shop.pods
    assert shop.made == 1


def test_what_an_eviction_left_of_a_pod_holds_no_move_up(shop: Crowd) -> None:
    left = copy.deepcopy(shop.gateways[1])
    left["metadata"]["name"] = "shop-gateway-evicted"
    left["status"] = {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]}
    shop.pods["Pod", "shop-gateway-evicted"] = left
    assert moves(shop)


def test_one_more_that_the_spec_asks_for_meanwhile_stays() -> None:
    shop = crowd()
    shop.room = {"zone-b", "zone-c"}
    shop.act(minutes=0.5)
    assert shop.deployment["spec"]["replicas"] == 4
    shop.resource["spec"] = {"components": {"gateway": {"replicas": 4}}}
    for _ in range(10):
        shop.act(minutes=1)
        assert shop.deployment["spec"]["replicas"] == 4


def test_an_autoscaler_is_given_no_cause_to_take_the_one_more_away() -> None:
    """It scales at once to its most, and to what load there is where that was no more for five minutes (Kubernetes documentation,
    "Horizontal Pod Autoscaling")."""
    shop = crowd(components={"gateway": {"autoscaling": {"minReplicas": 3, "maxReplicas": 3}}})
    shop.room = {"zone-b", "zone-c"}

    def bounds() -> tuple[int, int]:
        found = shop.applied["HorizontalPodAutoscaler", "shop-gateway"]["spec"]
        return found["minReplicas"], found["maxReplicas"]

    shop.act(minutes=1)
    for _ in range(2):
        assert (bounds(), shop.deployment["spec"]["replicas"]) == ((4, 4), 4)
        shop.act(minutes=1)
    shop.act(minutes=1)
    assert (bounds(), shop.deployment["spec"]["replicas"]) == ((3, 3), 3)


def test_a_zone_without_room_takes_nothing_from_what_serves_and_is_tried_once_an_hour(shop: Crowd) -> None:
    shop.room = {"zone-b", "zone-c"}
    tries = 0
    for _ in range(150):
        before = shop.made
        shop.act(minutes=1)
        tries += shop.made - before
    assert tries == 3, "in two and a half hours"
    assert shop.fewest_ready == 3
    assert shop.zones == list(CROWDED)
    said = message(shop.plan(), ZONE_TOLERANT)
    assert said == (
        "Any one zone can be lost without losing acknowledged data or the service. 2 of 3 pods of gateway are in zone-c, as no pod came up "
        "in zone-a when it was last tried: see whether there is room. It is tried again at 2026-05-01T15:00:00Z."
    )

    shop.room = set(ZONES)
    for _ in range(40):
        shop.act(minutes=1)
    assert shop.zones == list(ZONES)
    assert shop.fewest_ready == 3
    assert "gateway" not in message(shop.plan(), ZONE_TOLERANT)


def test_the_end_of_a_try_and_the_next_are_no_events_so_they_are_waited_for() -> None:
    shop = crowd(prober={"enabled": False})
    shop.room = set()
    assert shop.act().requeue_after == 180
    shop.now += timedelta(minutes=3)
    shop.act()
    assert shop.act().requeue_after == 57 * 60


def test_one_that_its_autoscaler_scales_has_as_many_as_before(shop: Crowd) -> None:
    shop = crowd(components={"gateway": {"autoscaling": {"minReplicas": 2, "maxReplicas": 9}}})
    shop.room = {"zone-b", "zone-c"}
    for _ in range(10):
        shop.act(minutes=1)
        assert shop.deployment["spec"]["replicas"] in (3, 4)
    assert shop.deployment["spec"]["replicas"] == 3
    shop.room = set(ZONES)
    for _ in range(60):
        shop.act(minutes=1)
    assert shop.zones == list(ZONES)


def test_pods_of_a_larger_component_are_moved_without_an_hour_between() -> None:
    shop = crowd(components={"gateway": {"replicas": 6}})
    assert shop.zones == ["zone-b", "zone-b", "zone-c", "zone-c", "zone-c", "zone-c"]
    shop.fewest_ready = 6
    for _ in range(20):
        shop.act(minutes=1)
    assert shop.zones == sorted([*ZONES, *ZONES])
    assert shop.fewest_ready == 6


def test_those_that_are_spread_stay(shop: Crowd) -> None:
    for index, zone in enumerate(ZONES):
        shop.pods["Pod", f"shop-gateway-{index}"]["spec"]["nodeName"] = f"node-{zone}"
    assert not moves(shop)


def test_nothing_is_moved_to_a_zone_that_takes_no_pods(shop: Crowd) -> None:
    assert moves(shop)
    shop.ready = {"node-zone-a": False}
    assert not moves(shop)
    shop.ready, shop.cordoned = {}, "node-zone-a"
    assert not moves(shop)


def test_nothing_is_moved_while_anything_is_missing(shop: Crowd) -> None:
    shop.pods["Pod", "shop-rest-1"]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    assert not moves(shop)


def test_one_that_has_just_come_where_it_is_stays_for_now() -> None:
    shop = crowd(prober={"enabled": False})
    shop.pods["Pod", "shop-gateway-2"]["metadata"]["creationTimestamp"] = text(NOW - timedelta(minutes=1))
    assert not moves(shop)
    assert shop.plan().requeue_after == 240, "no event would tell"


def test_what_a_hand_wrote_for_a_move_is_none(shop: Crowd) -> None:
    for nonsense in (
        "", "soon", "2026-05-01T12:00:00Z", "2026-05-01T12:00:00Z a b", "2026-05-01T12:00:00Z 5 -1", "2026-05-01T12:00:00Z 5 \u0663",
        f"2026-05-01T12:00:00Z 5 {'9' * 5000}", "9999-12-31T23:59:59Z 5 3", "9999-12-31T23:59:59Z 5 3 over",
        "2026-05-02T12:00:00Z 5 3 over",
    ):  # fmt: skip
        shop.deployment["metadata"]["annotations"][MOVE_ANNOTATION] = nonsense
        assert moves(shop), nonsense


def test_no_more_pods_are_made_while_a_backend_sleeps(shop: Crowd) -> None:
    shop.act()
    shop.resource["spec"] = {"hibernate": True}
    shop.reconcile()
    assert shop.deployment["spec"]["replicas"] == 0


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_nothing_is_moved_to_a_zone_whose_nodes_are_for_others(shop: Crowd, effect: str) -> None:
    view = shop.view()
    for name, node in view.nodes.items():
        if name == "node-zone-a":
            node["spec"]["taints"] = [{"key": "dedicated", "value": "gpu", "effect": effect}]

    assert not moves(shop, view)

    shop.resource["spec"] = {"components": {"gateway": {"placement": {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}}}}
    assert moves(shop, replace(view, resource=shop.resource))


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["nothing", "more", "fewer", "full", "room", "forget", "scribble", "evict", "slow", "untell"]), st.integers(0, 200)
    ),
    max_size=12,
)  # fmt: skip


@given(EVENTS)
@settings(deadline=None, max_examples=20)
def test_whatever_happens_there_is_one_more_at_the_most_and_all_is_even_in_the_end(events: list[tuple[str, int]]) -> None:
    shop = crowd()
    wanted = 3

    def look(seconds: float) -> None:
        shop.act(minutes=seconds / 60)
        assert wanted <= shop.deployment["spec"]["replicas"] <= wanted + 1

    for what, seconds in events:
        annotations = shop.deployment["metadata"].setdefault("annotations", {})
        match what:
            case "more" | "fewer":
                wanted = min(max(wanted + (1 if what == "more" else -1), 1), 6)
                shop.resource["spec"] = {"components": {"gateway": {"replicas": wanted}}}
            case "full":
                shop.room = {"zone-b", "zone-c"}
            case "room":
                shop.room = set(ZONES)
            case "forget":
                annotations.pop(MOVE_ANNOTATION, None)
            case "scribble":
                annotations[MOVE_ANNOTATION] = f"{text(shop.now)} {seconds} {seconds % 5}"
            case "evict":
                del shop.pods["Pod", shop.gateways[0]["metadata"]["name"]]
            case "slow":
                shop.starting = seconds % 4
            case "untell":
                for each in shop.gateways:
                    (each["metadata"].get("annotations") or {}).pop(COST_ANNOTATION, None)
        look(seconds)
    shop.room = set(ZONES)
    shop.starting = 0
    for _ in range(45):
        look(120)
    counts = [shop.zones.count(zone) for zone in ZONES]
    assert sum(counts) == wanted
    assert max(counts) - min(counts) <= 1
    assert MOVE_ANNOTATION not in shop.deployment["metadata"]["annotations"]
