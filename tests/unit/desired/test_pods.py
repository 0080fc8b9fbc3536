"""What every pod of ours must be, whichever kind it comes from: walked over all that is rendered."""

from __future__ import annotations

import re

import pytest

from baas_operator.api.common import Resources
from baas_operator.desired.instance.gateway import DRAIN_SECONDS as GATEWAY_DRAIN_SECONDS
from baas_operator.desired.instance.gateway import FINISH_SECONDS as GATEWAY_FINISH_SECONDS
from baas_operator.desired.meta import HOST_LABEL, ZONE_LABEL, Manifest
from baas_operator.desired.pods import resources
from baas_operator.desired.queue.names import DISPATCHER
from baas_operator.desired.render import REDACTED, render
from tests.unit.desired.rendered import CASES, CHILDREN, RICH, of_kind, resource, workloads

WORKLOADS = dict(workloads())
RUNNING = {name: each for name, each in WORKLOADS.items() if each["kind"] != "Job"}
FROM_PATRONI = {f"PATRONI_{what}_{part}" for what in ("SUPERUSER", "REPLICATION", "REWIND", "RESTAPI") for part in ("USERNAME", "PASSWORD")}
"""Patroni takes these from its environment or from its file, and the file would be one more copy of each password."""

FROM_SERVICES = {
    "GOTRUE_DB_DATABASE_URL", "GOTRUE_JWT_SECRET", "GOTRUE_JWT_KEYS", "DATABASE_URL", "AUTH_JWT_SECRET", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY",
}  # fmt: skip
"""GoTrue, storage-api and functions take these from their environment, and from nowhere else."""


def all_of(found: dict[str, Manifest]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("workload", found.values(), ids=found.keys())


def pod_of(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def containers(workload: Manifest) -> list[Manifest]:
    pod = pod_of(workload)
    return [*pod["containers"], *pod.get("initContainers", [])]


def test_there_is_something_to_walk() -> None:
    assert len(WORKLOADS) == 21
    assert {each["kind"] for each in WORKLOADS.values()} == {"StatefulSet", "Deployment", "Job"}


@pytest.mark.parametrize(
    ("asked", "requests"),
    [
        ({}, {"cpu": "100m", "memory": "256Mi"}),
        ({"limits": {"cpu": "2", "memory": "1Gi"}}, {"cpu": "100m", "memory": "256Mi"}),
        ({"limits": {"cpu": "0.05", "memory": "128Mi"}}, {"cpu": "0.05", "memory": "128Mi"}),
        ({"limits": {"cpu": "0.1", "memory": "262144Ki"}}, {"cpu": "100m", "memory": "256Mi"}),
        ({"limits": {"memory": "128Mi"}}, {"cpu": "100m", "memory": "128Mi"}),
        ({"requests": {"memory": "64Mi"}, "limits": {"cpu": "50m", "memory": "128Mi"}}, {"cpu": "50m", "memory": "64Mi"}),
        ({"requests": {"cpu": "1"}}, {"cpu": "1", "memory": "256Mi"}),
    ],
)  # fmt: skip
def test_a_request_that_nobody_said_is_never_above_the_limit(asked: Manifest, requests: Manifest) -> None:
    made = resources(Resources.model_validate(asked), cpu="100m", memory="256Mi")

    assert made["requests"] == requests
    assert made.get("limits") == asked.get("limits")


# --- the "restricted" Pod Security Standard, and more ---------------------------------------------------------------


@all_of(WORKLOADS)
def test_pods_are_restricted(workload: Manifest) -> None:
    pod = pod_of(workload)
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "ephemeralContainers"):
        assert not pod.get(field)
    allowed = {"name", "configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim", "downwardAPI"}
    for volume in pod["volumes"]:
        assert set(volume) <= allowed


@all_of(WORKLOADS)
def test_containers_are_restricted_on_a_read_only_root(workload: Manifest) -> None:
    for container in containers(workload):
        security = dict(container["securityContext"])
        assert security.pop("runAsUser", 1) > 0
        assert security.pop("runAsGroup", 1) > 0
        assert security == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert not any("hostPort" in port for port in container.get("ports", []))
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@all_of(WORKLOADS)
def test_only_who_talks_to_the_api_server_has_a_token(workload: Manifest) -> None:
    component = workload["metadata"]["labels"]["app.kubernetes.io/component"]
    assert pod_of(workload)["automountServiceAccountToken"] is (component in ("postgresql", "pooler"))
    assert pod_of(workload)["enableServiceLinks"] is False


@all_of(WORKLOADS)
def test_every_mount_has_its_volume(workload: Manifest) -> None:
    pod = pod_of(workload)
    volumes = {each["name"] for each in pod["volumes"]}
    volumes |= {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])}
    for container in containers(workload):
        mounts = container.get("volumeMounts", [])
        assert {each["name"] for each in mounts} <= volumes
        assert len({each["mountPath"] for each in mounts}) == len(mounts)


# --- availability ---------------------------------------------------------------------------------------------------


