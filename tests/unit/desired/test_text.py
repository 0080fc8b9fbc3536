"""Operand text: quoting that no name gets out of, and configuration that says what was decided."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from psycopg import sql

from baas_operator.api.database import RESERVED_PARAMETERS
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.instance.supabase import SUPABASE
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.render import render, secret_requests
from baas_operator.desired.text import _ENVIRONMENT
from baas_operator.desired.text import render as render_text
from tests.unit.desired.rendered import CHILDREN, RICH, of_kind, resource

anything = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["'; DROP TABLE orders; --", "''", '"', '""', "\\'", "\\", "$$", ":'password'", "\\gexec", "a\nb", "é'\"", "{{ x }}", "%I"]
)
"""All that PostgreSQL can hold: everything but NUL."""


def filled(name: str, value: str) -> str:
    return str(_ENVIRONMENT.from_string("{{ value | " + name + " }}").render(value=value))


# --- SQL, against PostgreSQL's own client library --------------------------------------------------------------------


@given(anything)
def test_an_identifier_is_quoted_as_postgresqls_own_library_does(name: str) -> None:
    assert filled("identifier", name) == sql.Identifier(name).as_string(None)


@given(anything)
def test_a_literal_can_not_be_left(text: str) -> None:
    quoted = filled("literal", text)

    assert re.fullmatch(r"'(?:[^']|'')*'", quoted, re.DOTALL)
    assert quoted[1:-1].replace("''", "'") == text


@given(anything.filter(lambda text: "\\" not in text))
def test_a_literal_is_quoted_as_postgresqls_own_library_does(text: str) -> None:
    """That one writes backslashes as E'' besides, for servers of long ago; ours has standard_conforming_strings."""
    assert filled("literal", text) == sql.Literal(text).as_string(None).strip()


def test_json_stays_on_one_line_whatever_is_in_it() -> None:
    """Configuration is put into YAML and NATS' format this way, and both are read line by line."""
    assert "\n" not in filled("json", 'a\n"b: c')


def test_a_value_that_was_forgotten_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render_text("databases.sql.j2", roles=[])


def scripts() -> list[str]:
    found = [each["data"]["run.sql"] for children in CHILDREN.values() for each in children if "run.sql" in each.get("data", {})]
    assert len(found) == 4
    return found


@pytest.mark.parametrize("script", scripts())
def test_sql_may_run_again_and_leaves_no_password_in_a_log(script: str) -> None:
    statements = script.splitlines()
    assert "\\set ON_ERROR_STOP on" in statements or "\\o | cat >> /tmp/refused" in statements, "an error must not be passed over"
    # What psql does by itself, in a program's environment, the server never hears of.
    with_passwords = {index: line for index, line in enumerate(statements) if "PASSWORD" in line and not line.startswith("\\")}
    assert any("log_statement = 'none'" in line for line in statements[: min(with_passwords)])
    assert all("PASSWORD :'password'" in line or line.endswith("PASSWORD NULL;") for line in with_passwords.values())
    alone = [line for line in statements if "PASSWORD" in line and line.startswith("\\")]
    assert all(line.startswith("\\set other `") and 'PGPASSWORD="$(cat /etc/baas/' in line for line in alone)
    for line in statements:
        if line.startswith("SELECT") and "CREATE" in line and "CREATE OR REPLACE" not in line:
            after = statements[statements.index(line) + 1] if "WHERE NOT EXISTS" not in line else line
            assert "WHERE NOT EXISTS" in after, line


def test_a_backend_with_a_dash_in_its_name_has_a_database_without_quotes() -> None:
    script = SUPABASE.bootstrap(BaasInstanceSpec(), Owner("BaasInstance", "ns", "my-shop")).sql

    assert "'my_shop_authenticator'" in script
    assert '\\connect "my_shop"' in script
    assert "my-shop" not in script


# --- Patroni --------------------------------------------------------------------------------------------------------


def patroni(spec: Manifest | None = None) -> Manifest:
    children = render(resource("DatabaseReplica", spec))
    (found,) = (each["data"]["patroni.yml"] for each in children if "patroni.yml" in each.get("data", {}))
    made: Manifest = yaml.safe_load(found)
    return made


def template_of(spec: Manifest) -> Manifest:
    (found,) = (each["spec"]["template"] for each in render(resource("DatabaseReplica", spec)) if each["kind"] == "StatefulSet")
    made: Manifest = found
    return made


def test_patronis_timers_keep_its_own_rule() -> None:
    """loop_wait + 2 * retry_timeout <= ttl, and ttl >= 20 (Patroni documentation, "Dynamic configuration settings")."""
    dcs = patroni()["bootstrap"]["dcs"]

    assert dcs["ttl"] >= 20
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] <= dcs["ttl"]


