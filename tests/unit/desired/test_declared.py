"""The Job that makes what is declared inside PostgreSQL, and the Secrets of its roles."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.desired.database.build import database_secrets
from baas_operator.desired.database.declared import build_declared, digest, login_roles
from baas_operator.desired.meta import Manifest
from tests.unit.objects import owner

DB = owner(DATABASE_REPLICA, "db")
SHOP = {
    "databases": [
        {
            "name": "shop",
            "connectionLimit": 50,
            "schemas": [{"name": "api"}, {"name": "audit", "owner": "auditor"}, {"name": "old", "ensure": "absent"}],
            "extensions": [
                {"name": "vector", "schema": "api"},
                {"name": "pg_trgm", "version": "1.6"},
                {"name": "hstore", "ensure": "absent"},
            ],
        },
        {"name": "other", "owner": "shop"},
    ],
    "roles": [
        {"name": "reports", "memberOf": ["pg_read_all_data", "readers"], "databases": ["shop"], "connectionLimit": 5, "createdb": True},
        {"name": "readers", "login": False, "inherit": False},
        {"name": "shop_a", "actsAs": "shop", "validUntil": "2030-01-01T00:00:00Z"},
        {"name": "auditor", "login": False},
        {"name": "intern", "ensure": "absent"},
    ],
}


def spec(content: Manifest | None = None) -> DatabaseReplicaSpec:
    return DatabaseReplicaSpec.model_validate(SHOP if content is None else content)


def made(content: Manifest | None = None, passwords: str = "") -> tuple[Manifest, Manifest]:
    """The ConfigMap with the SQL, and the Job."""
    first, second = build_declared(spec(content), DB, "postgres:17", passwords=passwords)
    return first, second


def files(content: Manifest | None = None) -> dict[str, str]:
    """The SQL that psql begins with, and what is made inside each database."""
    return {name: text for name, text in made(content)[0]["data"].items() if name.endswith(".sql")}


def sql(content: Manifest | None = None) -> str:
    return re.sub(r"\s+", " ", "".join(files(content).values()))


def script(passwords: str = "") -> str:
    return str(made(passwords=passwords)[1]["spec"]["template"]["spec"]["containers"][0]["command"][2])


# --- roles ----------------------------------------------------------------------------------------------------------


def test_owners_and_declared_roles_that_log_in_have_a_password() -> None:
    assert login_roles(spec()) == ["reports", "shop", "shop_a"]
    assert login_roles(spec({"databases": [{"name": "shop"}], "roles": [{"name": "shop", "login": False}]})) == []


@pytest.mark.parametrize(("role", "database"), [("shop", "shop"), ("reports", "shop"), ("shop_a", "shop")])
def test_a_secret_leads_to_a_database_that_its_role_may_connect_to(role: str, database: str) -> None:
    found = next(each for each in database_secrets(spec(), DB) if each.name == f"db-role-{role.replace('_', '-')}")

    assert found.fixed["dbname"] == database
    assert f"/{database}?" in found.fixed["uri"]
    assert found.rotates


def test_a_role_without_a_database_is_led_to_the_one_that_all_may_connect_to() -> None:
    (found,) = (each for each in database_secrets(spec({"roles": [{"name": "metrics"}]}), DB) if each.name == "db-role-metrics")

    assert found.fixed["dbname"] == "postgres"


def test_passwords_that_pods_read_at_their_start_are_not_rotated() -> None:
    assert {each.name for each in database_secrets(spec(), DB) if not each.rotates} == {
        "db-role-rewind",
        "db-role-patroni",
        "db-role-pooler",
    }


def test_attributes_are_those_that_are_declared() -> None:
    found = sql()

    assert """ALTER ROLE "reports" LOGIN CREATEDB INHERIT CONNECTION LIMIT 5 VALID UNTIL 'infinity';""" in found
    assert """ALTER ROLE "readers" NOLOGIN NOCREATEDB NOINHERIT CONNECTION LIMIT -1 VALID UNTIL 'infinity';""" in found
    assert """CONNECTION LIMIT -1 VALID UNTIL '2030-01-01T00:00:00Z';""" in found
    assert 'ALTER ROLE "shop" LOGIN' not in found, "of an owner that is not in roles, nothing is declared"


def test_memberships_are_made_and_those_that_are_not_declared_taken_away() -> None:
    found = sql()

    assert """member = to_regrole('"reports"') AND of.rolname NOT IN ('pg_read_all_data', 'readers') \\gexec""" in found
    assert 'GRANT "readers" TO "reports" WITH INHERIT TRUE, SET TRUE;' in found
    assert """member = to_regrole('"auditor"') AND of.rolname NOT IN ('') \\gexec""" in found
    assert """to_regrole('"shop"') AND of.rolname""" not in found


def test_sessions_begin_as_another_role_only_while_that_is_declared() -> None:
    found = sql()

    assert 'GRANT "shop" TO "shop_a" WITH INHERIT TRUE, SET TRUE;' in found
    assert """ALTER ROLE "shop_a" SET role = 'shop';""" in found
    assert 'ALTER ROLE "reports" RESET role;' in found


def test_who_may_connect_is_as_declared() -> None:
    found = sql()

    assert 'GRANT CONNECT ON DATABASE "shop" TO "reports";' in found
    assert 'GRANT CONNECT ON DATABASE "other"' not in found
    assert (
        """datname = 'other' AND privilege_type = 'CONNECT' AND rolname IN ('auditor', 'readers', 'reports', 'shop_a') \\gexec""" in found
    )


def test_one_that_is_to_be_absent_is_dropped_and_never_made() -> None:
    found = sql()

    assert 'DROP ROLE IF EXISTS "intern";' in found
    assert "'CREATE ROLE %I LOGIN', 'intern'" not in found


# --- databases ------------------------------------------------------------------------------------------------------


def test_schemas_come_before_the_extensions_that_live_in_them() -> None:
    found = sql()

    assert found.index('CREATE SCHEMA IF NOT EXISTS "api" AUTHORIZATION "shop"') < found.index('CREATE EXTENSION IF NOT EXISTS "vector"')
    assert 'ALTER SCHEMA "audit" OWNER TO "auditor";' in found
    assert 'DROP SCHEMA IF EXISTS "old";' in found


def test_extensions_are_made_moved_updated_and_dropped() -> None:
    found = sql()

    assert 'CREATE EXTENSION IF NOT EXISTS "vector" SCHEMA "api";' in found
    assert """CREATE EXTENSION IF NOT EXISTS "pg_trgm" VERSION '1.6';""" in found
    assert """UPDATE TO %L', extname, '1.6') FROM pg_extension WHERE extname = 'pg_trgm' AND extversion <> '1.6' \\gexec""" in found
    assert 'DROP EXTENSION IF EXISTS "hstore";' in found
    assert "CASCADE;" not in found, "nothing is dropped that something depends on"


