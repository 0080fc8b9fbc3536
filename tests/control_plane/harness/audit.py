"""The API server's audit log: who wrote what, in order.

The log backend is blocking (the API server's default), so a write is in the file before its caller has the answer: reading it
after the fact needs no waiting. A server-side apply is a `patch` that answered 201 when it created the object and 200 otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts:baas-system"]
- level: None
"""

_LONGEST_LINE = 1 << 20
"""Bytes. Nothing but metadata is in a line."""

WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Call:
    """One request of an operator."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    status: int

    @property
    def creates(self) -> bool:
        """Whether an object was made by it."""
        return self.status == 201 and self.verb in WRITE_VERBS

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.namespace}/{self.name} -> {self.status}"


class AuditLog:
    """What the operators asked of the API server; `mark` is a place in the log to read on from."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> int:
        """The end of the log as it is now: after its last whole line, as one may be in the writing."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as log:
            start = max(0, log.seek(0, SEEK_END) - _LONGEST_LINE)
            log.seek(start)
            return start + log.read().rfind(b"\n") + 1

    def calls(self, since: int = 0, user: str = "") -> list[Call]:
        """Requests after `since`; `user` is the last part of a ServiceAccount's name, empty for all of them."""
        with self._path.open("rb") as log:
            log.seek(since)
            whole = log.read().rpartition(b"\n")[0]
        found = [_call(line) for line in whole.splitlines()]
        return [call for call in found if not user or call.user.endswith(f":{user}")]

    def writes(self, since: int = 0, user: str = "", *, namespace: str = "", about: str = "") -> list[Call]:
        """Writes that the API server took, without those of the Lease; `about` is how the names of the objects begin."""
        return [
            call
            for call in self.calls(since, user)
            if call.verb in WRITE_VERBS
            and call.status < 400
            and call.resource != "leases"
            and (not namespace or call.namespace == namespace)
            and call.name.startswith(about)
        ]


def _call(line: bytes) -> Call:
    event = json.loads(line)
    what = event.get("objectRef", {})
    resource = what.get("resource", event["requestURI"])
    return Call(
        user=event["user"]["username"],
        verb=event["verb"],
        resource=resource + (f"/{what['subresource']}" if what.get("subresource") else ""),
        namespace=what.get("namespace", ""),
        name=what.get("name", ""),
        status=event.get("responseStatus", {}).get("code", 0),
    )
