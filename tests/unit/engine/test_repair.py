"""What throws data away looks once more before: at the standby itself, and at the volume and the nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from baas_operator.api.kinds import DATABASE_REPLICA, NODE, POD, VOLUME, VOLUME_CLAIM
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.engine import repair
from baas_operator.engine.client import Client
from baas_operator.engine.errors import Refused, Waiting
from baas_operator.engine.store import Key
from baas_operator.observe.vitals import hosts_of
from baas_operator.policy.plan import Reclone, ReplaceVolume
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, node, owner

# --- a copy in place -------------------------------------------------------------------------------------------------

ASKED = Reclone("db-1", "127.0.0.1")


class Patroni:
    """A member's Patroni. `busy`: how often it refuses at first, as it does while it starts PostgreSQL."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {"state": "start failed", "role": "replica", "patroni": {"name": "db-1"}}
        self.busy = 0
        self.asked: list[tuple[dict[str, Any], str]] = []

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(self.said, status=503)

    async def reinitialize(self, request: web.Request) -> web.Response:
        self.asked.append((await request.json(), request.headers["Authorization"]))
        if len(self.asked) <= self.busy:
            return web.Response(status=503, text="restarting after failure already in progress")
        return web.Response(text="reinitialize started")


@pytest.fixture
async def patroni(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Patroni]:
    made = Patroni()
    app = web.Application()
    app.add_routes([web.get("/patroni", made.status), web.post("/reinitialize", made.reinitialize)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(names, "PATRONI_PORT", runner.addresses[0][1])
    monkeypatch.setattr(repair, "_PAUSE_SECONDS", 0.001)
    yield made
    await runner.cleanup()


async def test_it_is_copied_from_the_leader_and_not_by_force(patroni: Patroni) -> None:
    await repair.reclone(ASKED, "u", "p")

    assert [body for body, _ in patroni.asked] == [{"from_leader": True}]


async def test_a_patroni_that_is_busy_is_asked_again(patroni: Patroni) -> None:
    patroni.busy = 3
    await repair.reclone(ASKED, "u", "p")
    assert len(patroni.asked) == 4

    patroni.busy = 1000
    with pytest.raises(Waiting, match="already in progress"):
        await repair.reclone(ASKED, "u", "p")


@pytest.mark.parametrize(
    "said", [{"replication_state": "streaming", "state": "running"}, {"state": "creating replica"}, {"role": "primary", "state": "running"}]
)
async def test_one_that_is_better_by_now_is_left_alone(patroni: Patroni, said: dict[str, str]) -> None:
    patroni.said |= said

    await repair.reclone(ASKED, "u", "p")

    assert patroni.asked == []


async def test_whoever_else_has_the_address_by_now_is_left_alone(patroni: Patroni) -> None:
    patroni.said["patroni"] = {"name": "db-2"}

    with pytest.raises(Waiting):
        await repair.reclone(ASKED, "u", "p")

    assert patroni.asked == []


async def test_who_does_not_answer_is_asked_later() -> None:
    with pytest.raises(Waiting):
        await repair.reclone(Reclone("db-1", "127.0.0.1"), "u", "p")


# --- a volume that went with its node ----------------------------------------------------------------------------------

LOST = ReplaceVolume("db-2", "uid-pod", "data-db-2", "uid-claim", "node-c")


def volume(*terms: Manifest) -> Manifest:
    return {"metadata": {"name": "pv-2", "uid": "uid-pv"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": list(terms)}}}}


def on(*hosts: str, key: str = "kubernetes.io/hostname", operator: str = "In") -> Manifest:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(hosts)}]}


class World(StandInApi):
    """A pod without a place, its claim, the volume, and the nodes that are left."""

    def __init__(self, pv: Manifest | None, *nodes: Manifest) -> None:
        super().__init__()
        whose = owner(DATABASE_REPLICA, "db")
        claim = whose.child("v1", "PersistentVolumeClaim", "data-db-2", names.COMPONENT, spec={"volumeName": "pv-2"})
        pod = whose.child("v1", "Pod", "db-2", names.COMPONENT)
        claim["metadata"]["uid"], pod["metadata"]["uid"] = "uid-claim", "uid-pod"
        self.objects[Key(VOLUME_CLAIM.name, NAMESPACE, "data-db-2")] = claim
        self.objects[Key(POD.name, NAMESPACE, "db-2")] = pod
        if pv:
            self.objects[Key(VOLUME.name, "", "pv-2")] = pv
        self.nodes = list(nodes)

    async def list(self, kind: Any) -> list[Manifest]:
        assert kind is NODE
        return self.nodes

    async def replace(self) -> list[str]:
        client: Client = self  # type: ignore[assignment]
        await repair.replace_volume(LOST, NAMESPACE, client)
        return [name for verb, name in self.writes if verb == "delete"]


def tainted(found: Manifest) -> Manifest:
    found["spec"]["taints"] = [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]
    return found


@pytest.mark.parametrize(
    ("terms", "hosts"),
    [
        ([on("node-c")], {"node-c"}),
        ([on("node-c"), on("node-d")], {"node-c", "node-d"}),
        ([{"matchExpressions": [*on("node-c")["matchExpressions"], *on("zone-c", key="topology.kubernetes.io/zone")["matchExpressions"]]}],
         {"node-c"}),
        ([on("zone-c", key="topology.kubernetes.io/zone")], set()),
        ([on("node-c"), on("zone-c", key="topology.kubernetes.io/zone")], set()),
        ([on("node-a", operator="NotIn")], set()),
        ([{}], set()),
        ([], set()),
    ],
)  # fmt: skip
def test_a_volume_is_tied_to_hosts_only_if_every_term_says_so(terms: list[Manifest], hosts: set[str]) -> None:
    assert hosts_of(volume(*terms)) == hosts


async def test_the_claim_goes_and_then_the_pod() -> None:
    assert await World(volume(on("node-c")), node("node-a", "a")).replace() == ["PersistentVolumeClaim/data-db-2", "Pod/db-2"]


async def test_a_node_that_is_out_of_service_is_as_good_as_gone() -> None:
    world = World(volume(on("node-c")), node("node-a", "a"), tainted(node("node-c", "c")))

    assert len(await world.replace()) == 2


@pytest.mark.parametrize("pv", [volume(), volume(on("zone-c", key="topology.kubernetes.io/zone"))])
async def test_a_volume_that_is_tied_to_no_host_is_kept(pv: Manifest) -> None:
    world = World(pv, node("node-a", "a"))

    with pytest.raises(Refused, match="tied to no host"):
        await world.replace()
    assert world.writes == []


async def test_so_is_one_that_can_be_used_on_a_node_that_is_there() -> None:
    back = node("another-name", "c")
    back["metadata"]["labels"]["kubernetes.io/hostname"] = "node-c"
    for nodes in ([node("node-c", "c")], [node("node-a", "a"), back], []):
        world = World(volume(on("node-c")), *nodes)
        with pytest.raises(Waiting):
            await world.replace()
        assert world.writes == []


async def test_a_claim_of_a_deleted_volume_goes_too() -> None:
    assert len(await World(None, node("node-a", "a")).replace()) == 2


async def test_what_was_made_anew_meanwhile_stays() -> None:
    world = World(volume(on("node-c")), node("node-a", "a"))
    for key in (Key(VOLUME_CLAIM.name, NAMESPACE, "data-db-2"), Key(POD.name, NAMESPACE, "db-2")):
        world.objects[key]["metadata"]["uid"] = "uid-of-the-new-one"

    assert await world.replace() == []
