"""Streams that are copied from another queue: how the servers of the two are linked, and what each lets the other do.

Clusters are not merged. The servers that copy dial those of the other queue as leaf nodes (NATS documentation, "JetStream on Leaf Nodes"),
and JetStream's API of the other queue is reached under the name of its domain: `$JS.DOMAIN.API`. The link ends in an account of its own,
which has no streams; the application's account takes three things from it, and nothing else crosses: requests to that API, flow control,
and the copies themselves, which come to `$JS.COPY.USER.OUR-DOMAIN`. The user is the one that is dialled as: what others copy there comes
to other subjects, so each can be let hear its own alone. Were the link bound to the application's account, a message published here
on a subject that a stream there listens on would be taken there as well (measured on 2.15.2).

Servers take links and their passwords in while they run (nats-server 2.14.10, reload.go, `getLeafNodeOptionsChanges`). All listen for the
servers of other queues from the beginning, as that alone can not come later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import OtherQueue
from baas_operator.desired.meta import checksum
from baas_operator.desired.queue import names
from baas_operator.desired.text import render

_WORD = re.compile("[A-Za-z0-9_-]+")


def domain(namespace: str, queue: str) -> str:
    """JetStream domain of an EventQueue: the one name by which leaf nodes tell queues apart. Neither part has a `_` in it, so no two queues
    have the same."""
    return f"{namespace}_{queue}"


def delivery(user: str, namespace: str, queue: str) -> str:
    """Prefix of the subjects on which copies come to a queue that dials as this user, which other queues may dial as, too."""
    return f"$JS.COPY.{user}.{domain(namespace, queue)}"


def domain_of(other: OtherQueue, namespace: str) -> str:
    """Domain of a queue that is copied from. `namespace`: that of the queue that copies."""
    return other.domain or domain(other.namespace or namespace, other.name or "")


def within_cluster(other: OtherQueue, namespace: str) -> tuple[str, str] | None:
    """Namespace and name of an EventQueue of this cluster; None where the address leads elsewhere, as far as it tells. `namespace`: that of
    the queue that copies."""
    if other.url is None:
        return other.namespace or namespace, other.name or ""
    there, _, name = (other.domain or "").partition("_")
    address = other.url.partition("://")[2].partition(":")[0]
    service = f"{name}.{there}.svc"
    return (there, name) if address in (service, service.removesuffix(".svc"), f"{service}.cluster.local") else None


def external(other: OtherQueue, queue: str, namespace: str, dials: Mapping[str, str]) -> dict[str, str]:
    """`external` of a mirror or source. `dials`: domain -> the user that is dialled as; where it is not known, it is left out to where
    copies come."""
    made = domain_of(other, namespace)
    user = dials.get(made)
    return {"api": f"$JS.{made}.API"} | ({"deliver": delivery(user, namespace, queue)} if user else {})


@dataclass(frozen=True)
class Link:
    """A queue that is copied from. `url` has no credentials in it; `secret`: the Secret in our namespace that has them, which is that of
    the user `app` for a queue beside this one."""

    domain: str
    url: str
    secret: str
    streams: tuple[str, ...] = ()
    """Streams there that are copied."""

    @property
    def account(self) -> str:
        """Account that the link ends in."""
        return f"LINK_{checksum(self.domain, self.url, self.secret)[:8]}"

    @property
    def ca_file(self) -> str:
        """File of the servers' configuration with the certificate of the authority there."""
        return f"{self.account}.crt"


def links(spec: EventQueueSpec, namespace: str) -> list[Link]:
    """The queues that streams are copied from, each once."""
    found: dict[str, Link] = {}
    for copy in (each for stream in spec.streams for each in [*([stream.mirror] if stream.mirror else []), *stream.sources]):
        if (other := copy.queue) is None:
            continue
        url = other.url or f"tls://{names.host(other.name or '', other.namespace or namespace)}:{names.LEAF_PORT}"
        secret = other.credentials.name if other.credentials else names.user_secret(other.name or "", names.APP)
        link = Link(domain_of(other, namespace), url, secret)
        before = found.get(link.account, link).streams
        found[link.account] = replace(link, streams=tuple(sorted({*before, copy.stream})))
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True)
class Credentials:
    """Who a link dials as. `ca`: certificate of the authority there (PEM); without it the servers take any that the system trusts."""

    username: str
    password: str
    ca: str | None = None

    @property
    def user(self) -> str:
        """The user, whichever of its two names it has now, as a word of a subject."""
        name = self.username.removesuffix(names.SLOT_SUFFIX)
        return name if _WORD.fullmatch(name) else checksum(name)[:8]