def test_a_superuser_calls_nothing_that_an_owner_may_have_made() -> None:
    """A function of the owner's that fits the arguments better would come before PostgreSQL's own (CVE-2018-1058)."""
    for text in files().values():
        path = "as it was set for the database"
        for line in text.splitlines():
            if line.startswith("SET search_path = "):
                path = line.removeprefix("SET search_path = ").partition(";")[0]
            elif line.startswith("SELECT"):
                assert path == "pg_catalog", line


def test_whatever_is_refused_is_noted_and_the_rest_goes_on() -> None:
    assert all("\\set ON_ERROR_STOP off" in each.splitlines() for each in files().values())
    lines = "".join(files().values()).splitlines()
    for index, line in enumerate(lines):
        if line.startswith(("ALTER", "DROP", "CREATE EXTENSION", 'CREATE SCHEMA IF NOT EXISTS "a')) and line.endswith(";"):
            assert lines[index + 1] == "\\if :ERROR", line
    assert "\\qecho 'extension vector of shop:' :LAST_ERROR_MESSAGE" in lines


def test_what_an_owner_sets_for_its_database_ends_no_session_but_one_of_its_own() -> None:
    """ALLOW_CONNECTIONS false keeps a superuser out as well, and psql ends a script that has lost its connection."""
    found = files()

    assert set(found) == {"run.sql", "database-shop.sql"}, "nothing is made inside the other"
    assert "\\connect" not in "".join(found.values())
    assert "\\o\n\\! sh sql/inside.sh shop database-shop.sql\n\\o | cat >> /tmp/refused" in found["run.sql"], "both write to that file"
    assert not [line for line in found["run.sql"].splitlines() if line.startswith("\\o ") and ">>" not in line]


