"""The exporter beside PostgreSQL: it sees statistics and nothing else, and nothing that becomes of it is felt by the member. And where pods
of a queue say that they are to be scraped."""

from __future__ import annotations

import pytest
import yaml

from baas_operator.desired.meta import Manifest
from baas_operator.desired.render import render
from tests.unit.desired.rendered import of_kind, resource

POSTGRES_UID = 999


def pod(size: str = "default") -> Manifest:
    made: Manifest = of_kind("DatabaseReplica", "StatefulSet", "shop-db", size=size)["spec"]["template"]
    return made


def exporter(size: str = "default") -> Manifest:
    (found,) = (each for each in pod(size)["spec"]["containers"] if each["name"] == "exporter")
    return dict(found)


def patroni() -> Manifest:
    made: Manifest = yaml.safe_load(of_kind("DatabaseReplica", "ConfigMap", "shop-db-patroni")["data"]["patroni.yml"])
    return made


def sql(spec: Manifest | None = None) -> str:
    (found,) = (each["data"]["run.sql"] for each in render(resource("DatabaseReplica", spec)) if "run.sql" in each.get("data", {}))
    return str(found)


def test_what_becomes_of_it_never_counts_for_the_pods_readiness() -> None:
    """All containers of a pod have to be ready (Kubernetes documentation, "Pod Lifecycle", ContainersReady)."""
    container = exporter("rich")

    assert container["image"] == "example/postgres:17.9", "an image of its own could be missing where PostgreSQL's is there"
    assert not [key for key in container if key.endswith("Probe")]
    assert container["command"][:2] == ["sh", "-c"]
    assert container["command"][2].startswith("while :; do ")
    assert container["command"][2].endswith("; sleep 10; done"), "a program that ends, or is not there, does not end its container"


def test_it_has_a_user_a_socket_and_nothing_else() -> None:
    container = exporter()

    assert container["securityContext"]["runAsUser"] not in (0, POSTGRES_UID), "the superuser is whoever runs as PostgreSQL does"
    assert {each["name"]: each["readOnly"] for each in container["volumeMounts"]} == {"run": True, "no-token": True}
    (instead,) = (each for each in container["volumeMounts"] if each["name"] == "no-token")
    assert instead["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert not [each for each in container["env"] if "valueFrom" in each]
    assert "password" not in str(container)


def test_only_its_user_may_be_its_role_and_never_over_the_network() -> None:
    found = patroni()["postgresql"]
    rules = found["pg_hba"]

    assert [each for each in rules if "postgres_exporter" in each] == [
        "local postgres postgres_exporter peer map=exporter",
        "host all postgres_exporter all reject",
    ]
    assert rules.index("host all postgres_exporter all reject") < rules.index("hostssl all all all scram-sha-256")
    assert [each for each in found["pg_ident"] if "exporter" in each] == ["exporter nobody postgres_exporter"]


def test_its_role_has_no_password_and_may_read_statistics() -> None:
    text = sql({"pooler": {"replicas": 0}})

    assert 'GRANT pg_monitor TO "postgres_exporter";' in text
    assert text.count("GRANT") == 2
    assert [line for line in text.splitlines() if " PASSWORD " in line] == ["ALTER ROLE \"postgres\" PASSWORD :'password';"]
    assert 'ALTER ROLE "postgres_exporter" CONNECTION LIMIT' in text, "whoever reaches the port may scrape as often as they like"


def test_it_is_told_where_to_scrape() -> None:
    annotations = pod()["metadata"]["annotations"]
    members = of_kind("DatabaseReplica", "Service", "shop-db-pods")["metadata"]["annotations"]

    assert {each["containerPort"] for each in exporter()["ports"]} == {int(annotations["prometheus.io/port"])} == {9187}
    assert members == {"prometheus.io/scrape": "true", "prometheus.io/port": "8008", "prometheus.io/path": "/metrics"}


def test_one_switch_takes_it_all_away() -> None:
    children = render(resource("DatabaseReplica", {"monitoring": {"enabled": False}}))
    (workload,) = (each for each in children if each["kind"] == "StatefulSet")
    template = workload["spec"]["template"]

    assert [each["name"] for each in template["spec"]["containers"]] == ["postgres"]
    assert "no-token" not in str(template)
    assert "prometheus.io/scrape" not in template["metadata"]["annotations"]
    assert "CREATE ROLE %I LOGIN', 'postgres_exporter'" not in sql({"monitoring": {"enabled": False}})


@pytest.mark.parametrize(
    ("workload", "name", "port"), [("StatefulSet", "shop-events", "agent"), ("Deployment", "shop-events-dispatcher", "http")]
)
def test_pods_of_a_queue_say_where_to_scrape(workload: str, name: str, port: str) -> None:
    template = of_kind("EventQueue", workload, name, size="rich")["spec"]["template"]
    containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
    ports = {each["name"]: each["containerPort"] for container in containers for each in container["ports"]}

    annotations = {key: text for key, text in template["metadata"]["annotations"].items() if key.startswith("prometheus.io/")}
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(ports[port]), "prometheus.io/path": "/metrics"}
