"""Users of an EventQueue: in which account each is, and what it may do there, as the servers' configuration says it.

NATS has no rights but those to publish to subjects and to subscribe to them; JetStream's requests are subjects, too (NATS documentation,
"JetStream wire API Reference"). So a user has the requests that it needs, each for just the streams that it needs them for, and nothing
that has a wildcard where a stream's name stands.

What NATS can not tell apart: who may make a consumer of a stream may have it deliver that stream's messages to any subject of the account.
Users of key-value and object stores need that to watch and read. It gives them no request of JetStream's API, but they can publish what
is in their own store wherever they like (tests/jetstream/users). The same is true of replies: who publishes to a stream may name any
subject for the acknowledgement, and who reads from a consumer may have messages come to any.

Who may make a consumer may also change one of the same stream, whatever it is called: a request of the oldest form
(`CONSUMER.CREATE.STREAM`) has the name in its body, where rights do not reach, and the server takes it for one that exists, a durable
one, too (measured on 2.15.2: it was a short-lived one then). That form can not be denied: NATS' servers make the consumers of mirrors
with it, and nats-py those of a subscription without a name. So what `app` is denied of declared consumers is what clients and people do,
by intention or mistake, and no wall against whoever forges requests with its password.

Nor may anybody be let answer just what it was asked (`allow_responses`): who asks says where the answer goes, and a user that asks itself
may then publish there, JetStream's API included (measured on 2.15.2: it deleted a stream). So who listens may publish to inboxes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import QueueUser, Retention, Stream
from baas_operator.desired.queue import names
from baas_operator.desired.queue.dead_letters import (
    ADVISORIES,
    ADVISORIES_CONSUMER,
    ADVISORY_SUBJECTS,
    dead_letter_stream,
    dead_letters_of,
    letters_of,
)
from baas_operator.desired.queue.programs import ProgramUser
from baas_operator.desired.queue.remotes import copier_rights, domain, link_accounts, link_imports, links
from baas_operator.desired.queue.streams import overlaps
from baas_operator.desired.text import render

OWN_SUBJECTS = "_BAAS.>"
"""Dead letters and what the dispatcher keeps."""

_ADMINISTRATION = (
    "STREAM.CREATE.>", "STREAM.UPDATE.>", "STREAM.DELETE.>", "STREAM.RESTORE.>", "STREAM.PEER.>", "STREAM.LEADER.>",
    "CONSUMER.LEADER.>", "CONSUMER.PEER.>", "ACCOUNT.>",
)  # fmt: skip
"""Requests of an application's account that change streams as such, or who leads them (nats-server 2.14.10, jetstream_api.go). Those of
`ACCOUNT` move copies from server to server, and an account may ask it of its own."""


_CHANGES = ("CREATE.{}", "CREATE.{}.>", "DURABLE.CREATE.{}", "DELETE.{}", "PAUSE.{}", "UNPIN.{}", "RESET.{}")
"""Requests that change a consumer, `CONSUMER.` before each; `{}` is STREAM.CONSUMER (nats-server 2.14.10, jetstream_api.go). Who reads from
one that is there asks for none of them: clients look first whether it is (`INFO`), or are told that it is (`bind`)."""


@dataclass(frozen=True)
class Login:
    """A name and the password that counts for it now."""

    username: str
    password: str


@dataclass(frozen=True)
class Rights:
    """What a user may do. An empty `publish` or `subscribe` is nothing; `None` is everything but what is in `deny…`."""

    publish: tuple[str, ...] | None = ()
    subscribe: tuple[str, ...] | None = ()
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()
    copies: bool = False
    """Whether another queue's servers may come in as it (remotes.py)."""


def _denied(*requests: str) -> list[str]:
    """In both forms: JetStream's API is also reached under the name of its domain, and the rights of who comes in as a leaf node count for
    the name that is used (measured on 2.15.2)."""
    return [subject for each in requests for subject in (f"$JS.API.{each}", f"$JS.*.API.{each}")]


def _api(*requests: str) -> list[str]:
    return [f"$JS.API.{each}" for each in requests]


