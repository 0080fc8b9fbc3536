"""What is declared inside PostgreSQL, what it refuses, and passwords that change while clients work."""

from __future__ import annotations

import time

import pytest

from baas_lab.errors import CommandError
from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube, until
from tests.e2e.harness.ledger import Ledger
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

PAST = {"metadata": {"annotations": {"baas-operator.io/expires": "2020-01-01T00:00:00Z"}}}
SPEC = {
    "databases": [
        {
            "name": "shop",
            "connectionLimit": 80,
            "schemas": [{"name": "api"}, {"name": "search"}],
            "extensions": [{"name": "vector", "schema": "search"}, {"name": "pg_trgm"}],
        }
    ],
    "roles": [
        {"name": "reports", "memberOf": ["pg_read_all_data"], "databases": ["shop"], "connectionLimit": 5},
        {"name": "stranger"},
        {"name": "shop_a", "actsAs": "shop"},
        {"name": "shop_b", "actsAs": "shop"},
    ],
}
MADE_SECONDS = 120.0
TOLD_SECONDS = 180.0
"""The agent looks every 15 s, and tells what it has seen twice; PostgreSQL's refusals wait for a Job's pod."""
ROTATED_SECONDS = 60.0


@pytest.fixture(scope="module")
def declared(kube: Kube, namespace: str, client: ClientPod) -> Database:
    """A database with all of it."""
    kube.must_apply(own("DatabaseReplica", "main", SPEC), namespace)
    made = Database(kube, namespace, "main", "shop")
    made.wait_whole()
    return made


def secret(database: Database, role: str) -> dict[str, str]:
    return database.kube.secret(database.namespace, f"main-role-{role.replace('_', '-')}")


def superuser(database: Database, name: str = "postgres") -> str:
    return f"postgresql://postgres:{secret(database, 'postgres')['password']}@main-rw.{database.namespace}.svc:5432/{name}?sslmode=require"


def change(database: Database, **spec: object) -> None:
    database.kube.must_patch("DatabaseReplica", database.namespace, "main", {"spec": spec})


def stalled(database: Database) -> str:
    """Reason and sentence of what nobody but the user can change; empty if there is nothing."""
    found = database.kube.condition(database.namespace, "DatabaseReplica", "main", "Stalled")
    return f"{found['reason']}: {found['message']}" if found.get("status") == "True" else ""


def ready(database: Database) -> bool:
    return database.kube.condition(database.namespace, "DatabaseReplica", "main", "Ready").get("status") == "True"


def refused(client: ClientPod, uri: str) -> bool:
    try:
        client.psql(uri, "select 1")
    except CommandError as error:
        if "authentication failed" not in str(error):
            raise
        return True
    return False


def test_roles_are_what_is_declared(declared: Database, client: ClientPod) -> None:
    client.psql(declared.uri, "create table orders (x int); insert into orders values (1)")

    assert client.psql(secret(declared, "reports")["uri"], "select x from orders") == ["1"]
    with pytest.raises(CommandError, match="permission denied"):
        client.psql(secret(declared, "reports")["uri"], "insert into orders values (2)")
    with pytest.raises(CommandError, match="permission denied for database"):
        client.psql(secret(declared, "stranger")["uri"].replace("/postgres?", "/shop?"), "select 1")
    assert client.psql(superuser(declared), "select rolconnlimit from pg_roles where rolname = 'reports'") == ["5"]


def test_schemas_and_extensions_are_there(declared: Database, client: ClientPod) -> None:
    found = client.psql(superuser(declared, "shop"), "select extname, extnamespace::regnamespace from pg_extension order by 1")
    assert found == ["pg_trgm|public", "plpgsql|pg_catalog", "vector|search"]
    assert client.psql(declared.uri, "select nspowner::regrole from pg_namespace where nspname = 'api'") == ["shop"]


