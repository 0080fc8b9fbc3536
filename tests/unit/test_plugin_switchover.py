"""`kubectl baas switchover`: one Operation, followed to its end through whatever the API server does meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, OPERATION
from kubectl_baas.errors import PluginError
from kubectl_baas.following import follow, outcome
from kubectl_baas.switchover import create, operation

from .test_plugin_example import condition, resource

Manifest = dict[str, Any]
PATH = OPERATION.path("prod", "shop-db-switchover-abcde")


class Api:
    """Answers each GET of the Operation with the next of `looks`; the last one stays."""

    namespace = "prod"
    server_time: datetime | None = None

    def __init__(self, *looks: Manifest | PluginError, database: bool = True) -> None:
        self.looks = list(looks)
        self.database = database
        self.posted: list[tuple[str, Manifest]] = []

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Manifest:
        if path == DATABASE_REPLICA.path("prod", "shop-db") and self.database:
            return {"kind": "DatabaseReplica"}
        if path != PATH:
            raise PluginError("not found", status=404)
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, PluginError):
            raise look
        return look

    def post(self, path: str, body: Manifest) -> Manifest:
        self.posted.append((path, body))
        return body | {"metadata": {"name": "shop-db-switchover-abcde", "namespace": "prod"}}


class Clock:
    """Time that passes by pausing only."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def look(phase: str | None, *conditions: Manifest, **more: Any) -> Manifest:
    status = {"phase": phase, "conditions": list(conditions), **more} if phase else {}
    made = operation("shop-db", to=None, timeout_seconds=10)
    return made | {"metadata": {"name": "shop-db-switchover-abcde", "namespace": "prod"}, "status": status}


def followed(api: Api) -> tuple[Manifest, list[str]]:
    clock, told = Clock(), []
    over = follow(api, look(None), lambda each: told.append((each["status"] or {}).get("phase", "-")), clock=clock, pause=clock.pause)
    return over, told


def test_it_only_creates_an_operation() -> None:
    api = Api()
    create(api, "prod", "shop-db", to="shop-db-2", timeout_seconds=60)
    ((path, body),) = api.posted
    assert path == "/apis/baas-operator.io/v1alpha1/namespaces/prod/operations"
    assert body["metadata"] == {"generateName": "shop-db-switchover-"}
    assert body["spec"] == {
        "target": {"kind": "DatabaseReplica", "name": "shop-db"},
        "action": "switchover",
        "parameters": {"to": "shop-db-2"},
        "timeoutSeconds": 60,
    }


def test_no_operation_on_a_database_that_is_not_there() -> None:
    api = Api(database=False)
    with pytest.raises(PluginError, match="there is no DatabaseReplica shop-db in namespace prod"):
        create(api, "prod", "shop-db", to=None, timeout_seconds=60)
    assert not api.posted


def test_the_name_of_a_backend_gets_that_of_its_database() -> None:
    class Backend(Api):
        def get(self, path: str, query: Mapping[str, str] | None = None) -> Manifest:
            if path == BAAS_INSTANCE.path("prod", "shop"):
                return resource("BaasInstance", "shop", spec={"databaseRef": {"name": "common"}})
            return super().get(path, query)

    with pytest.raises(PluginError, match="BaasInstance shop uses common: `kubectl baas switchover common -n prod`"):
        create(Backend(), "prod", "shop", to=None, timeout_seconds=60)


def test_one_that_is_given_up_waiting_for_is_still_there() -> None:
    with pytest.raises(PluginError, match=r"still there.* `kubectl delete bop shop-db-switchover-abcde -n prod`"):
        followed(Api(look("Pending")))


def test_a_name_that_no_member_can_have_is_a_sentence() -> None:
    with pytest.raises(PluginError, match="'Shop_2' can not be the name"):
        operation("shop-db", to="Shop_2", timeout_seconds=60)


def test_it_is_followed_to_its_end() -> None:
    done = look("Succeeded", result={"fromMember": "shop-db-0", "toMember": "shop-db-2", "durationSeconds": 1.25})
    over, told = followed(Api(look(None), look("Running"), done))
    assert told == ["-", "Running", "Succeeded"]
    assert outcome(over) == (True, "shop-db: shop-db-0 -> shop-db-2 in 1.2 s")


def test_an_api_server_that_is_away_for_a_moment_is_not_the_end() -> None:
    away = PluginError("the API server does not answer")
    over, _ = followed(Api(look("Running"), away, away, look("Succeeded")))
    assert outcome(over)[0]


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (look("Running"), "still Running after 25 s"),
        (PluginError("the API server does not answer"), "does not answer"),
    ],
)
def test_it_does_not_wait_for_ever(last: Manifest | PluginError, sentence: str) -> None:
    with pytest.raises(PluginError, match=sentence):
        followed(Api(look("Running"), last))


def test_one_that_was_deleted_is_the_end() -> None:
    with pytest.raises(PluginError, match="gone"):
        followed(Api(look("Running"), PluginError("gone", status=404)))


def test_a_refusal_is_told_in_the_operators_words() -> None:
    refused = look("Refused", condition("Ready", "False", "TargetLagging", "Member shop-db-2 is 3 MiB behind."))
    assert outcome(refused) == (False, "Refused: Member shop-db-2 is 3 MiB behind.")
    assert outcome(look("Failed")) == (False, "Failed: the operator gave no reason.")