def credentials(link: Link, key: Callable[[str], str | None]) -> Credentials | None:
    """What a Secret, of which `key` gives the values, has for a link; None where it is of no use.

    Whoever may write an EventQueue may name any Secret of its namespace, and the address that it is sent to. So the Secret itself has to
    say who may be told the password: who has a certificate of its own `ca.crt`, or who is at the very address that it names as `url`. A
    password that somebody else keeps there, of a database or a repository, goes nowhere but to where it belongs."""
    username, password, ca = key("username"), key("password"), key("ca.crt")
    if not username or not password or not (ca or key("url") == link.url):
        return None
    return Credentials(username, password, ca)


def leafnodes(found: Mapping[Link, Credentials]) -> str:
    """`leafnodes { … }` of the servers' configuration, with passwords: a part of the Secret."""
    remotes = [
        {
            "url": _with_login(link.url, each),
            "account": link.account,
            "ca_file": f"{names.CONFIG_DIR}/{link.ca_file}" if each.ca else None,
        }
        for link, each in found.items()
    ]
    return render("nats_leafnodes.conf.j2", port=names.LEAF_PORT, tls=names.TLS_DIR, remotes=remotes)


def _with_login(url: str, login: Credentials) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(login.username, safe='')}:{quote(login.password, safe='')}@{rest}"


def _requests(link: Link) -> list[str]:
    """What is asked over a link. Flow control has the stream's name in it, and no domain: two queues can not be told apart by it, so one
    can not be copied from two streams of one name in different queues."""
    return [f"$JS.{link.domain}.API.>", *(f"$JS.FC.{each}.>" for each in link.streams)]


def link_accounts(found: list[Link], namespace: str, queue: str) -> dict[str, Any]:
    """Accounts of the links: name -> what NATS' configuration takes as JSON."""
    copies = {"stream": f"{delivery('*', namespace, queue)}.>"}
    return {each.account: {"exports": [*({"service": one} for one in _requests(each)), copies]} for each in found}


def link_imports(found: list[Link], namespace: str, queue: str) -> list[dict[str, Any]]:
    """What the application's account takes from those."""
    made: list[dict[str, Any]] = []
    for each in found:
        made += [{"service": {"account": each.account, "subject": one}} for one in _requests(each)]
        made.append({"stream": {"account": each.account, "subject": f"{delivery('*', namespace, queue)}.>"}})
    return made


def impossible(found: list[Link], own: str) -> str | None:
    """Why links can not be, as a sentence; None if they can. `own`: the domain of the queue that copies."""
    for each in found:
        if why := _no_address(each.url):
            return why
    if twin := next((each.domain for each in found if each.domain != own and cluster(each.domain) == cluster(own)), None):
        return (
            f"NATS lets no servers of {twin} and {own} speak with one another, as both clusters are called {cluster(own)} there: copy "
            "from, or to, a queue of another name."
        )
    if any(each.domain == own for each in found):
        return "A stream names this very queue as the one to copy from: leave `queue` out, as its own streams are meant then."
    domains = [each.domain for each in found]
    if twice := next((each for each in domains if domains.count(each) > 1), None):
        return f"Domain {twice} is reached by two addresses or as two users: give all copies from there the same `url` and `credentials`."
    streams = [name for each in found for name in each.streams]
    if name := next((each for each in streams if streams.count(each) > 1), None):
        return f"Streams called {name} would be copied from two queues, and NATS can not tell their flow control apart: rename one there."
    return None


def cluster(domain: str) -> str:
    """The name of the NATS cluster of an EventQueue. Two may have the same one, and then no link comes to be ("remote leafnode has same
    cluster name", measured on 2.15.2); a queue that is there can get no other, as its servers would be two clusters meanwhile."""
    return domain.replace("_", "-", 1)


def _no_address(url: str) -> str | None:
    """Servers take nothing of a configuration that has an address that is none, and would not even start with it. One without TLS was
    stored before the API server refused it."""
    if not url.startswith("tls://"):
        return f"The password for {url} would cross the network in clear: give an address that begins with tls://."
    try:
        parts = urlsplit(url)  # which reads an address in brackets
        _ = parts.port
    except ValueError as error:
        return f"{url} is no address of a NATS server: {error}."
    return None


def copier_rights(user: str, domain: str, streams: list[str]) -> dict[str, list[str]]:
    """Rights at the queue that is copied *from*, of this domain, that a user needs who copies these streams: `publish` and `subscribe`
    subjects. What comes to other users is not for it."""
    api = f"$JS.{domain}.API.CONSUMER"
    publish = [f"{api}.{verb}" for name in streams for verb in (f"CREATE.{name}", f"CREATE.{name}.>")]
    return {"publish": [*publish, *(f"$JS.FC.{name}.>" for name in streams)], "subscribe": [f"$JS.COPY.{user}.>", "_R_.>", "_GR_.>"]}