def test_drift_is_put_right_when_the_job_comes_back(declared: Database, client: ClientPod) -> None:
    client.psql(superuser(declared), "alter role reports createdb connection limit 99; grant pg_write_all_data to reports")

    for job in declared.kube.list("Job", declared.namespace, "baas-operator.io/name=main"):
        assert declared.kube.delete("Job", declared.namespace, job["metadata"]["name"]).ok

    sql = """select rolcreatedb, rolconnlimit, array(select roleid::regrole from pg_auth_members where member = pg_roles.oid)
             from pg_roles where rolname = 'reports'"""
    wait_until(
        lambda: client.psql(superuser(declared), sql) == ["f|5|{pg_read_all_data}"], timeout_seconds=MADE_SECONDS,
        what="reports is as declared",
    )  # fmt: skip


def test_an_extension_that_is_not_there_is_told_and_holds_nothing_up(declared: Database, client: ClientPod) -> None:
    extensions = [{"name": "ghost"}, *SPEC["databases"][0]["extensions"], {"name": "hstore"}]  # type: ignore[index,misc]
    change(declared, databases=[SPEC["databases"][0] | {"extensions": extensions}])  # type: ignore[operator]

    wait_until(lambda: "DeclarationRefused" in stalled(declared), timeout_seconds=TOLD_SECONDS, what="the refusal is told")
    assert 'extension ghost of shop: extension "ghost" is not available' in stalled(declared)
    assert ready(declared)
    assert client.psql(superuser(declared, "shop"), "select 1 from pg_extension where extname = 'hstore'") == ["1"]

    change(declared, databases=SPEC["databases"])
    wait_until(lambda: not stalled(declared), timeout_seconds=MADE_SECONDS, what="nothing is refused any more")


def test_a_database_whose_owner_lets_nobody_in_holds_nobody_else_up(declared: Database, client: ClientPod) -> None:
    client.psql(declared.uri.replace("/shop?", "/postgres?"), "alter database shop allow_connections false")
    change(declared, roles=[*SPEC["roles"], {"name": "newcomer", "login": False}])  # type: ignore[misc]

    wait_until(lambda: "DeclarationRefused" in stalled(declared), timeout_seconds=TOLD_SECONDS, what="the refusal is told")
    assert 'database "shop" is not currently accepting connections' in stalled(declared)
    assert client.psql(superuser(declared), "select count(*) from pg_roles where rolname = 'newcomer'") == ["1"]

    client.psql(superuser(declared), "alter database shop allow_connections true")
    wait_until(lambda: not stalled(declared), timeout_seconds=MADE_SECONDS * 3, what="nothing is refused any more")


def test_a_role_is_dropped_once_it_owns_nothing(declared: Database, client: ClientPod) -> None:
    client.psql(superuser(declared, "shop"), "create table theirs (); alter table theirs owner to stranger")
    roles = [each for each in SPEC["roles"] if each["name"] != "stranger"]  # type: ignore[index]
    change(declared, roles=[*roles, {"name": "stranger", "ensure": "absent"}])

    wait_until(lambda: "REASSIGN OWNED" in stalled(declared), timeout_seconds=TOLD_SECONDS, what="it is told why it stays")
    client.psql(superuser(declared, "shop"), "drop table theirs")

    gone = "select count(*) from pg_roles where rolname = 'stranger'"
    wait_until(lambda: client.psql(superuser(declared), gone) == ["0"], timeout_seconds=MADE_SECONDS * 3, what="it is dropped")
    wait_until(lambda: not stalled(declared), timeout_seconds=MADE_SECONDS, what="nothing is refused any more")


def test_a_parameter_that_is_none_is_told_and_harms_nothing(declared: Database, client: ClientPod) -> None:
    change(declared, parameters={"shared_buffers": "lots", "work_mem": "9MB", "no_such_thing": "1"})

    wait_until(lambda: "ParameterRefused" in stalled(declared), timeout_seconds=TOLD_SECONDS, what="the refusal is told")
    said = stalled(declared)
    print(f"\n{said}")
    assert "parameter shared_buffers: it is a number" in said
    assert "parameter no_such_thing: PostgreSQL does not know it" in said
    assert "work_mem" not in said
    assert ready(declared)
    assert client.psql(declared.uri, "show work_mem") == ["9MB"]

    change(declared, parameters={"shared_buffers": None, "no_such_thing": None})
    wait_until(lambda: not stalled(declared), timeout_seconds=TOLD_SECONDS, what="nothing is refused any more")