@all_of(RUNNING)
def test_it_is_spread_over_the_zones(workload: Manifest) -> None:
    zone, host = pod_of(workload)["topologySpreadConstraints"]

    assert (zone["topologyKey"], zone["whenUnsatisfiable"], zone["maxSkew"]) == (ZONE_LABEL, "DoNotSchedule", 1)
    assert (host["topologyKey"], host["whenUnsatisfiable"]) == (HOST_LABEL, "ScheduleAnyway")
    for each in (zone, host):
        assert each["labelSelector"]["matchLabels"] == workload["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize(("kind", "size"), CASES)
def test_each_workload_has_its_disruption_budget(kind: str, size: str) -> None:
    children = CHILDREN[kind, size]
    budgets = [each["spec"] for each in children if each["kind"] == "PodDisruptionBudget"]
    selectors = [each["spec"]["selector"] for each in children if each["kind"] in ("StatefulSet", "Deployment")]

    assert [each["selector"] for each in budgets] == selectors
    for budget in budgets:
        assert budget["maxUnavailable"] == 1
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "else a pod that is ill anyway holds up every drain"


@all_of(RUNNING)
def test_the_three_probes_are_http_and_name_a_port_that_is_there(workload: Manifest) -> None:
    first, *beside = containers(workload)
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(first)
    ports = {each["containerPort"] for container in (first, *beside) for each in container["ports"]}
    for container in (first, *beside):
        probes = {key: value for key, value in container.items() if key.endswith("Probe")}
        assert bool(probes) is (container["name"] != "exporter"), "metrics that fail are no reason to do anything to a member"
        for key, probe in probes.items():
            more = set() if key == "readinessProbe" else {"terminationGracePeriodSeconds"}
            assert set(probe) - more == {"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"}
            assert probe["httpGet"]["port"] in ports
            assert probe["timeoutSeconds"] <= probe["periodSeconds"] or container["startupProbe"] is probe


@all_of(RUNNING)
def test_liveness_is_slower_than_readiness(workload: Manifest) -> None:
    """What is slow for a moment is to get no traffic; only what is dead is killed."""
    container = containers(workload)[0]

    def seconds(probe: Manifest) -> int:
        return int(probe["periodSeconds"] * probe["failureThreshold"])

    assert seconds(container["livenessProbe"]) >= 5 * seconds(container["readinessProbe"])


@all_of({name: each for name, each in RUNNING.items() if each["kind"] == "Deployment"})
def test_a_rollout_takes_no_pod_before_its_successor_is_ready_and_drains_the_old(workload: Manifest) -> None:
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    if workload["metadata"]["labels"]["app.kubernetes.io/component"] == DISPATCHER:
        return  # no client has to be led elsewhere: it asks for its work itself
    hook = containers(workload)[0]["lifecycle"]["preStop"]
    if "httpGet" in hook:
        assert hook["httpGet"]["path"].startswith("/drain/"), "the gateway answers when it has drained"
        drain = GATEWAY_DRAIN_SECONDS + GATEWAY_FINISH_SECONDS
    elif "sleep" in hook:
        drain = hook["sleep"]["seconds"]
    else:  # in a script: it sleeps for so many seconds, then waits for so many more
        drain = sum(map(int, re.findall(r"(?<!do )(?:sleep|-lt) (\d+)", str(hook["exec"]))))
    grace = pod_of(workload)["terminationGracePeriodSeconds"]
    assert 0 < drain < grace
    hung = containers(workload)[0]["livenessProbe"].get("terminationGracePeriodSeconds", grace)
    assert hung <= 30, "what hangs has nothing to finish"


def test_a_pooler_that_has_to_go_lets_transactions_end_and_is_gone_in_time() -> None:
    pod = pod_of(of_kind("DatabaseReplica", "Deployment", "shop-db-pooler"))
    pgbouncer, agent = pod["containers"]
    (drain,) = [each for each in pgbouncer["lifecycle"]["preStop"]["exec"]["command"] if "kill" in each]
    assert drain.index("sleep 8") < drain.index("kill -INT 1"), "new clients come until nobody leads them here any more"
    assert pgbouncer["command"][2].endswith("exec /usr/bin/pgbouncer /etc/pooler/config/pgbouncer.ini"), "it has to be process 1"
    assert "lifecycle" not in agent, "it watches for itself until PgBouncer drains"
    shared = {each["mountPath"] for each in pgbouncer["volumeMounts"]} & {each["mountPath"] for each in agent["volumeMounts"]}
    assert "/run/pooler" in shared


def test_a_database_may_do_without_a_pooler() -> None:
    children = render(resource("DatabaseReplica", {"pooler": {"replicas": 0}, "monitoring": {"enabled": False}}))

    assert not [each for each in children if "pooler" in str(each["metadata"])]
    assert not [each for each in children if each["kind"] == "Job"], "and then there is nothing to run SQL for"


def test_the_agent_runs_before_postgresql_and_after_it_and_alone_has_the_certificate_of_standbys() -> None:
    pod = pod_of(of_kind("DatabaseReplica", "StatefulSet", "shop-db"))
    (postgres, _), (agent,) = pod["containers"], pod["initContainers"]
    mounts = {each["name"]: {mount["name"]: mount for mount in each["volumeMounts"]} for each in (postgres, agent)}

    assert agent["restartPolicy"] == "Always"
    assert agent["startupProbe"]["httpGet"]["path"] == "/livez"
    assert pod["shareProcessNamespace"] is True
    assert "replication-tls" not in mounts["postgres"]
    assert mounts["postgres"]["replication"]["readOnly"] is True
    assert not mounts["agent"]["replication"].get("readOnly")
    (memory,) = (each for each in pod["volumes"] if each["name"] == "replication")
    assert memory["emptyDir"]["medium"] == "Memory"
    assert not any((each.get("secret") or {}).get("secretName") == "shop-db-ca" for each in pod["volumes"]), "the operator's alone"


# --- placement ------------------------------------------------------------------------------------------------------

CHOSEN: Manifest = {
    "placement": {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}, {"operator": "Exists", "key": "noisy"}],
    },
    "imagePullSecrets": [{"name": "registry"}],
    "databases": [{"name": "shop"}],
}


