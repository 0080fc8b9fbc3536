"""Where an outbox's rows come from: the primary of a DatabaseReplica, as a role that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.webhooks import Outbox
from baas_operator.desired.database import names
from baas_operator.desired.database.declared import login_roles


@dataclass(frozen=True)
class Origin:
    """`host` is the primary's Service: a pooler would not do, as an advisory lock and LISTEN belong to a session. `secret` has the role's
    `password`; `ca` is the ConfigMap with the authority's `ca.crt`."""

    host: str
    port: int
    database: str
    user: str
    secret: str
    ca: str


def origin_of(outbox: Outbox, namespace: str, databases: Mapping[str, DatabaseReplicaSpec] | None) -> Origin | str:
    """Where its rows come from, or the sentence why it can not run. `databases`: those of the namespace by name; None where that is not
    known, and everything is taken to be as it has to be."""
    name = outbox.database_ref.name
    if databases is None:
        user = outbox.role or outbox.database
    elif (spec := databases.get(name)) is None:
        return f"There is no DatabaseReplica {name} in {namespace}: make it, or correct databaseRef."
    else:
        owners = names.database_owners(spec)
        if outbox.database not in owners:
            return f"DatabaseReplica {name} declares no database {outbox.database}: add it to its databases, or correct the outbox."
        user = outbox.role or owners[outbox.database]
        if user not in login_roles(spec):
            return f"DatabaseReplica {name} declares no role {user} that logs in: add it to its roles, or correct the outbox."
    return Origin(
        f"{names.rw_service(name)}.{namespace}.svc", names.POSTGRES_PORT, outbox.database, user, names.role_secret(name, user),
        names.ca(name),
    )  # fmt: skip
