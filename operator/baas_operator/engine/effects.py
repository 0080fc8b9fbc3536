"""Effects: the steps of a plan that are no manifests. Each may be repeated without harm."""

from __future__ import annotations

import logging

from baas_operator.api.kinds import ALL_KINDS, DATABASE_REPLICA, OPERATION, POD, SECRET, VOLUME_CLAIM
from baas_operator.desired.database import names as database_names
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names as queue_names
from baas_operator.engine import applier, jetstream, monitor
from baas_operator.engine.client import Client
from baas_operator.engine.dead_letters import work_on_letters
from baas_operator.engine.errors import ApiError, Refused, Waiting
from baas_operator.engine.gather import queue_login
from baas_operator.engine.repair import reclone, replace_volume
from baas_operator.engine.store import Store
from baas_operator.engine.webhooks import enable_webhook
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.observe.view import View, is_ready, secret_text
from baas_operator.policy.plan import (
    Apply,
    Came,
    DeleteConsumer,
    DeletePod,
    DeleteStream,
    Discard,
    Effect,
    EnableWebhook,
    EnsureConsumer,
    EnsureStream,
    Evacuate,
    GrowVolume,
    PatchAnnotation,
    QueueEffect,
    Reclone,
    RemoveServer,
    ReplaceVolume,
    RestartPostgres,
    Scale,
    StartOperation,
    StepDown,
    Switchover,
    TellPod,
    WorkOnLetters,
)

OF_OPERANDS = (
    EnsureStream, EnsureConsumer, DeleteStream, DeleteConsumer, StepDown, Evacuate, RemoveServer, Switchover, RestartPostgres, Reclone,
    WorkOnLetters, EnableWebhook,
)  # fmt: skip
"""Effects that an operand is asked for. It may take its time, and the object's turn does not wait for it (asking.py)."""
NOT_SWITCHED_OVER = "NotSwitchedOver"
"""Why an Operation waits whose switchover was asked for and not done; the answer says why."""
_log = logging.getLogger(__name__)


async def bring_about(effect: Effect, view: View, client: Client, store: Store) -> Came | None:
    """Carry one effect out; what came of it, where the status has to tell.

    Raises:
        Waiting: it could not be done now. Refused: it will not be done until somebody changes something.
        ApiError: the API server's answer, a conflict when somebody else was faster.
    """
    namespace = view.owner.namespace
    match effect:
        case PatchAnnotation():
            metadata = {"resourceVersion": effect.version, "annotations": {effect.key: effect.value}}
            store.put(await client.merge(ALL_KINDS[effect.kind], namespace, effect.name, {"metadata": metadata}))
        case GrowVolume():
            await _grow(effect, namespace, client, store)
        case EnsureStream() | EnsureConsumer() | DeleteStream() | DeleteConsumer() | StepDown() | Evacuate() | RemoveServer():
            await _queue(effect, view)
        case Switchover():
            await _switchover(effect, view)
        case StartOperation():
            await _start(effect, namespace, client, store)
        case Discard():
            await client.delete(OPERATION, namespace, effect.name, uid=effect.uid)
        case DeletePod():
            await client.delete(POD, namespace, effect.name, uid=effect.uid)
            _log.info("a pod is made anew", extra={"pod": effect.name})
        case TellPod():
            await _tell(effect, namespace, client, store)
        case Scale():
            body = {"metadata": {"resourceVersion": effect.version}, "spec": {"replicas": effect.replicas}}
            store.put(await client.merge(ALL_KINDS[effect.kind], namespace, effect.name, body))
            _log.info("a workload is scaled", extra={"kind": effect.kind, "workload": effect.name, "replicas": effect.replicas})
        case Apply():
            await applier.apply(client, store, effect.manifest)
        case RestartPostgres():
            await _restart(effect, view)
        case Reclone():
            await reclone(effect, *_rest_api(view.child(SECRET, database_names.role_secret(view.owner.name, "patroni"))))
        case ReplaceVolume():
            await replace_volume(effect, namespace, client)
        case WorkOnLetters():
            return await work_on_letters(effect, view)
        case EnableWebhook():
            return await enable_webhook(effect, view)
    return None


async def _tell(effect: TellPod, namespace: str, client: Client, store: Store) -> None:
    try:
        body = {"metadata": {"uid": effect.uid, "annotations": {effect.key: effect.value}}}
        store.put(await client.merge(POD, namespace, effect.name, body))
    except ApiError as error:
        if not (error.conflict or error.not_found):  # it is gone, or another one by now
            raise