def pods_of(spec: Manifest) -> dict[str, Manifest]:
    return {each["kind"]: pod_of(each) for each in render(resource("DatabaseReplica", spec)) if "template" in each.get("spec", {})}


def test_all_pods_of_a_database_go_where_the_spec_says_and_pull_with_its_secrets() -> None:
    pods = pods_of(CHOSEN)

    assert set(pods) == {"StatefulSet", "Deployment", "Job"}
    for pod in pods.values():
        assert pod["nodeSelector"] == {"disk": "fast"}
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["tolerations"][-2:] == [
            {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"},
            {"key": "noisy", "operator": "Exists"},
        ]
    assert len(pods["StatefulSet"]["tolerations"]) == len(pods["Job"]["tolerations"]) == 2, "what keeps data waits for its node"


@pytest.mark.parametrize("own", [[], [{"operator": "Exists"}]])
def test_a_stateless_pod_waits_two_minutes_for_its_node(own: list[Manifest]) -> None:
    """Whatever else it tolerates: Kubernetes takes the shortest time of all that fit, and adds none of its own to what tolerates all."""
    placement = {"placement": {"tolerations": own}}
    pooler = pods_of(placement)["Deployment"]
    backend = render(resource("BaasInstance", {"components": {"rest": placement}}))
    (rest,) = [each for each in backend if (each["kind"], each["metadata"]["name"]) == ("Deployment", "shop-rest")]

    for pod in (pooler, pod_of(rest)):
        lost = {each["key"]: each["tolerationSeconds"] for each in pod["tolerations"] if "tolerationSeconds" in each}
        assert lost == {"node.kubernetes.io/not-ready": 120, "node.kubernetes.io/unreachable": 120}


def test_nothing_said_of_nodes_is_nothing_in_a_template_so_that_no_member_rolls() -> None:
    empty = {"placement": {"nodeSelector": {}, "tolerations": []}, "imagePullSecrets": [], "databases": [{"name": "shop"}]}

    assert pods_of(empty) == pods_of({"databases": [{"name": "shop"}]})
    assert not {"nodeSelector", "tolerations", "imagePullSecrets"} & set(pods_of(empty)["StatefulSet"])


def test_a_job_is_another_one_where_its_pod_is_to_be_another_as_it_can_not_be_changed() -> None:
    def job(spec: Manifest) -> str:
        (found,) = (each["metadata"]["name"] for each in render(resource("DatabaseReplica", spec)) if each["kind"] == "Job")
        return str(found)

    names = {
        job(CHOSEN | change) for change in ({}, {"imagePullSecrets": []}, {"placement": {}}, {"placement": {}, "imagePullSecrets": []})
    }

    assert len(names) == 4


# --- secrets --------------------------------------------------------------------------------------------------------


@all_of(WORKLOADS)
def test_secrets_come_as_files(workload: Manifest) -> None:
    for container in containers(workload):
        assert "envFrom" not in container
        from_secret = {each["name"] for each in container.get("env", []) if "secretKeyRef" in each.get("valueFrom", {})}
        assert from_secret <= FROM_PATRONI | FROM_SERVICES
    for volume in pod_of(workload)["volumes"]:
        for source in {"secret", "projected"} & set(volume):
            assert volume[source]["defaultMode"] == 0o440


@pytest.mark.parametrize("kind", list(RICH))
def test_what_is_rendered_holds_no_secret(kind: str) -> None:
    children = render(resource(kind, RICH[kind]))

    for each in children:
        if each["kind"] == "Secret":
            assert not {"data", "stringData"} & set(each)
        assert REDACTED not in str(each), "and nothing that stands for one where anybody could read it"
        assert "PRIVATE KEY" not in str(each)


@pytest.mark.parametrize(("kind", "size"), CASES)
def test_roles_give_no_more_than_is_named(kind: str, size: str) -> None:
    for each in CHILDREN[kind, size]:
        if each["kind"] != "Role":
            continue
        for rule in each["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
            assert not {"update", "delete"} & set(rule["verbs"]) or "resourceNames" in rule or rule["resources"] == ["pods"]