@pytest.mark.parametrize(
    "setting",
    [
        "statement_timeout=0", "transaction_timeout=0", "idle_session_timeout=0", "local_preload_libraries=", "role=none",
        "session_preload_libraries=",
        "password_encryption=scram-sha-256", "synchronous_commit=on", "debug_print_parse=off", "debug_print_rewritten=off",
    ],
)  # fmt: skip
def test_no_setting_of_others_counts(setting: str) -> None:
    (container,) = made()[1]["spec"]["template"]["spec"]["containers"]
    (options,) = (each["value"] for each in container["env"] if each["name"] == "PGOPTIONS")

    assert f"-c {setting} " in options


def test_a_server_whose_node_is_gone_is_given_up_within_seconds() -> None:
    (container,) = made()[1]["spec"]["template"]["spec"]["containers"]
    (connection,) = (each["value"] for each in container["env"] if each["name"] == "CONNECTION")

    assert "keepalives_idle=10 keepalives_interval=3 keepalives_count=3 tcp_user_timeout=11000" in connection


def test_the_superusers_password_comes_last() -> None:
    """What is made inside a database logs in anew, with what psql began with."""
    found = files()["run.sql"]

    assert found.rindex("inside.sh") < found.index("""ALTER ROLE "postgres" PASSWORD :'password';""")


# --- the Job --------------------------------------------------------------------------------------------------------


def test_nothing_is_declared_nothing_runs() -> None:
    nothing = {"pooler": {"replicas": 0}, "monitoring": {"enabled": False}}
    assert build_declared(spec(nothing), DB, "postgres:17", passwords="") == []
    assert build_declared(spec(nothing | {"roles": [{"name": "a"}]}), DB, "postgres:17", passwords="")


def test_it_is_made_anew_for_another_password_and_comes_back_after_a_day() -> None:
    before, after = made(passwords="a" * 16)[1], made(passwords="b" * 16)[1]

    assert before["metadata"]["name"] != after["metadata"]["name"]
    assert before["spec"]["ttlSecondsAfterFinished"] == 86400


def test_the_digest_follows_every_password_that_is_set() -> None:
    def of(**changed: str) -> str:
        return digest(spec(), DB, lambda name: changed.get(name.replace("-", "_"), "same"))

    names = ("db_role_postgres", "db_role_pooler", "db_role_shop", "db_role_reports", "db_role_shop_a")
    assert len({of(), *(of(**{name: "other"}) for name in names)}) == len(names) + 1
    assert of(db_role_rewind="other") == of()


class Container:
    """The Job's container as a folder: its script runs with the shell, and with a psql that only writes down how it was called."""

    def __init__(self, folder: Path, secrets: dict[str, str]) -> None:
        self.folder = folder
        for name, content in secrets.items():
            path = folder / "etc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (folder / "bin").mkdir()
        psql = folder / "bin" / "psql"
        psql.write_text(
            f"#!/bin/sh\ncat {folder}/pgpass >> {folder}/calls; echo >> {folder}/calls\n"
            f'grep -qx "$(cat {folder}/known)" {folder}/pgpass || {{ echo "FATAL: authentication failed" >&2; exit 2; }}\n'
            f'case "$*" in *--file*) cp {folder}/refuses {folder}/refused;; esac\n'
        )
        psql.chmod(0o755)
        self.knows("new")
        (folder / "refuses").write_text("")

    def knows(self, password: str) -> None:
        (self.folder / "known").write_text(f"*:*:*:*:{password}".replace("*", "[*]"))

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        here = {"/etc/baas": "etc", "/tmp/": "", "/dev/termination-log": "said"}  # noqa: S108 - a path inside the pod
        text = re.sub("|".join(here), lambda found: f"{self.folder}/{here[found[0]]}", text)
        words = [shutil.which("sh") or "sh", "-ec", text]
        env = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "CONNECTION": "host=db-rw"}
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=30)

    def logged_in_with(self) -> list[str]:
        return (self.folder / "calls").read_text().split() if (self.folder / "calls").exists() else []


FOLDERS = ("pooler", "reports", "shop", "shop-a")