def _acknowledgements(stream: str, consumer: str) -> list[str]:
    """Both forms, each with just as many tokens as it has: with `>` at the end, the second would also match acknowledgements of the first
    form for a stream of another name (nats-server 2.14.10, feature_flags.go)."""
    return [f"$JS.ACK.{stream}.{consumer}.*.*.*.*.*", f"$JS.ACK.*.*.{stream}.{consumer}.*.*.*.*.*"]


def _flow_control(stream: str) -> list[str]:
    """As above, for push consumers that watchers make."""
    return [f"$JS.FC.{stream}.*.*", f"$JS.FC.*.*.{stream}.*.*"]


def _reads(stream: Stream, only: Collection[str]) -> list[str]:
    """Requests of who reads from the declared consumers of a stream, or from `only` some."""
    made = _api(f"STREAM.INFO.{stream.name}")
    for each in stream.consumers:
        if only and each.name not in only:
            continue
        made += _reads_by(stream.name, each.name)
    return made


def _reads_by(stream: str, consumer: str) -> list[str]:
    return [*_api(f"CONSUMER.INFO.{stream}.{consumer}", f"CONSUMER.MSG.NEXT.{stream}.{consumer}"), *_acknowledgements(stream, consumer)]


def _store(stream: str) -> list[str]:
    """Requests of who reads a key-value or object store as clients do: the last message of a subject, and consumers for watching."""
    return [
        *_api(
            f"STREAM.INFO.{stream}", f"STREAM.MSG.GET.{stream}", f"DIRECT.GET.{stream}", f"DIRECT.GET.{stream}.>",
            f"CONSUMER.CREATE.{stream}", f"CONSUMER.CREATE.{stream}.>", f"CONSUMER.INFO.{stream}.*", f"CONSUMER.DELETE.{stream}.*",
        ),
        *_flow_control(stream),
    ]  # fmt: skip


def _named(subjects: Iterable[str]) -> list[str]:
    """Subjects that begin with a word. With a wildcard there they would match JetStream's requests as well; the API server refuses them."""
    return [each for each in subjects if each.split(".")[0] not in ("*", ">") and not each.startswith(("$", "_"))]


def declared_rights(spec: EventQueueSpec, user: QueueUser, *, domain: str = "") -> Rights:
    """What a declared user may do. `domain`: the queue's."""
    publish = _named(user.publish)
    streams = {each.name: each for each in spec.streams}
    for name in user.consume:
        publish += _reads(streams[name], user.consumers) if name in streams else []
    for stream, consumer in user.keeps if isinstance(user, ProgramUser) else []:
        publish += [*_api(f"STREAM.INFO.{stream}"), *_reads_by(stream, consumer)]
    for name in user.key_values:
        publish += [f"$KV.{name}.>", *_store(f"KV_{name}")]
    for name in user.object_stores:
        # What was deleted or replaced is purged. Names of streams: nats-py looks up which one the pieces of an object are in.
        publish += [f"$O.{name}.C.>", f"$O.{name}.M.>", *_store(f"OBJ_{name}"), *_api(f"STREAM.PURGE.OBJ_{name}", "STREAM.NAMES")]
    listens = _named(user.subscribe)
    publish += _answers(spec, user, listens)
    copied: dict[str, list[str]] = {"publish": [], "subscribe": []}
    if user.copies:
        copied = copier_rights(user.name, domain, [each for each in user.copies if each in streams])
    return Rights(
        publish=tuple(dict.fromkeys([*publish, *copied["publish"]])),
        subscribe=(*listens, f"{names.inbox(user.name)}.>" if user.private_inbox else "_INBOX.>", *copied["subscribe"]),
        copies=bool(user.copies),
    )


def _answers(spec: EventQueueSpec, user: QueueUser, listens: Iterable[str]) -> list[str]:
    """Inboxes that a user may answer to: the common ones, and the private ones of users that may ask it."""
    heard = list(listens)
    if not heard:
        return []
    asking = [
        each.name for each in spec.users
        if each.private_inbox and each.name != user.name and any(overlaps(one, other) for one in _named(each.publish) for other in heard)
    ]  # fmt: skip
    return ["_INBOX.>", *(f"{names.inbox(each)}.>" for each in asking)]