def rotate(declared: Database, client: ClientPod, role: str) -> tuple[float, float]:
    """Ask for another password; the seconds until the Secret has it, and from then until PostgreSQL does."""
    name, old = f"main-role-{role.replace('_', '-')}", secret(declared, role)["password"]
    declared.kube.must_patch("Secret", declared.namespace, name, PAST)
    drawn = until(lambda: secret(declared, role)["password"] != old, timeout_seconds=ROTATED_SECONDS, what=f"{name} has another password")
    uri = superuser(declared) if role == "postgres" else secret(declared, role)["uri"]
    taken = until(lambda: not refused(client, uri), timeout_seconds=ROTATED_SECONDS, what="PostgreSQL has it, too")
    return drawn, taken


@pytest.mark.parametrize("through", ["uri", "pooler_uri"])
def test_open_connections_go_on_when_a_password_changes(declared: Database, client: ClientPod, through: str) -> None:
    declared.wait_whole()
    before = secret(declared, "shop")
    ledger = Ledger(client, before[through])
    client.psql(before["uri"], "DROP TABLE IF EXISTS ledger")
    ledger.prepare()

    with ledger.writing():
        since = time.monotonic()
        drawn, taken = rotate(declared, client, "shop")
        ledger.wait_for_writes()

    gap = ledger.longest_gap_seconds(since)
    print(f"\n{through}: Secret after {drawn:.1f} s, PostgreSQL {taken:.1f} s later, {gap:.2f} s without writes, {ledger.in_doubt}")
    assert ledger.in_doubt == []
    assert ready(declared)
    after = secret(declared, "shop")
    for key in ("uri", "pooler_uri"):
        assert client.psql(after[key], "select 1") == ["1"]
        assert refused(client, before[key]), "the old one is worth nothing"


def test_two_roles_take_turns_and_nobody_is_turned_away(declared: Database, client: ClientPod) -> None:
    """An application logs in with one of them while the other's password changes, then goes over."""
    declared.wait_whole()
    client.psql(secret(declared, "shop_a")["uri"], "create table ours (x int)")
    owner = "select tableowner from pg_tables where tablename = 'ours'"
    assert client.psql(declared.uri, owner) == ["shop"], "what either of them makes belongs to both"

    for resting, working in (("shop_b", "shop_a"), ("shop_a", "shop_b")):
        uris = [secret(declared, working)[key] for key in ("uri", "pooler_uri")]
        old = secret(declared, resting)["password"]
        declared.kube.must_patch("Secret", declared.namespace, f"main-role-{resting.replace('_', '-')}", PAST)
        done = False
        while not done:
            done = secret(declared, resting)["password"] != old and not refused(client, secret(declared, resting)["uri"])
            for uri in uris:
                client.psql(uri, "insert into ours values (1)")  # a connection of its own


def test_the_superusers_password_is_rotated_too(declared: Database, client: ClientPod) -> None:
    old = superuser(declared)

    drawn, taken = rotate(declared, client, "postgres")

    print(f"\nsuperuser: Secret after {drawn:.1f} s, PostgreSQL {taken:.1f} s later")
    assert refused(client, old)
    declared.wait_whole()
    # What comes next is done with it.
    change(declared, roles=[*SPEC["roles"], {"name": "late", "login": False}])  # type: ignore[misc]
    found = "select count(*) from pg_roles where rolname = 'late'"
    wait_until(lambda: client.psql(superuser(declared), found) == ["1"], timeout_seconds=MADE_SECONDS, what="a role is made with it")


def test_a_password_that_is_written_by_hand_is_set(declared: Database, client: ClientPod) -> None:
    declared.wait_whole()
    declared.kube.must_patch("Secret", declared.namespace, "main-role-reports", {"stringData": {"password": "p@ss w/rd"}})

    def works() -> bool:
        found = secret(declared, "reports")["uri"]
        return "p%40ss%20w%2Frd" in found and not refused(client, found)

    wait_until(works, timeout_seconds=ROTATED_SECONDS, what="PostgreSQL and the URI have it")