@pytest.mark.parametrize(("durability", "mode"), [("async", "off"), ("quorum", "quorum"), ("zone-quorum", "quorum")])
def test_durability_is_patronis_synchronous_mode(durability: str, mode: str) -> None:
    assert patroni({"durability": durability})["bootstrap"]["dcs"]["synchronous_mode"] == mode


def test_no_password_goes_over_the_wire_or_into_the_file() -> None:
    found = patroni(RICH["DatabaseReplica"])

    assert all(
        rule.endswith(("scram-sha-256", "cert", "peer", "map=patroni", "map=exporter", "reject")) for rule in found["postgresql"]["pg_hba"]
    )
    assert not any("password" in each for each in found["postgresql"]["authentication"].values())
    assert "restapi" not in found["postgresql"]["authentication"]
    assert "password" not in str(found).replace("password_encryption", "")


def test_nothing_goes_over_the_network_in_plain() -> None:
    found = patroni(RICH["DatabaseReplica"])["postgresql"]

    for rule in found["pg_hba"]:
        assert rule.split()[0] in ("local", "hostssl") or rule.endswith(" reject"), rule
    assert found["parameters"]["ssl"] == "on"
    assert all(each["sslmode"] == "verify-ca" for each in found["authentication"].values())


def test_nothing_goes_through_the_pooler_in_plain() -> None:
    text = of_kind("DatabaseReplica", "ConfigMap", "shop-db-pooler")["data"]["pgbouncer.ini"]
    said = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line and line[0] != ";")

    assert said["client_tls_sslmode"] == "require"
    assert said["server_tls_sslmode"] == "verify-ca"
    pod = of_kind("DatabaseReplica", "Deployment", "shop-db-pooler")["spec"]["template"]["spec"]
    (secret,) = (each for each in pod["volumes"] if each["name"] == "certificate")
    assert secret["secret"]["secretName"] == "shop-db-server-tls"
    assert "optional" not in secret["secret"], "without it PgBouncer would have nothing to verify with"
    for container in pod["containers"]:
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == "certificate")
        for part, file in (
            ("client_tls_cert", "tls.crt"),
            ("client_tls_key", "tls.key"),
            ("client_tls_ca", "ca.crt"),
            ("server_tls_ca", "ca.crt"),
        ):
            assert said[f"{part}_file"] == f"{mount['mountPath']}/{file}"


def test_every_uri_of_a_role_insists_on_tls() -> None:
    keys = [{**each.fixed, **each.extra} for each in secret_requests(resource("DatabaseReplica", RICH["DatabaseReplica"]))]
    uris = {name: text for each in keys for name, text in each.items() if name.endswith("uri")}

    assert set(uris) == {"uri", "pooler_uri"}
    assert all("?sslmode=require" in text for text in uris.values())
    assert uris["uri"].endswith("&target_session_attrs=primary"), "a reader, too, is to have the primary"


def test_standbys_stream_with_a_certificate_and_no_password_opens_that_door() -> None:
    found = patroni()["postgresql"]
    streaming = [rule for rule in found["pg_hba"] if rule.split()[1] == "replication"]

    assert streaming == ["local replication replicator peer map=patroni", "hostssl replication replicator all cert"]
    assert found["authentication"]["replication"]["sslkey"] == "/run/replication/tls.key"
    first = {rule.split()[2]: rule for rule in reversed(found["pg_hba"]) if rule.split()[1] == "all"}
    assert first["replicator"].endswith("reject")
    assert first["rewind"].endswith("reject")


def test_parameters_of_tls_are_the_operators() -> None:
    tls = {each for each in patroni()["postgresql"]["parameters"] if each.startswith("ssl")}

    assert tls <= set(RESERVED_PARAMETERS)


@settings(max_examples=25)
@given(st.dictionaries(st.from_regex(r"\A[a-z_][a-z0-9_.]{0,10}\Z"), anything, max_size=3))
def test_no_parameter_gets_out_of_the_file_or_rolls_a_pod(parameters: dict[str, str]) -> None:
    found = patroni({"parameters": parameters})

    assert parameters.items() <= found["bootstrap"]["dcs"]["postgresql"]["parameters"].items()
    assert set(found) == {"scope", "log", "restapi", "kubernetes", "bootstrap", "postgresql"}
    template = of_kind("DatabaseReplica", "StatefulSet", "shop-db")["spec"]["template"]
    assert template_of({"parameters": parameters}) == template


# --- NATS -----------------------------------------------------------------------------------------------------------


