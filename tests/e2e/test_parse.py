"""A whole backend of the engine parse on the cluster, as an application in a pod sees it through Parse's own SDK."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.harness.clients import (
    CLIENTS,
    Clients,
    config_map,
    delete_each_pod,
    delete_each_store,
    make_bucket,
    object_store_in,
    policies,
    wait_answers,
)
from tests.e2e.harness.gateway import GATEWAY_PORT
from tests.e2e.harness.kube import Kube
from tests.harness import stories
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

NAME = "shop"
COMPONENTS = ("gateway", "server", "cache")


@pytest.fixture(scope="module")
def clients(kube: Kube, namespace: str) -> Clients:
    """An application of a backend that is ready, with files, functions and LiveQuery."""
    s3 = object_store_in(kube, namespace)
    kube.must_apply(config_map("cloud", {"main.js": (CLIENTS / "cloud.js").read_text()}), namespace)
    server = {"replicas": 2, "s3": s3, "cloudCode": {"configMap": "cloud"}, "liveQuery": {"classes": ["Note"]}}
    # Two of each are what stays up while one goes; the lab's machine is small.
    components = {"gateway": {"replicas": 2}, "server": server, "cache": {"replicas": 2}}
    spec = {"engine": "parse", "deletionPolicy": "Delete", "components": components}
    kube.must_apply(own("BaasInstance", NAME, spec), namespace)
    make_bucket(kube, namespace)
    kube.wait_whole(namespace, "BaasInstance", NAME)
    keys = kube.secret(namespace, f"{NAME}-parse-keys")
    environment = {
        "URL": f"http://{NAME}-gateway:{GATEWAY_PORT}/parse", "APP_ID": NAME, "JAVASCRIPT_KEY": keys["javascriptKey"],
        "MASTER_KEY": keys["masterKey"], "CLOUD_CODE": "yes", "FILES": "yes",
    }  # fmt: skip
    made = Clients(kube, namespace, "parse.mjs", environment)
    made.start()
    return made


@pytest.mark.parametrize("story", stories.PARSE)
def test_parse_sdk(clients: Clients, story: str) -> None:
    clients.play(story)


def test_every_story_is_told(clients: Clients) -> None:
    assert clients.stories == stories.PARSE


def test_probers_say_that_it_answers(kube: Kube, namespace: str, clients: Clients) -> None:
    wait_answers(kube, namespace, NAME, {"read", "write", "sign-in"})

    assert policies(kube, namespace, NAME) >= {f"{NAME}-{each}" for each in ("default-deny", "bootstrap", "prober", *COMPONENTS)}


@pytest.mark.chaos
def test_each_pod_is_deleted_while_an_application_works(
    kube: Kube, namespace: str, clients: Clients, figure: Callable[[str], None]
) -> None:
    with clients.looping() as loop:
        deleted = delete_each_pod(kube, namespace, NAME, COMPONENTS)
        stores = delete_each_store(kube, namespace, NAME)

    said = loop.said
    events = said["events"] + said["eventsMissed"]
    figure(
        f"{len(deleted)} pods and {len(stores)} of database and queue deleted in turn within {said['seconds']} s: "
        f"{said['failed']} of {said['requests']} requests failed, "
        f"{said['attemptsFailed']} of {said['attempts']} at first {said['why']}; {said['eventsMissed']} of {events} events "
        f"missed, {said['missedInSilence']} of them in silence, LiveQuery opened anew {said['reopened']} times; "
        f"milliseconds {said['milliseconds']}"
    )
    assert len(deleted) == 2 * len(COMPONENTS)
    assert len(stores) >= 6, stores
    assert said["requests"] > 100
    assert said["failed"] == 0, said["errors"]
    assert said["missedInSilence"] == 0
