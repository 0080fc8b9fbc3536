"""What is declared inside PostgreSQL: the Job that makes it so, and the Secrets of its roles.

Passwords are in no manifest. The Job's name depends on them through `digest`, so that one that is drawn anew, or written by hand, is set
in PostgreSQL; and the Job does nothing before it is given just these (a node may have an older version of a Secret).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.roles import RESERVED_ROLES, Database, Ensure, Role
from baas_operator.desired.database import names
from baas_operator.desired.database.monitoring import exporter_role
from baas_operator.desired.database.pooler import pooler_secret
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.pods import placed
from baas_operator.desired.secrets import SecretRequest, password
from baas_operator.desired.sql_job import REFUSED, SAID, build_sql_job
from baas_operator.desired.sql_job import digest as digest_of
from baas_operator.desired.text import render

AGAIN_SECONDS = 24 * 3600
"""A Job that is over is deleted after this time (Kubernetes' TTL-after-finished), and made anew: what was changed by hand meanwhile is put
right. A pod a day costs nothing; whoever can not wait deletes the Job."""
_NO_LIMIT = -1


def login_roles(spec: DatabaseReplicaSpec) -> list[str]:
    """Roles that have a password: owners of databases, and declared ones that log in."""
    declared = {each.name: each for each in spec.roles}
    owners = {owner for owner in names.database_owners(spec).values() if owner not in declared or declared[owner].login}
    return sorted(owners | {each.name for each in spec.roles if each.login and each.ensure is Ensure.PRESENT})


def role_secrets(spec: DatabaseReplicaSpec, owner: Owner) -> list[SecretRequest]:
    """A Secret for each of them. Its URI leads to the first database that the role owns, or may connect to."""
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    host = f"{names.rw_service(owner.name)}.{owner.namespace}.svc"
    pooler = f"{names.pooler_service(owner.name)}.{owner.namespace}.svc"
    at: dict[str, str] = {}
    for database, role in names.database_owners(spec).items():
        at.setdefault(role, database)
    for each in spec.roles:
        for database in [*each.databases, *(at[other] for other in (each.acts_as, *each.member_of) if other in at)]:
            at.setdefault(each.name, database)
    made = []
    for role in login_roles(spec):
        database = at.get(role, "postgres")
        made.append(
            password(
                owner, names.role_secret(owner.name, role), names.COMPONENT, role, owned=owned, rotates=True,
                host=host, port=str(names.POSTGRES_PORT), dbname=database,
                # Who came to a former primary, before its node had learnt where -rw leads now, would stay there if it only reads.
                uri=f"postgresql://{{username}}:{{password}}@{host}:{names.POSTGRES_PORT}/{database}"
                "?sslmode=require&target_session_attrs=primary",
                extra={
                    "pooler_host": pooler,
                    "pooler_uri": f"postgresql://{{username}}:{{password}}@{pooler}:{names.POSTGRES_PORT}/{database}?sslmode=require",
                } if spec.pooler.replicas else None,
            )
        )  # fmt: skip
    return made


def _files(spec: DatabaseReplicaSpec, owner: Owner) -> dict[str, SecretRequest]:
    """Folder in the Job's pod -> the Secret of a role."""
    made = {str(each.fixed["username"]).replace("_", "-"): each for each in role_secrets(spec, owner)}
    return made | ({names.POOLER: pooler_secret(owner, owned=True)} if spec.pooler.replicas else {})


def digest(spec: DatabaseReplicaSpec, owner: Owner, password_of: Callable[[str], str | None]) -> str:
    """The digest of all passwords that the Job sets. `password_of` tells the password in a Secret of that name."""
    superuser = password_of(names.role_secret(owner.name, names.SUPERUSER)) or ""
    return digest_of(superuser, (password_of(each.name) or "" for _, each in sorted(_files(spec, owner).items())))


def _role(spec: DatabaseReplicaSpec, name: str, declared: Role | None) -> dict[str, Any]:
    role = declared or Role(name=name)
    return {
        "name": name,
        "declared": declared is not None,
        "file": f"roles/{name.replace('_', '-')}/password" if name in login_roles(spec) else None,
        "login": role.login,
        "createdb": role.createdb,
        "inherit": role.inherit,
        "connection_limit": _NO_LIMIT if role.connection_limit is None else role.connection_limit,
        "valid_until": role.valid_until or "infinity",
        "acts_as": role.acts_as,
        "member_of": sorted({*role.member_of, *([role.acts_as] if role.acts_as else [])}),
    }


def _database(spec: DatabaseReplicaSpec, database: Database) -> dict[str, Any]:
    owner = database.owner or database.name
    roles = [each for each in spec.roles if each.ensure is Ensure.PRESENT and each.name != owner]
    return {
        "name": database.name,
        "file": f"database-{database.name}.sql" if database.schemas or database.extensions else None,
        "owner": owner,
        "connection_limit": _NO_LIMIT if database.connection_limit is None else database.connection_limit,
        "connect": sorted(each.name for each in roles if database.name in each.databases),
        "not_connect": sorted(each.name for each in roles if database.name not in each.databases),
        "schemas": [
            {"name": each.name, "owner": each.owner or owner, "absent": each.ensure is Ensure.ABSENT} for each in database.schemas
        ],
        "extensions": [
            {"name": each.name, "version": each.version, "schema": each.schema_, "absent": each.ensure is Ensure.ABSENT}
            for each in database.extensions
        ],
    }  # fmt: skip


def build_declared(spec: DatabaseReplicaSpec, owner: Owner, image: str, *, passwords: str) -> list[Manifest]:
    """The Job and its SQL; nothing where nothing is declared. `passwords` is their `digest`."""
    if not names.runs_sql(spec):
        return []
    declared = {each.name: each for each in spec.roles if each.ensure is Ensure.PRESENT}
    databases = [_database(spec, each) for each in sorted(spec.databases, key=lambda each: each.name)]
    inside = {each["file"]: render("database.sql.j2", database=each) for each in databases if each["file"]}
    if inside:
        inside["inside.sh"] = render("inside.sh.j2", refused=REFUSED, said=SAID)
    sql = render(
        "databases.sql.j2",
        refused=REFUSED,
        superuser=names.SUPERUSER,
        rewind=names.REWIND,
        pooler=names.POOLER if spec.pooler.replicas else None,
        exporter=exporter_role() if spec.monitoring.enabled else None,
        not_through_pooler=sorted(RESERVED_ROLES),
        roles=[_role(spec, name, declared.get(name)) for name in sorted({*names.database_owners(spec).values(), *declared})],
        databases=databases,
        absent_roles=sorted(each.name for each in spec.roles if each.ensure is Ensure.ABSENT),
    )
    return build_sql_job(
        owner, f"{owner.name}-databases", "databases", image=image, sql=sql, host=names.rw_service(owner.name),
        superuser_secret=names.role_secret(owner.name, names.SUPERUSER), roles=_files(spec, owner), passwords=passwords,
        again_seconds=AGAIN_SECONDS, more=inside, where=placed(spec.placement, spec.image_pull_secrets),
    )  # fmt: skip
