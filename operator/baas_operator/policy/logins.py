"""Passwords of an EventQueue's users, and what signs its webhooks: which count now, and when one is to be another.

NATS knows one password a name, and a client that asks for anything but that is turned away. So a user has two names that take turns, and a
rotation has two steps, both of which are one write to the user's Secret:

1. The next password is drawn beside the one that counts (`next`). The servers learn the other name with it.
2. When every server has surely learnt it, and so not while they are rolled, it becomes the Secret's `username` and `password`. The ones
   before still count for a day, so that a client may read the Secret when it likes.

A webhook's signing secret has no name, and who verifies takes any of several. So its rotation is to draw another, with which the one
before signs as well for the time of the overlap, and then to drop that one.

It is decided from what the Secret says, so a crash between any two steps is taken up where it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from baas_operator.api.kinds import SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.users import Login
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, NEXT, OVERLAP_ANNOTATION, PREPARED_ANNOTATION, PREVIOUS, SecretRequest
from baas_operator.observe.moments import read_time
from baas_operator.observe.view import View, secret_text

LEARN_SECONDS = 180.0
"""A kubelet brings what a pod mounts within its sync period of a minute plus as much for its cache (Kubernetes documentation, "Secrets");
then the agent beside the server has it loaded within seconds."""


def _annotation(live: Manifest, key: str) -> str | None:
    found: str | None = (live["metadata"].get("annotations") or {}).get(key)
    return found


def _overlaps(view: View, live: Manifest) -> bool:
    """Whether the password before still counts. A hand that wrote no time ended it."""
    until = read_time(_annotation(live, OVERLAP_ANNOTATION))
    return until is not None and view.now < until


def _logins_of(view: View, user: str, live: Manifest | None) -> tuple[Login, ...]:
    password = secret_text(live, "password")
    if live is None or password is None:
        return ()
    username = secret_text(live, "username")
    if username not in (user, names.other_slot(user)):
        username = user  # a hand made it something else, which would be somebody else's name
    other = names.other_slot(username)
    # The next one takes the name of the one before, so it is drawn only once that is over.
    second = secret_text(live, NEXT) or (secret_text(live, PREVIOUS) if _overlaps(view, live) else None)
    return (Login(username, password), *((Login(other, second),) if second else ()))


def logins(view: View, users: Iterable[str]) -> dict[str, tuple[Login, ...]]:
    """User -> the names and passwords that count now, of all users or of none: the servers' configuration needs them all."""
    made = {user: _logins_of(view, user, view.child(SECRET, names.user_secret(view.owner.name, user))) for user in users}
    return made if all(made.values()) else {}


def with_due_slots(view: View, requests: Iterable[SecretRequest], *, rolls: bool = False) -> tuple[SecretRequest, ...]:
    """The requests; those whose next step is due say which version of the Secret. `rolls`: a server may not be able to load a new password
    before it is made anew."""
    return tuple(_judged(view, each, rolls=rolls) if each.alternate or each.recipe == "webhook" else each for each in requests)


def _judged(view: View, request: SecretRequest, *, rolls: bool) -> SecretRequest:
    live = view.child(SECRET, request.name)
    if live is None or live.get("immutable"):
        return request
    if request.recipe == "webhook" and _annotation(live, OVERLAP_ANNOTATION) is not None:
        due = not _overlaps(view, live)
    elif secret_text(live, NEXT) is not None:
        prepared = read_time(_annotation(live, PREPARED_ANNOTATION))
        due = not rolls and (prepared is None or view.now >= prepared + timedelta(seconds=LEARN_SECONDS))
    else:
        end = read_time(_annotation(live, EXPIRES_ANNOTATION))
        due = end is not None and view.now >= end and not _overlaps(view, live)
    return replace(request, replaces=live["metadata"]["resourceVersion"]) if due else request