def _app(spec: EventQueueSpec, linked: Iterable[str]) -> Rights:
    """Everything but changing streams and declared consumers, asking other queues as who copies from them, and pretending to be JetStream
    or the dispatcher."""
    purge = ["STREAM.PURGE.>"]
    if spec.object_stores:  # their clients purge what was deleted, and a right that is denied can be given back to nobody
        kept = [each.name for each in spec.streams] + [f"KV_{each.name}" for each in spec.key_values]
        kept += [ADVISORIES, *map(dead_letter_stream, dead_letters_of(spec))]
        purge = [f"STREAM.PURGE.{each}" for each in kept]
    ours = [f"{names.inbox(each)}.>" for each in (names.ADMIN, names.AGENT, names.DISPATCHER)]
    private = [f"{names.inbox(each.name)}.>" for each in spec.users if each.private_inbox]
    return Rights(
        publish=None,
        subscribe=None,
        deny_publish=(
            *_denied(*_ADMINISTRATION, *purge),
            *_kept_from_app(spec),
            "$JS.EVENT.>",
            "$JS.COPY.>",
            *(f"$JS.{each}.API.>" for each in linked),
            OWN_SUBJECTS,
            *ours,
        ),
        deny_subscribe=(*ours, *private),
        copies=True,
    )


def _kept_from_app(spec: EventQueueSpec) -> list[str]:
    """What would delete or change a declared consumer, or one of the dispatchers', which would deliver a whole stream again, or leave
    something out; and what would take messages from those of the dispatchers."""
    dispatchers = [(each.stream, names.webhook_consumer(each.name)) for each in spec.webhooks]
    if any(each.dead_letter for each in spec.streams):
        dispatchers.append((ADVISORIES, ADVISORIES_CONSUMER))
    declared = [(stream.name, each.name) for stream in spec.streams for each in stream.consumers]
    made = [one for pair in [*declared, *dispatchers] for one in _denied(*(f"CONSUMER.{each.format('.'.join(pair))}" for each in _CHANGES))]
    for stream, consumer in dispatchers:
        made += [*_denied(f"CONSUMER.MSG.NEXT.{stream}.{consumer}"), *_acknowledgements(stream, consumer)]
    return made


def _dispatcher(spec: EventQueueSpec) -> Rights:
    """What its three tasks need, each for just the streams that it is for (dispatcher/, dead_letters/, outbox/)."""
    made = _notes()
    for each in spec.streams:  # a webhook that is gone may have left its consumer in any
        made += _api(f"CONSUMER.INFO.{each.name}.*", f"CONSUMER.DELETE.{each.name}.*")
    for name in {each.stream: None for each in spec.webhooks}:
        made += _api(
            f"CONSUMER.CREATE.{name}.*", f"CONSUMER.INFO.{name}.*", f"CONSUMER.MSG.NEXT.{name}.*", f"STREAM.MSG.GET.{name}",
        ) + _acknowledgements(name, "*")  # fmt: skip
    for name in dead_letters_of(spec):
        letters = dead_letter_stream(name)
        made += [letters_of(name), *_api(f"STREAM.INFO.{letters}", f"STREAM.MSG.GET.{letters}", f"DIRECT.GET.{letters}")]
    buried = [each for each in spec.streams if each.dead_letter]
    for each in buried:
        made += _api(f"STREAM.INFO.{each.name}", f"STREAM.MSG.GET.{each.name}", f"CONSUMER.LIST.{each.name}")
        if each.retention is Retention.WORKQUEUE:
            made += _api(f"STREAM.MSG.DELETE.{each.name}")
        elif each.retention is Retention.INTEREST:
            made += _acknowledgements(each.name, "*")
    if buried:
        made += [
            *_api(*(f"CONSUMER.{each}.{ADVISORIES}.{ADVISORIES_CONSUMER}" for each in ("CREATE", "INFO", "MSG.NEXT"))),
            *_acknowledgements(ADVISORIES, ADVISORIES_CONSUMER),
        ]
    subjects = {each.name: each.subjects for each in spec.streams}
    for name in {each.stream: None for each in spec.outboxes}:
        made += [*_named(subjects.get(name, [])), *_api(f"STREAM.INFO.{name}", f"STREAM.MSG.GET.{name}")]
    return Rights(publish=tuple(dict.fromkeys(made)), subscribe=(*ADVISORY_SUBJECTS, f"{names.inbox(names.DISPATCHER)}.>"))