def nats(**spec: object) -> str:
    children = render(resource("EventQueue", dict(spec)))
    return str(next(each["data"]["nats.conf"] for each in children if "nats.conf" in each.get("data", {})))


def test_strict_syncs_every_message_and_balanced_every_second() -> None:
    assert 'sync_interval: "always"' in nats()
    assert 'sync_interval: "1s"' in nats(durability="balanced")


def test_the_store_leaves_a_tenth_of_the_volume() -> None:
    found = re.search(r"max_file_store: (\d+)", nats(storage={"size": "10Gi"}))
    assert found
    assert int(found[1]) == 9 * 2**30


def test_copies_of_a_stream_are_in_different_zones_and_its_servers_find_each_other() -> None:
    text = nats()
    assert 'unique_tag: "az:"' in text
    assert 'name: "prod-shop-events"' in text, "two queues of one cluster must not be one"


def test_a_lame_duck_has_gone_before_it_is_killed() -> None:
    found = re.search(r'lame_duck_duration: "(\d+)s"', nats())
    pod = of_kind("EventQueue", "StatefulSet", "shop-events")["spec"]["template"]["spec"]
    assert found
    assert pod["terminationGracePeriodSeconds"] >= int(found[1]) + 20


# --- Envoy: see instance/test_gateway.py ----------------------------------------------------------------------------


def test_keys_and_routes_change_without_a_new_gateway_pod() -> None:
    def template(spec: Manifest) -> str:
        children = render(resource("BaasInstance", spec))
        (found,) = (each for each in children if each["kind"] == "Deployment" and each["metadata"]["name"] == "shop-gateway")
        return json.dumps(found["spec"]["template"])

    plain = template({})
    assert plain == template({"components": {"rest": {"replicas": 5, "maxRows": 7}}}), "what is the data API's own concern does not"
    assert plain == template({"components": {"meta": {"enabled": True}, "gateway": {"limits": {"perClient": {"requestsPerSecond": 5}}}}})
    assert plain != template({"components": {"gateway": {"tracing": {"endpoint": "otel.tracing.svc:4317"}}}}), "read at its start alone"


# --- PgBouncer ------------------------------------------------------------------------------------------------------


def pgbouncer(spec: Manifest | None = None) -> dict[str, str]:
    children = render(resource("DatabaseReplica", spec))
    (text,) = (each["data"]["pgbouncer.ini"] for each in children if "pgbouncer.ini" in each.get("data", {}))
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line and line[0] != ";")


def test_pools_are_as_large_as_is_said() -> None:
    said = pgbouncer({"pooler": {"poolSize": 7, "maxClientConnections": 300, "queryTimeoutSeconds": 60}})

    assert (said["default_pool_size"], said["max_client_conn"], said["query_timeout"]) == ("7", "300", "60")
    assert (pgbouncer()["default_pool_size"], pgbouncer()["max_client_conn"], pgbouncer()["query_timeout"]) == ("20", "5000", "0")


@pytest.mark.parametrize("change", [{"poolSize": 7}, {"queryTimeoutSeconds": 60}, {"maxClientConnections": 300}])
def test_another_pool_reaches_the_poolers_that_run_and_leaves_the_members_alone(change: Manifest) -> None:
    def templates(spec: Manifest) -> dict[str, Manifest]:
        children = render(resource("DatabaseReplica", spec))
        return {each["kind"]: each["spec"]["template"] for each in children if each["kind"] in ("Deployment", "StatefulSet")}

    before, after = templates({}), templates({"pooler": change})

    assert before["Deployment"] != after["Deployment"]
    assert before["StatefulSet"] == after["StatefulSet"]


@pytest.mark.parametrize(
    ("max_connections", "poolers", "each"),
    [
        pytest.param(None, 3, 21, id="postgresqls default, and one pod more while they roll"),
        pytest.param("200", 3, 46, id="as said"),
        pytest.param("25", 20, 1, id="never none: that would be without a limit"),
        pytest.param("24", 3, 21, id="less than Patroni takes"),
        pytest.param("many", 3, 21, id="no number"),
        pytest.param("²", 3, 21, id="no number either"),
        pytest.param("9" * 1000, 1, 131_065, id="more than PostgreSQL takes"),
    ],
)
def test_one_database_leaves_postgresql_some_connections(max_connections: str | None, poolers: int, each: int) -> None:
    parameters = {} if max_connections is None else {"max_connections": max_connections}

    assert pgbouncer({"pooler": {"replicas": poolers}, "parameters": parameters})["max_db_connections"] == str(each)


def test_by_default_no_pool_meets_the_limit_of_its_database() -> None:
    assert int(pgbouncer()["default_pool_size"]) <= int(pgbouncer()["max_db_connections"])
