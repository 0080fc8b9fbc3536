"""Workers and jobs as manifests: as restricted as anything of ours, with no more than they were given, and nothing secret but in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from baas_operator.api.instance.programs import ScheduledJob
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.component import Flow
from baas_operator.desired.instance.logins import RoleLogin
from baas_operator.desired.instance.programs import ProgramFacts, Scaled, cron_job, program_flows
from baas_operator.desired.meta import Manifest
from tests.unit.objects import keyed, owner

MAILER = {"name": "mailer", "image": "mailer:1", "stream": "orders", "publish": ["orders.mailed"]}
REPORT = {"name": "report", "image": "report:1", "schedule": "30 6 * * *"}
RUN = ("Deployment", "CronJob")
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "workers.yaml"


def built(facts: ProgramFacts | None = None, name: str = "shop", **spec: Any) -> dict[tuple[str, str], Manifest]:
    made = InstanceFacts(jwks='{"keys": []}', programs=facts or ProgramFacts())
    return keyed(*build_instance(BaasInstanceSpec.model_validate(spec), owner(BAAS_INSTANCE, name), Images(), made))


def pod_of(manifest: Manifest) -> Manifest:
    spec = manifest["spec"].get("jobTemplate", manifest)["spec"]
    found: Manifest = spec["template"]["spec"]
    return found


def files(pod: Manifest) -> dict[str, tuple[str, str]]:
    """Path below the credentials -> (object, key)."""
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "credentials")
    assert mount == {"name": "credentials", "mountPath": "/etc/baas/credentials", "readOnly": True}
    (volume,) = (each["projected"] for each in pod["volumes"] if each["name"] == "credentials")
    assert volume["defaultMode"] == 0o440
    objects = [each.get("secret") or each["configMap"] for each in volume["sources"]]
    return {item["path"]: (each["name"], item["key"]) for each in objects for item in each["items"]}


def variables(pod: Manifest) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in pod["containers"][0]["env"]}


def test_a_worker_is_a_deployment_that_surges_and_is_spread() -> None:
    made = built(workers=[MAILER | {"graceSeconds": 90}])

    spec = made["Deployment", "shop-worker-mailer"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["minReadySeconds"] > 0, "one that ends at its start replaces nothing"
    labels = spec["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "worker-mailer"
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    pod = pod_of(made["Deployment", "shop-worker-mailer"])
    assert pod["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"
    assert pod["terminationGracePeriodSeconds"] == 90
    assert "lifecycle" not in pod["containers"][0], "nobody connects to it: all of the time is its own"
    assert made["PodDisruptionBudget", "shop-worker-mailer"]["spec"]["selector"]["matchLabels"] == spec["selector"]["matchLabels"]
    assert pod["serviceAccountName"] == made["ServiceAccount", "shop-worker-mailer"]["metadata"]["name"]
    assert ("Service", "shop-worker-mailer") not in made


def test_a_job_is_a_cron_job() -> None:
    made = built(jobs=[REPORT | {"timeZone": "Europe/Berlin", "concurrency": "Replace", "retries": 1, "timeoutSeconds": 60}])

    spec = made["CronJob", "shop-job-report"]["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"], spec["suspend"]) == (
        "30 6 * * *", "Europe/Berlin", "Replace", False,
    )  # fmt: skip
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 3)
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (1, 60)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["jobTemplate"]["metadata"]["labels"]["baas-operator.io/name"] == "shop", "its runs are seen"


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_pods_are_as_restricted_as_all_others(kind: str) -> None:
    made = built(workers=[MAILER | {"userId": 1234}], jobs=[REPORT | {"userId": 1234}])
    (pod,) = (pod_of(each) for (of, name), each in made.items() if of == kind and ("-worker-" in name or "-job-" in name))

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1234
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108 - a path inside the pod
    assert container["resources"]["requests"]


def test_a_worker_has_the_keys_and_its_own_login_in_files() -> None:
    pod = pod_of(built(workers=[MAILER])["Deployment", "shop-worker-mailer"])

    login = "shop-events-user-shop.mailer.worker"
    assert files(pod) == {
        "gateway/url": ("shop-programs", "gateway-url"),
        "queue/url": ("shop-programs", "queue-url"),
        "keys/anon": ("shop-api-keys", "anon"),
        "keys/service_role": ("shop-api-keys", "service_role"),
        "queue/username": (login, "username"),
        "queue/password": (login, "password"),
        "queue/ca.crt": (login, "ca.crt"),
    }
    assert variables(pod) == {
        "BAAS_CONSUMER": "shop_mailer",
        "BAAS_CREDENTIALS": "/etc/baas/credentials",
        "BAAS_GATEWAY_URL": "http://shop-gateway.prod.svc:8000",
        "BAAS_QUEUE_INBOX": "_INBOX_shop.mailer.worker",
        "BAAS_QUEUE_URL": "tls://shop-events.prod.svc:4222",
        "BAAS_STREAM": "orders",
    }


def test_what_was_not_given_is_not_there() -> None:
    made = built(jobs=[REPORT | {"serviceKey": False}, REPORT | {"name": "all", "database": True, "publish": ["orders.>"]}])

    assert set(files(pod_of(made["CronJob", "shop-job-report"]))) == {"gateway/url", "keys/anon"}
    assert set(variables(pod_of(made["CronJob", "shop-job-report"]))) == {"BAAS_CREDENTIALS", "BAAS_GATEWAY_URL"}
    assert set(files(pod_of(made["CronJob", "shop-job-all"]))) == {
        "gateway/url", "queue/url", "keys/anon", "keys/service_role", "queue/username", "queue/password", "queue/ca.crt",
        "database/uri", "database/username", "database/password",
    }  # fmt: skip


@pytest.mark.parametrize("engine", ["supabase", "parse"])
def test_no_program_starts_before_its_node_has_the_login_of_now(engine: str) -> None:
    """As no component does: all files are of one version of the Secret, so a pod that has its marker has what came with it."""
    spec = BaasInstanceSpec.model_validate(
        {"engine": engine, "workers": [MAILER | {"database": True}, MAILER | {"name": "other"}], "jobs": [REPORT | {"database": True}]}
    )
    rotated = RoleLogin("shop_owner", "shop_owner_alt", {"shop_owner_alt": "password"}, marker="login-shop_owner_alt")

    def markers(login: RoleLogin) -> dict[str, list[tuple[str, str]]]:
        made = keyed(*build_instance(spec, owner(BAAS_INSTANCE, "shop"), Images(), InstanceFacts(jwks="{}", logins={"owner": login})))
        pods = {name: pod_of(made[kind, name]) for kind, name in made if "-worker-" in name or "-job-" in name if kind in RUN}
        return {name: [found for path, found in files(pod).items() if path == "database/login"] for name, pod in pods.items()}

    asked = [("shop-role-owner", "login-shop_owner_alt")]
    assert markers(rotated) == {"shop-worker-mailer": asked, "shop-worker-other": [], "shop-job-report": asked}
    assert not any(markers(RoleLogin.first("shop_owner")).values())


def test_parse_has_other_keys() -> None:
    made = built(engine="parse", workers=[MAILER], jobs=[REPORT | {"serviceKey": False}])

    worker, job = pod_of(made["Deployment", "shop-worker-mailer"]), pod_of(made["CronJob", "shop-job-report"])
    assert {path.removeprefix("keys/") for path in files(worker) if path.startswith("keys/")} == {"restAPIKey", "masterKey"}
    assert [path for path in files(job) if path.startswith("keys/")] == ["keys/restAPIKey"]


def test_a_queue_that_was_brought_and_a_consumer_that_it_declares() -> None:
    pod = pod_of(built(queueRef={"name": "mq"}, workers=[MAILER | {"consumer": "shared"}])["Deployment", "shop-worker-mailer"])

    assert variables(pod)["BAAS_QUEUE_URL"] == "tls://mq.prod.svc:4222"
    assert variables(pod)["BAAS_CONSUMER"] == "shared"
    assert files(pod)["queue/password"] == ("mq-user-shop.mailer.worker", "password")


def test_the_users_own_variables_and_volumes_and_what_wins() -> None:
    env = [
        {"name": "SMTP_PASSWORD", "secret": {"name": "smtp", "key": "password"}},
        {"name": "LEVEL", "value": "debug"},
        {"name": "BAAS_STREAM", "value": "other"},
    ]
    volumes = [{"name": "fonts", "mountPath": "/fonts", "configMap": "fonts"}]
    pod = pod_of(built(workers=[MAILER | {"env": env, "volumes": volumes}])["Deployment", "shop-worker-mailer"])

    assert variables(pod)["SMTP_PASSWORD"] == {"secretKeyRef": {"name": "smtp", "key": "password"}}
    assert variables(pod)["LEVEL"] == "debug"
    assert variables(pod)["BAAS_STREAM"] == "orders"
    assert {"name": "user-fonts", "mountPath": "/fonts", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_hibernation_ends_workers_and_suspends_jobs() -> None:
    made = built(ProgramFacts(scaled={"mailer": Scaled(7, "2026-05-01T12:00:00Z")}), hibernate=True, workers=[MAILER], jobs=[REPORT])

    assert made["Deployment", "shop-worker-mailer"]["spec"]["replicas"] == 0
    assert made["CronJob", "shop-job-report"]["spec"]["suspend"] is True


def test_only_what_may_start_is_made_and_a_hash_rolls_it() -> None:
    facts = ProgramFacts(started=frozenset({"mailer"}), soft=frozenset({"mailer"}), rolls={"mailer": "abc"})
    made = built(facts, workers=[MAILER, MAILER | {"name": "other"}], jobs=[REPORT])

    template = made["Deployment", "shop-worker-mailer"]["spec"]["template"]
    assert template["metadata"]["annotations"] == {"baas-operator.io/config-checksum": "abc"}
    assert template["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"
    assert not {("Deployment", "shop-worker-other"), ("CronJob", "shop-job-report")} & set(made)


def test_a_backend_without_programs_has_nothing_of_them() -> None:
    assert not [name for _, name in built() if "program" in name or "-worker" in name or "-job-" in name]


def test_a_long_name_of_a_job_is_cut_and_stays_its_own() -> None:
    instance = "a" * 33
    names = {cron_job(instance, ScheduledJob.model_validate(REPORT | {"name": f"{'b' * 19}{end}"})) for end in "xy"}

    assert len(names) == 2
    assert all(len(name) <= 52 and name.startswith(instance) for name in names)
    assert cron_job("shop", ScheduledJob.model_validate(REPORT)) == "shop-job-report"


def test_streams_go_to_the_queue_that_is_made() -> None:
    streams = [{"name": "orders", "subjects": ["orders.>"], "maxAgeHours": 24, "deadLetter": {"maxDeliveries": 3}}]

    (stream,) = built(streams=streams)["EventQueue", "shop-events"]["spec"]["streams"]
    assert stream.items() >= {"name": "orders", "subjects": ["orders.>"], "retention": "limits", "maxAgeHours": 24}.items()
    assert stream["deadLetter"]["maxDeliveries"] == 3
    assert "streams" not in built()["EventQueue", "shop-events"]["spec"], "what others declare there stays"


def test_who_a_program_connects_to() -> None:
    spec = BaasInstanceSpec.model_validate({"workers": [MAILER], "jobs": [REPORT, REPORT | {"name": "all", "database": True}]})
    always = (Flow("gateway"), Flow("outside"))

    assert program_flows(spec) == {
        "worker-mailer": (*always, Flow("queue", 4222)),
        "job-report": always,
        "job-all": (*always, Flow("database", 5432)),
    }


def test_the_example_is_made_whole() -> None:
    (manifest,) = yaml.safe_load_all(EXAMPLE.read_text())
    made = built(name="store", **manifest["spec"])

    assert {name for kind, name in made if kind in ("Deployment", "CronJob")} >= {
        "store-worker-mailer", "store-worker-thumbnails", "store-job-report",
    }  # fmt: skip
    assert made["Deployment", "store-worker-thumbnails"]["spec"]["replicas"] == 0
    assert "password" not in json.dumps(variables(pod_of(made["CronJob", "store-job-report"])))


def test_the_network_lets_it_go_there_and_nobody_in() -> None:
    policy = built(workers=[MAILER])["NetworkPolicy", "shop-worker-mailer"]["spec"]

    assert policy["ingress"] == []
    ports = {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])}
    assert {8000, 4222} <= ports
    assert 5432 not in ports
    gateway = built(workers=[MAILER])["NetworkPolicy", "shop-gateway"]["spec"]
    peers = [peer["podSelector"]["matchLabels"] for rule in gateway["ingress"] for peer in rule.get("from", []) if "podSelector" in peer]
    assert "worker-mailer" in [each.get("app.kubernetes.io/component") for each in peers]