def _notes() -> list[str]:
    """What dispatchers note of endpoints together: they make the store themselves, so that they need nobody for it."""
    stream = f"KV_{names.WEBHOOKS_BUCKET}"
    return [
        f"$KV.{names.WEBHOOKS_BUCKET}.>",
        *_api(
            f"STREAM.CREATE.{stream}", f"STREAM.INFO.{stream}", f"STREAM.MSG.GET.{stream}", f"DIRECT.GET.{stream}",
            f"DIRECT.GET.{stream}.>",
        ),
    ]  # fmt: skip


def _agent() -> Rights:
    return Rights(
        publish=tuple(_api("STREAM.LEADER.STEPDOWN.*", "CONSUMER.LEADER.STEPDOWN.*.*")), subscribe=(f"{names.inbox(names.AGENT)}.>",)
    )


def _agent_system() -> Rights:
    server = "$SYS.REQ.SERVER.*"
    return Rights(
        publish=(*(f"{server}.{each}" for each in ("RELOAD", "JSZ", "VARZ", "CONNZ", "KICK")), "$JS.API.META.LEADER.STEPDOWN"),
        subscribe=(f"{names.inbox(names.AGENT_SYSTEM)}.>",),
    )


EVERYTHING = Rights(publish=None, subscribe=None)


def rights(spec: EventQueueSpec, *, domain: str = "", linked: Iterable[str] = ()) -> dict[str, dict[str, Rights]]:
    """Account -> user -> what it may do. `domain`: the queue's; `linked`: those of queues that are copied from."""
    return {
        "SYS": {names.SYSTEM: EVERYTHING, names.AGENT_SYSTEM: _agent_system()},
        names.APPLICATION_ACCOUNT: {
            names.ADMIN: EVERYTHING,
            names.APP: _app(spec, linked),
            names.AGENT: _agent(),
            names.DISPATCHER: _dispatcher(spec),
            **{each.name: declared_rights(spec, each, domain=domain) for each in spec.users},
        },
    }


def _permissions(given: Rights) -> dict[str, object] | None:
    """As NATS' configuration has them. One who may publish nothing is denied everything: an empty list would mean no limit."""
    if given == EVERYTHING:
        return None

    def side(allow: tuple[str, ...] | None, deny: tuple[str, ...]) -> dict[str, list[str]]:
        if allow is None:
            return {"deny": list(deny)}
        return {"allow": list(allow)} | ({"deny": list(deny)} if deny else {}) if allow else {"deny": [">"]}

    return {"publish": side(given.publish, given.deny_publish), "subscribe": side(given.subscribe, given.deny_subscribe)}


def accounts(
    spec: EventQueueSpec, logins: Mapping[str, tuple[Login, ...]], *, limits: Mapping[str, int], namespace: str = "", queue: str = ""
) -> str:
    """`accounts.conf`. `logins`: user -> the names and passwords that count; `limits`: JetStream's for the application's account."""
    found = links(spec, namespace)
    made = {
        account: [
            {"user": login.username, "password": login.password, "allowed_connection_types": _connections(given)}
            | ({"permissions": said} if (said := _permissions(given)) else {})
            for user, given in users.items()
            for login in logins[user]
        ]
        for account, users in rights(spec, domain=domain(namespace, queue), linked=[each.domain for each in found]).items()
    }
    return render(
        "nats_accounts.conf.j2", system=made["SYS"], app=made[names.APPLICATION_ACCOUNT], limits=limits,
        links=link_accounts(found, namespace, queue), imports=link_imports(found, namespace, queue),
    )  # fmt: skip


def _connections(given: Rights) -> list[str]:
    """How a user may come in: a client's password is of no use to a server that would copy all that its account hears of."""
    return ["STANDARD", *(["LEAFNODE"] if given.copies else [])]