async def _start(effect: StartOperation, namespace: str, client: Client, store: Store) -> None:
    name = effect.manifest["metadata"]["name"]
    try:
        store.put(await client.create(OPERATION, effect.manifest))
    except ApiError as error:
        if error.conflict:
            return  # made before a crash, or by another leader
        if error.invalid:
            raise Refused("Rejected", f"The API server refused Operation {name!r}: {error.message}") from error
        raise
    _log.info("an Operation is begun", extra={"operation": name, "why": effect.manifest["spec"].get("reason")})


async def _grow(effect: GrowVolume, namespace: str, client: Client, store: Store) -> None:
    try:
        patch = {"spec": {"resources": {"requests": {"storage": effect.size}}}}
        store.put(await client.merge(VOLUME_CLAIM, namespace, effect.claim, patch))
    except ApiError as error:
        if error.invalid:
            raise Refused(
                "VolumeCannotGrow",
                f"Volume {effect.claim!r} can not grow to {effect.size}: {error.message}. Use a StorageClass with allowVolumeExpansion, or "
                "create a new object with larger volumes and move the data.",
            ) from error
        raise


async def _queue(effect: QueueEffect, view: View) -> None:
    what = _described(effect)
    login = queue_login(view, queue_names.SYSTEM if jetstream.of_servers(effect) else queue_names.ADMIN)
    pod = next((pod for pod in view.all(POD, queue_names.COMPONENT) if is_ready(pod)), None)
    if login is None or pod is None:
        raise Waiting("ServersNotReady", "no server is ready", 2.0)
    try:
        async with jetstream.connect(pod["status"]["podIP"], queue_names.CLIENT_PORT, **login) as connection:
            await jetstream.bring_about(connection, effect)
    except JetStreamError as error:
        if isinstance(effect, EnsureStream | EnsureConsumer):
            raise Refused(
                "StreamRefused",
                f"JetStream refused {what}: {error}. Change it in the spec, or the storage that it needs; what else is declared is kept.",
            ) from error
        raise Waiting("JetStreamRefused", f"JetStream refused for now: {what}: {error}", 5.0) from error
    except Unreachable as error:
        raise Waiting("JetStreamNotReady", f"JetStream did not answer: {what}: {error!r}", 2.0) from error
    _log.info("JetStream did what it was asked", extra={"what": what})


def _described(effect: QueueEffect) -> str:
    match effect:
        case EnsureStream():
            return f"stream {effect.config['name']}"
        case EnsureConsumer():
            return f"consumer {effect.config['name']} of stream {effect.stream}"
        case DeleteStream():
            return f"the end of stream {effect.name}"
        case DeleteConsumer():
            return f"the end of consumer {effect.name} of stream {effect.stream}"
        case StepDown():
            what = f"stream {effect.stream}" if effect.stream else "the metadata"
            return f"{effect.to} as leader of {f'consumer {effect.consumer} of {what}' if effect.consumer else what}"
        case Evacuate():
            return f"the move of stream {effect.stream} away from {effect.server}"
        case RemoveServer():
            return f"the removal of {effect.server}"


async def _switchover(effect: Switchover, view: View) -> None:
    owner = (DATABASE_REPLICA.name, effect.database)
    secret = view.other_children.get(owner, {}).get(("Secret", database_names.role_secret(effect.database, "patroni")))
    username, password = _rest_api(secret)
    with monitor.answered("the primary's agent"):
        status, text = await monitor.switch_over(
            effect.leader_ip, database_names.AGENT_PORT, leader=effect.leader, candidate=effect.candidate,
            patient=effect.patient, username=username, password=password,
        )  # fmt: skip
    _log.info("asked the primary's agent to switch over", extra={"status": status, "answer": text})
    if status == 404:  # an agent of an older image, as members are rolled after the operator was: it has no such path
        with monitor.answered("Patroni"):
            status, text = await monitor.patroni_switch_over(
                effect.leader_ip, database_names.PATRONI_PORT, leader=effect.leader, candidate=effect.candidate,
                username=username, password=password,
            )  # fmt: skip
        _log.info("its agent does not know how, so Patroni was asked", extra={"status": status, "answer": text})
    if status != 200:
        raise Waiting(NOT_SWITCHED_OVER, text, 1.0)


def _rest_api(secret: Manifest | None) -> tuple[str, str]:
    username, password = secret_text(secret, "username"), secret_text(secret, "password")
    if username is None or password is None:
        raise Waiting("NoCredentials", "the secret of Patroni's REST API is not there", 1.0)
    return username, password


async def _restart(effect: RestartPostgres, view: View) -> None:
    username, password = _rest_api(view.child(SECRET, database_names.role_secret(view.owner.name, "patroni")))
    with monitor.answered("Patroni"):
        status, text = await monitor.patroni_restart(effect.ip, database_names.PATRONI_PORT, username=username, password=password)
    _log.info("asked Patroni to restart PostgreSQL", extra={"pod": effect.name, "status": status, "answer": text})
