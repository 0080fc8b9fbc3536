"""The probers as a component: a small program of ours in each zone that does what clients do, through the gateway."""

from __future__ import annotations

import json
from typing import Any

from baas_operator.api.instance.component import Component as Options
from baas_operator.desired.instance import names, publishing
from baas_operator.desired.instance.component import Component, Flow, Mount
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.exposure import certificate_secret, terminates_tls
from baas_operator.desired.instance.probes import Probes, probes_of
from baas_operator.desired.instance.publishing import publishes
from baas_operator.desired.pods import http_probe
from baas_operator.desired.queue import names as queue_names

PROBER = "prober"
PORT = 8080
REPORT_PATH = "/report"
HOOK_PATH = "/hook"
"""Where a prober takes the webhook of a message that one of them published."""
REPLICAS = 3
"""One in each of three zones."""
_CONFIG = "/etc/baas/probe-config"
_SECRETS = "/etc/baas/probe"
_TLS = "/etc/baas/probe-tls"
_TLS_PORT = 8443
_DEADLINE_SECONDS = 10
"""Longer than a failover takes, so that one costs a transaction its speed, and not its success, where the gateway waits for it."""


def service(instance: str) -> str:
    """The probers' Service."""
    return f"{instance}-{PROBER}"


def hook_url(instance: str, namespace: str) -> str:
    """Where the queue's dispatchers post to."""
    return f"http://{service(instance)}.{namespace}.svc:{PORT}{HOOK_PATH}"


def prober(given: Given) -> list[Component]:
    """The probers; none where they are not wanted."""
    wanted = probes_of(given.spec, given.owner)
    if wanted is None:
        return []
    gateway = given.spec.components.gateway
    return [
        Component(
            name=PROBER,
            # Where the gateway's pods may be and what they are pulled with; how many there are is no question of load.
            options=Options(replicas=REPLICAS, placement=gateway.placement, image_pull_secrets=gateway.image_pull_secrets),
            image=given.images.operator,
            uid=65532,
            ports={"http": PORT},
            command=("python", "-m", "baas_operator.prober"),
            args=(f"{_CONFIG}/probe.json", _SECRETS, "--port", str(PORT)),
            config={"probe.json": _config(given, wanted)},
            config_mount=_CONFIG,
            hot=True,
            mounts=(
                *(
                    Mount(f"{_SECRETS}/{secret}", secret=secret, items={each: each for each in keys}, optional=True)
                    for secret, keys in wanted.secrets.items()
                ),
                *_queue_mounts(given),
                *_tls_mount(given),
            ),
            needs_database=True,
            optional=True,
            flows=_flows(given, wanted),
            webhooks=PORT if publishes(given.spec) else None,
            scrape=PORT,
            startup=http_probe("/livez", PORT, period=1, failures=60),
            readiness=http_probe("/readyz", PORT, period=3, failures=2),
            liveness=http_probe("/livez", PORT, period=10, failures=6),
            drain_seconds=1,  # nobody but scrapers has to let go of it
            finish_seconds=_DEADLINE_SECONDS + 5,
            cpu="5m",
            memory="32Mi",
        )
    ]  # fmt: skip


def _config(given: Given, wanted: Probes) -> str:
    """`probe.json` (prober/config.py)."""
    address = names.gateway_host(given.owner)
    interval = given.spec.prober.interval_seconds
    told: dict[str, Any] = {
        "engine": given.spec.engine.value,
        "gateway": {
            "address": address,
            "port": _port(given),
            "host": given.spec.hosts[0] if given.spec.hosts else f"{address}:{_port(given)}",
            "tls": _TLS if _by_https(given) else None,
            # Without hosts nobody said what the certificate is for: it has to be that certificate then, whatever names it has.
            "named": bool(given.spec.hosts),
        },
        "intervalSeconds": interval,
        "deadlineSeconds": min(interval, _DEADLINE_SECONDS),
        "transactions": [
            {"name": each.name, "every": each.every} | ({"after": each.after} if each.after else {}) for each in wanted.transactions
        ],
        "settings": dict(wanted.settings),
    }
    if wanted.standby_schema:  # not through the gateway, which leads there only while there is no primary; one name for all its pods
        host = f"{given.owner.name}-{wanted.standby_schema}.{given.owner.namespace}.svc"
        told["standbySchema"] = {"host": host, "port": names.REST_PORT}
    if publishes(given.spec):
        host = queue_names.host(names.queue_name(given.owner.name, given.spec), given.owner.namespace)
        inbox = queue_names.inbox(publishing.user(given.owner.name))
        told["queue"] = {"host": host, "port": queue_names.CLIENT_PORT, "subject": publishing.NAME, "inbox": inbox}
    return json.dumps(told, indent=1, sort_keys=True)


def _flows(given: Given, wanted: Probes) -> tuple[Flow, ...]:
    made = [Flow("gateway", _port(given))]
    if wanted.standby_schema:
        made.append(Flow(wanted.standby_schema, names.REST_PORT))
    if publishes(given.spec):  # and one hands on to another what is that one's (prober/transactions/publish.py)
        made += [Flow("queue", queue_names.CLIENT_PORT), Flow(PROBER, PORT)]
    return tuple(made)


def _queue_mounts(given: Given) -> list[Mount]:
    """The login to the queue, and what signs the webhook, both of which the queue makes; by names that no other key has."""
    if not publishes(given.spec):
        return []
    queue = names.queue_name(given.owner.name, given.spec)
    user, hook = queue_names.user_secret(queue, publishing.user(given.owner.name)), queue_names.webhook_secret(queue, publishing.NAME)
    return [
        Mount(
            f"{_SECRETS}/queue", secret=user, items={each: f"queue-{each}" for each in ("username", "password", "ca.crt")}, optional=True
        ),
        Mount(f"{_SECRETS}/webhook", secret=hook, items={"secret": "webhook-secret"}, optional=True),
    ]


def _by_https(given: Given) -> bool:
    """Whether they ask by HTTPS: as clients are led there, and no sooner."""
    return terminates_tls(given.spec.components.gateway) and given.https


def _port(given: Given) -> int:
    return _TLS_PORT if _by_https(given) else names.GATEWAY_PORT


def _tls_mount(given: Given) -> list[Mount]:
    """The gateway's certificate without its key: what a prober trusts (prober/config.py)."""
    secret = certificate_secret(given.owner, given.spec.components.gateway)
    if secret is None or not _by_https(given):
        return []
    return [Mount(_TLS, secret=secret, items={"tls.crt": "tls.crt", "ca.crt": "ca.crt"}, optional=True)]