def secrets(**more: str) -> dict[str, str]:
    roles = {f"roles/{folder}/password": f"of-{folder}" for folder in FOLDERS}
    return {"superuser/password": "new", **roles, "sql/run.sql": ""} | {f"superuser/{key}": value for key, value in more.items()}


def as_digested() -> str:
    text = "new" + "".join(f"of-{folder}" for folder in FOLDERS)
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    by_name = {"db-role-postgres": "new"} | {f"db-role-{folder}": f"of-{folder}" for folder in FOLDERS}
    assert digest(spec(), DB, by_name.get) == expected
    return expected


def test_it_runs_with_the_passwords_that_it_is_named_after(tmp_path: Path) -> None:
    pod = Container(tmp_path, secrets())

    assert pod.run(script(as_digested())).returncode == 0
    assert pod.logged_in_with() == ["*:*:*:*:new"]


def test_it_waits_for_a_node_that_has_an_older_password(tmp_path: Path) -> None:
    """It would set that one, and nobody would notice."""
    pod = Container(tmp_path, secrets() | {"roles/shop/password": "the-old-one"})

    said = pod.run(script(as_digested()))

    assert said.returncode == 4
    assert "older passwords" in said.stderr
    assert pod.logged_in_with() == []


def test_it_logs_in_with_the_superusers_password_before_until_the_new_one_is_set(tmp_path: Path) -> None:
    pod = Container(tmp_path, secrets(previous="old"))
    pod.knows("old")

    assert pod.run(script(as_digested())).returncode == 0
    assert pod.logged_in_with() == ["*:*:*:*:new", "*:*:*:*:old"]


def test_what_pgpass_takes_for_a_separator_is_escaped(tmp_path: Path) -> None:
    pod = Container(tmp_path, secrets() | {"superuser/password": "a:b\\c"})

    pod.run(script())

    assert pod.logged_in_with() == ["*:*:*:*:a\\:b\\\\c"]


def test_what_was_refused_is_its_last_word(tmp_path: Path) -> None:
    pod = Container(tmp_path, secrets())
    (tmp_path / "refuses").write_text('extension ghost of shop: extension "ghost" is not available\n')

    assert pod.run(script()).returncode == 3
    assert (tmp_path / "said").read_text() == 'extension ghost of shop: extension "ghost" is not available\n'


def test_what_was_refused_before_is_not_told_again(tmp_path: Path) -> None:
    """The kubelet starts the container again in the same pod, and its files stay."""
    pod = Container(tmp_path, secrets())
    (tmp_path / "refused").write_text("extension ghost of shop: is not available\n")
    (tmp_path / "bin" / "psql").write_text("#!/bin/sh\n")

    assert pod.run(script()).returncode == 0


@pytest.mark.parametrize(
    ("said", "noted"),
    [
        ('psql: error: connection to server at "db-rw", port 5432 failed: FATAL:  database "shop" is not currently accepting connections',
         'FATAL:  database "shop" is not currently accepting connections'),
        ("psql:sql/database-shop.sql:3: FATAL:  terminating connection\nconnection to server was lost", "FATAL:  terminating connection"),
        ("psql: error: connection to server failed: timeout expired", "psql: error: connection to server failed: timeout expired"),
    ],
)  # fmt: skip
def test_a_database_that_lets_nobody_in_is_noted_beside_what_others_refused(tmp_path: Path, said: str, noted: str) -> None:
    pod = Container(tmp_path, secrets())
    (tmp_path / "refused").write_text("role other: no\n")
    (tmp_path / "bin" / "psql").write_text(f"#!/bin/sh\necho 'schema shop.api: no'\ncat >&2 <<'.'\n{said}\n.\nexit 2\n")

    found = pod.run("set -- shop database-shop.sql\n" + str(made()[0]["data"]["inside.sh"]))

    assert (tmp_path / "refused").read_text() == f"role other: no\nschema shop.api: no\ndatabase shop: {noted}\n"
    assert (found.returncode, found.stderr) == (0, said + "\n"), "the log has all of it"


def test_who_can_not_log_in_says_so_and_refuses_nothing(tmp_path: Path) -> None:
    pod = Container(tmp_path, secrets())
    pod.knows("another")

    said = pod.run(script())

    assert said.returncode == 2
    assert "authentication failed" in said.stderr
