"""What is declared inside a DatabaseReplica's PostgreSQL: roles, databases, their extensions and schemas.

There is no `superuser` and no `createrole`: who has one of them can take every other password and switch durability off, and what the
operator does as superuser could be led astray by it (a role with CREATEROLE is an administrator of what it makes; PostgreSQL manual,
"Role Attributes"). There is no `replication` either: such a role can confirm commits in a standby's name, and Patroni drops
replication slots that it does not know.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import BY_NAME, ApiModel, SqlName, rule, rules

RESERVED_ROLES = ("postgres", "replicator", "rewind", "patroni", "pooler", "postgres_exporter")
"""Roles that the operator makes for itself."""
RESERVED_DATABASES = ("postgres", "template0", "template1")
NO_ROLES = ("public", "none")
"""Names that PostgreSQL takes for no role (its manual, GRANT and SET ROLE)."""

GRANTABLE_ROLES = (
    "pg_checkpoint", "pg_maintain", "pg_monitor", "pg_read_all_data", "pg_read_all_stats", "pg_stat_scan_tables", "pg_write_all_data",
)  # fmt: skip
"""Predefined roles that may be granted (PostgreSQL manual, "Predefined Roles"). Not those that lead out of the database, to files and
programs of the server: pg_execute_server_program, pg_read_server_files, pg_write_server_files. Nor pg_signal_backend: a commit that is
cancelled while it waits for a standby is answered as done."""

MAX_DATABASES = 100
MAX_ROLES = 100


def in_list(words: tuple[str, ...]) -> str:
    """A CEL list of these words."""
    return "[" + ", ".join(f"'{each}'" for each in words) + "]"


class Ensure(StrEnum):
    """Whether something is to be there."""

    PRESENT = "present"
    ABSENT = "absent"


ExtensionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=63)]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=63)]
ConnectionLimit = Annotated[int, Field(ge=0, le=100000)]
Schema = Annotated[
    SqlName,
    Field(
        json_schema_extra=rules(
            rule(
                "!self.startsWith('pg_') && !(self in ['information_schema', 'baas_operator', 'baas_probe'])",
                "a schema pg_* or information_schema is PostgreSQL's own, and baas_operator and baas_probe are the operator's: "
                "choose another name.",
            )
        )
    ),
]


class DeclaredExtension(ApiModel):
    """An extension of a database. It has to be in the members' image."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.name != 'plpgsql'", "plpgsql is in every database, and needed there: take it out of extensions."),
        )
    )

    name: ExtensionName
    """Name of the extension, such as `vector`."""
    ensure: Ensure = Ensure.PRESENT
    """`absent` drops it, unless something depends on it."""
    version: Version | None = None
    """Version that it is updated to; left out, it stays at the one that it was created with, the image's default."""
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    """Schema that holds its objects; left out, it stays where it was created: in `public`, mostly."""


class DeclaredSchema(ApiModel):
    """A schema of a database."""

    name: Schema
    """Name of the schema."""
    ensure: Ensure = Ensure.PRESENT
    """`absent` drops it, if it is empty."""
    owner: SqlName | None = None
    """Role that owns it; the database's owner when left out."""


class Database(ApiModel):
    """A database and the role that owns it."""

    name: SqlName
    """Name of the database."""
    owner: SqlName | None = None
    """Role that owns it; a role of the database's own name when left out. What is in the database keeps its own owners when this is
    changed."""
    connection_limit: ConnectionLimit | None = None
    """Most connections to it at a time; as many as the server has when left out."""
    schemas: Annotated[
        list[DeclaredSchema],
        Field(max_length=50, json_schema_extra=BY_NAME),
    ] = []
    """Schemas to create. One that is taken out of the list stays as it is."""
    extensions: Annotated[
        list[DeclaredExtension],
        Field(max_length=50, json_schema_extra=BY_NAME),
    ] = []
    """Extensions to create, in this order. One that is taken out of the list stays as it is."""


class Role(ApiModel):
    """A role. What it has beside the attributes below is left as it is."""

    name: SqlName
    """Name of the role."""
    ensure: Ensure = Ensure.PRESENT
    """`absent` drops it, if it owns nothing and has no privileges; until then it stays."""
    login: bool = True
    """Whether it can log in. If so, the Secret `NAME-role-ROLE` has its password and URI."""
    createdb: bool = False
    """Whether it may create databases."""
    inherit: bool = True
    """Whether it has the privileges of the roles that it is a member of without `SET ROLE`."""
    connection_limit: ConnectionLimit | None = None
    """Most connections of it at a time; as many as the server has when left out."""
    valid_until: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})] | None = None
    """When its password ends (RFC 3339); never when left out."""
    member_of: Annotated[list[SqlName], Field(max_length=10, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Roles that it is a member of, and of no others: declared ones, or predefined ones of PostgreSQL that lead to no files and programs
    of the server, such as `pg_read_all_data`."""
    acts_as: SqlName | None = None
    """Role that its sessions begin as (`SET ROLE`), and that it is a member of: what they create belongs to that one. Two such roles take
    turns where a password must change without anybody being turned away."""
    databases: Annotated[list[SqlName], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Declared databases that it may connect to; the owner of a database and its members may anyway."""


_OWNER = "(has(d.owner) ? d.owner : d.name)"

DATABASES_RULES = rules(
    rule(
        f"self.all(d, !(d.name in {in_list(RESERVED_DATABASES)}))",
        f"databases names one that PostgreSQL brings itself ({', '.join(RESERVED_DATABASES)}): choose another name.",
    ),
    rule(
        f"self.all(d, !({_OWNER} in {in_list(RESERVED_ROLES + NO_ROLES)}) && !{_OWNER}.startsWith('pg_'))",
        f"databases has an owner that is reserved ({', '.join(RESERVED_ROLES + NO_ROLES)}, pg_*; one that is left out is called "
        "like its database): choose another role.",
    ),
)
ROLES_RULES = rules(
    rule(
        f"self.all(r, !(r.name in {in_list(RESERVED_ROLES + NO_ROLES)}) && !r.name.startsWith('pg_'))",
        f"roles has a name that is reserved ({', '.join(RESERVED_ROLES + NO_ROLES)}, pg_*): choose another name.",
    ),
)
_DECLARED = (
    "self.roles.exists(o, o.name == {name} && o.ensure == 'present') || "
    "self.databases.exists(d, (has(d.owner) ? d.owner : d.name) == {name})"
)
SPEC_RULES = (
    rule(
        f"self.roles.all(r, r.ensure == 'absent' || r.memberOf.all(m, m in {in_list(GRANTABLE_ROLES)} || {_DECLARED.format(name='m')}))",
        "roles has a memberOf that is neither declared (in roles, or as an owner in databases) nor a predefined role that may be granted "
        f"({', '.join(GRANTABLE_ROLES)}): declare it, or take it out.",
    ),
    rule(
        f"self.roles.all(r, !has(r.actsAs) || r.ensure == 'absent' || (r.actsAs != r.name && ({_DECLARED.format(name='r.actsAs')})))",
        "roles has an actsAs that is not declared (in roles, or as an owner in databases), or is the role itself: declare it, or name "
        "another.",
    ),
    rule(
        "self.roles.all(r, r.databases.all(n, self.databases.exists(d, d.name == n)))",
        "roles has a database that is not in databases: declare it there, or take it out.",
    ),
    rule(
        "self.roles.all(r, r.ensure == 'present' || !self.databases.exists(d, (has(d.owner) ? d.owner : d.name) == r.name))",
        "roles drops the owner of one of the databases (ensure: absent): give the database another owner first.",
    ),
)
