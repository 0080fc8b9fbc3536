"""Nonsense is refused by the API server itself, with a sentence: the operator never sees it.

Where the sentence is ours (a CEL rule), it says what to do; where it is Kubernetes' own, it names the field and what it may be.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.cluster import ControlPlane

DB, EQ, BI, OP = "DatabaseReplica", "EventQueue", "BaasInstance", "Operation"


class Bad(NamedTuple):
    """A creation that is refused; `says` are parts of the answer."""

    id: str
    kind: str
    spec: object
    says: tuple[str, ...]
    name: str = "bad"


def stream(**more: object) -> Object:
    return {"streams": [{"name": "orders", "subjects": ["orders.>"]} | more]}


def subjects(*each: str) -> Object:
    return stream(subjects=list(each))


def copies(url: str, **more: object) -> Object:
    queue = {"url": url, "domain": "hub"} | more
    return {"streams": [{"name": "copy", "mirror": {"stream": "orders", "queue": queue}}]}


def gateway(**more: object) -> Object:
    return {"components": {"gateway": more}}


def hosts(number: int) -> list[str]:
    return [f"shop{each}.example" for each in range(number)]


def rest(**more: object) -> Object:
    return {"components": {"rest": more}}


def parameters(**each: object) -> Object:
    return {"parameters": each}


def database(**each: object) -> Object:
    return {"databases": [each]}


def toleration(**each: object) -> Object:
    return {"placement": {"tolerations": [each]}}


def role(**each: object) -> Object:
    return {"databases": [{"name": "shop"}], "roles": [{"name": "app"} | each]}


def move(**more: object) -> Object:
    return {"action": "switchover", "target": {"name": "shop-db"}} | more


def enable(**more: object) -> Object:
    return {"action": "enable-webhook", "target": {"kind": "EventQueue", "name": "events"}} | more


HOOK = {"webhook": "partner"}
NEEDS_STANDBY = ("need a standby", "set replicas to 2 or more, or durability to async")
RESERVED = ("keep data safe", "remove it")
OWNER = ("databases has an owner that is reserved", "choose another role")
DATABASE = ("PostgreSQL brings itself", "choose another name")
ROLE = ("roles has a name that is reserved", "choose another name")
MEMBER = ("memberOf", "may be granted", "declare it, or take it out")
SYSTEM_SCHEMA = ("gives away what is not for clients", "Name your own")

CREATIONS = [
    Bad("database without members", DB, {"replicas": 0}, ("spec.replicas", "greater than or equal to 1")),
    Bad("database with ten members", DB, {"replicas": 10}, ("spec.replicas", "less than or equal to 9")),
    Bad("database with three in letters", DB, {"replicas": "three"}, ("spec.replicas", "integer")),
    Bad("zone-quorum of one member", DB, {"replicas": 1}, NEEDS_STANDBY),
    Bad("quorum of one member", DB, {"replicas": 1, "durability": "quorum"}, NEEDS_STANDBY),
    Bad("durability unknown", DB, {"durability": "paxos"}, ('"async", "quorum", "zone-quorum"',)),
    Bad("PostgreSQL of another version", DB, {"version": 16}, ("spec.version", 'supported values: "17"')),
    Bad("size with a decimal suffix", DB, {"storage": {"size": "5GB"}}, ("spec.storage.size", "should match")),
    Bad("size of nothing", DB, {"storage": {"size": "0Gi"}}, ("spec.storage.size", "should match")),
    Bad("size below nothing", DB, {"storage": {"size": "-5Gi"}}, ("spec.storage.size", "should match")),
    Bad("size as a number", DB, {"storage": {"size": 5}}, ("spec.storage.size", "string")),
    Bad("volume grows to less than it has", DB, {"storage": {"size": "20Gi", "maxSize": "10Gi"}}, ("maxSize", "give storage.size or more")),
    Bad("volume of a queue grows by itself", EQ, {"storage": {"maxSize": "10Gi"}}, ('unknown field \"spec.storage.maxSize\"',)),
    Bad("repair at once", DB, {"repair": {"afterMinutes": 0}}, ("spec.repair.afterMinutes", "greater than or equal to 1")),
    Bad("repair unknown", DB, {"repair": {"reclone": "Always"}}, ('"Auto", "Never"',)),
    Bad("storage class no name", DB, {"storage": {"storageClassName": "Fast_SSD"}}, ("storageClassName", "should match")),
    Bad("field misspelt", DB, {"replica": 3}, ('unknown field \"spec.replica\"',)),
    Bad("field misspelt deeper", DB, {"storage": {"sizes": "5Gi"}}, ('unknown field \"spec.storage.sizes\"',)),
    Bad("field of Kubernetes that is not ours", DB, {"template": {}}, ('unknown field \"spec.template\"',)),
    Bad("pool of nothing", DB, {"pooler": {"poolSize": 0}}, ("spec.pooler.poolSize", "greater than or equal to 1")),
    Bad("query timeout below nothing", DB, {"pooler": {"queryTimeoutSeconds": -1}}, ("queryTimeoutSeconds", "greater than or equal to 0")),
    Bad("node label with a blank", DB, {"placement": {"nodeSelector": {"my disk": "fast"}}}, ("no label can have", "use letters")),
    Bad("node label of two values", DB, {"placement": {"nodeSelector": {"disk": "a,b"}}}, ("spec.placement.nodeSelector", "should match")),
    Bad("toleration of nothing", DB, toleration(value="db"), ("without a key", "or give the key")),
    Bad("toleration of any value and of one", DB, toleration(key="a", operator="Exists", value="b"), ("leave the value out",)),
    Bad("toleration for a while of what evicts nobody", DB, toleration(key="a", tolerationSeconds=5), ("set effect to NoExecute",)),
    Bad("pull secret in capitals", DB, {"imagePullSecrets": [{"name": "Registry"}]}, ("spec.imagePullSecrets[0].name", "should match")),
    Bad("parameter that routes", DB, parameters(listen_addresses="*"), RESERVED),
    Bad("parameter that loses data", DB, parameters(fsync="off"), RESERVED),
    Bad("parameter without which nobody is promoted", DB, parameters(allow_alter_system="off"), RESERVED),
    Bad("parameter that pauses poolers", DB, parameters(authentication_timeout="10s"), RESERVED),
    Bad("parameter that breaks quorum", DB, parameters(synchronous_standby_names=""), RESERVED),
    Bad("parameter with which no standby answers", DB, parameters(default_transaction_isolation="Serializable"),
        ("serializable", "ALTER DATABASE", "instead")),
    Bad("parameter with a blank", DB, {"parameters": {"max connections": "9"}}, ("does not know", "use lower case")),
    Bad("parameter of two lines", DB, parameters(log_line_prefix="%m\nfsync = off"), ("line break", "take it out")),
    Bad("parameter with a bell", DB, parameters(log_line_prefix="\x07"), ("control character", "take it out")),
    Bad("parameter as a number", DB, parameters(max_connections=200), ("spec.parameters.max_connections", "string")),
    Bad("101 parameters", DB, parameters(**{f"a.p{i}": "1" for i in range(101)}), ("must have at most 100",)),
    Bad(
        "database twice", DB, {"databases": [{"name": "shop"}, {"name": "shop", "owner": "me"}]},
        ("spec.databases[1]", "Duplicate value"),
    ),
    Bad("database postgres", DB, database(name="postgres"), DATABASE),
    Bad("database template1", DB, database(name="template1"), DATABASE),
    Bad("database in capitals", DB, database(name="Shop"), ("spec.databases[0].name", "should match")),
    Bad("database with a quote", DB, database(name='shop"; drop'), ("spec.databases[0].name", "should match")),
    Bad("database without a name", DB, database(owner="shop"), ("name", "Required value")),
    Bad("owner is the superuser", DB, database(name="shop", owner="postgres"), OWNER),
    Bad("owner is the replication role", DB, database(name="shop", owner="replicator"), OWNER),
    Bad("owner is a system role", DB, database(name="shop", owner="pg_monitor"), OWNER),
    Bad("owner is the operator's own role", DB, database(name="shop", owner="patroni"), OWNER),
    Bad("owner left out is a reserved role", DB, database(name="replicator"), OWNER),
    Bad("owner is everybody", DB, database(name="shop", owner="public"), OWNER),
    Bad("role is the superuser", DB, role(name="postgres"), ROLE),
    Bad("role is the pooler's", DB, role(name="pooler"), ROLE),
    Bad("role of PostgreSQL", DB, role(name="pg_monitor"), ROLE),
    Bad("role is nobody", DB, role(name="none"), ROLE),
    Bad("role with a quote", DB, role(name='a"b'), ("spec.roles[0].name", "should match")),
    Bad("role twice", DB, {"roles": [{"name": "a"}, {"name": "a"}]}, ("spec.roles[1]", "Duplicate value")),
    Bad("role as superuser", DB, role(superuser=True), ('unknown field "spec.roles[0].superuser"',)),
    Bad("role that replicates", DB, role(replication=True), ('unknown field "spec.roles[0].replication"',)),
    Bad("role that may run programs", DB, role(memberOf=["pg_execute_server_program"]), MEMBER),
    Bad("role that may read files", DB, role(memberOf=["pg_read_server_files"]), MEMBER),
    Bad("role that may cancel commits", DB, role(memberOf=["pg_signal_backend"]), MEMBER),
    Bad("member of one that is not declared", DB, role(memberOf=["ghost"]), MEMBER),
    Bad("member of the superuser", DB, role(memberOf=["postgres"]), MEMBER),
    Bad("member of one that is dropped", DB, {"roles": [{"name": "a", "memberOf": ["b"]}, {"name": "b", "ensure": "absent"}]}, MEMBER),
    Bad("acts as the superuser", DB, role(actsAs="postgres"), ("actsAs", "declare it, or name another")),
    Bad("acts as itself", DB, role(actsAs="app"), ("actsAs", "or is the role itself")),
    Bad("connects to what is not declared", DB, role(databases=["other"]), ("not in databases", "declare it there")),
    Bad("drops an owner", DB, role(name="shop", ensure="absent"), ("drops the owner", "another owner first")),
    Bad("password that ends someday", DB, role(validUntil="someday"), ("validUntil", "date-time")),
    Bad("no number of connections", DB, role(connectionLimit=-1), ("connectionLimit", "greater than or equal to 0")),
    Bad("extension that must stay", DB, database(name="a", extensions=[{"name": "plpgsql", "ensure": "absent"}]), ("take it out",)),
    Bad("extension with a quote", DB, database(name="a", extensions=[{"name": 'x"y'}]), ("extensions[0].name", "should match")),
    Bad("extension in a schema of PostgreSQL", DB, database(name="a", extensions=[{"name": "x", "schema": "pg_catalog"}]),
        ("PostgreSQL's own", "choose another name")),
    Bad("schema of PostgreSQL", DB, database(name="a", schemas=[{"name": "information_schema"}]), ("PostgreSQL's own",)),
    Bad("schema of the operator's", DB, database(name="a", schemas=[{"name": "baas_operator"}]), ("are the operator's",)),
    Bad("zone with a blank", DB, {"placement": {"preferredZones": ["zone a"]}}, ("preferredZones[0]", "should match")),
    Bad("zone twice", DB, {"placement": {"preferredZones": ["a", "a"]}}, ("preferredZones[1]", "Duplicate value")),
    Bad("window without a schedule", DB, {"maintenanceWindows": [{}]}, ("schedule", "Required value")),
    Bad("window at no cron line", DB, {"maintenanceWindows": [{"schedule": "sunday night"}]}, ("schedule", "should match")),
    Bad("window of seconds", DB, {"maintenanceWindows": [{"schedule": "0 0 2 * * SUN"}]}, ("schedule", "should match")),
    Bad("window of a minute", DB, {"maintenanceWindows": [{"schedule": "0 2 * * *", "durationMinutes": 1}]}, ("durationMinutes",)),
    Bad("window in no time zone", DB, {"maintenanceWindows": [{"schedule": "0 2 * * *", "timeZone": "+02:00"}]}, ("timeZone",)),
    Bad("deletion policy unknown", DB, {"deletionPolicy": "Keep"}, ('"Retain", "Delete"',)),
    Bad("image empty", DB, {"image": ""}, ("spec.image", "at least 1 chars")),
    Bad("CPU in words", DB, {"resources": {"requests": {"cpu": "lots"}}}, ("spec.resources.requests.cpu", "should match")),
    Bad("memory in decimal", DB, {"resources": {"limits": {"memory": "1GB"}}}, ("limits.memory", "should match")),
    Bad("suspend in words", DB, {"suspend": "yes"}, ("spec.suspend", "boolean")),
    Bad("spec is a list", DB, [], ("spec",)),
    Bad("name too long for its children", DB, {}, ("too long", "use at most 40 characters"), name="a" * 41),
    Bad("name with a dot", DB, {}, ("must be one DNS label",), name="shop.db"),
    Bad("name that begins with a digit", EQ, {}, ("must be one DNS label",), name="1shop"),
    Bad("name too long for its database", BI, {}, ("too long", "use at most 33 characters"), name="a" * 34),
    Bad("name of a system database", BI, {}, ("keeps postgres", "choose another name"), name="template1"),
    Bad("name of a system role", BI, {}, ("keeps postgres", "choose another name"), name="pg-shop"),
    Bad("queue of two servers", EQ, {"replicas": 2}, ("spec.replicas", 'supported values: "1", "3", "5"')),
    Bad("queue of four servers", EQ, {"replicas": 4}, ("spec.replicas", 'supported values: "1", "3", "5"')),
    Bad("queue durability of the database", EQ, {"durability": "quorum"}, ('"strict", "balanced"',)),
    Bad("stream of nothing", EQ, subjects(), ("a stream needs subjects, or a mirror, or sources",)),
    Bad("stream without subjects", EQ, {"streams": [{"name": "orders"}]}, ("a stream needs subjects, or a mirror, or sources",)),
    Bad("password in clear", EQ, copies("nats://queue.example", credentials={"name": "copier"}), ("begin with tls://", "in clear")),
    Bad("another server without credentials", EQ, copies("tls://queue.example"), ("name the Secret",)),
    Bad("stream without a name", EQ, {"streams": [{"subjects": ["a"]}]}, ("name", "Required value")),
    Bad(
        "stream twice", EQ, {"streams": [{"name": "a", "subjects": ["a"]}, {"name": "a", "subjects": ["b"]}]},
        ("spec.streams[1]", "Duplicate value"),
    ),
    Bad("stream with a dot in its name", EQ, stream(name="orders.v1"), ("spec.streams[0].name", "should match")),
    Bad("subject of NATS itself", EQ, subjects("$JS.API.>"), ("subjects may not begin with '$'",)),
    Bad("subject with an end in the middle", EQ, subjects("orders.>.paid"), ("may only stand alone at the end",)),
    Bad("subject with an end in a token", EQ, subjects("orders.a>"), ("may only stand alone at the end", "'orders.>'")),
    Bad("subject of everything", EQ, subjects(">"), ("also catch the replies", "Give a prefix, as in 'orders.>'")),
    Bad("subject with an empty token", EQ, subjects("orders..paid"), ("subjects[0]", "should match")),
    Bad("subject with a blank", EQ, subjects("orders paid"), ("subjects[0]", "should match")),
    Bad("subject twice", EQ, subjects("a.b", "a.b"), ("subjects[1]", "Duplicate value")),
    Bad("age of nothing", EQ, stream(maxAgeHours=0), ("maxAgeHours", "greater than or equal to 1")),
    Bad("stream size without a unit", EQ, stream(maxSize="10"), ("maxSize", "should match")),
    Bad("no window for duplicates", EQ, stream(duplicateWindowSeconds=0), ("duplicateWindowSeconds", "equal to 1")),
    Bad("retention unknown", EQ, stream(retention="forever"), ('"limits", "interest", "workqueue"',)),
    Bad("discard unknown", EQ, stream(discard="oldest"), ('"old", "new"',)),
    Bad(
        "101 streams", EQ, {"streams": [{"name": f"s{i}", "subjects": [f"s{i}"]} for i in range(101)]},
        ("spec.streams", "must have at most 100 items"),
    ),
    Bad("engine unknown", BI, {"engine": "firebase"}, ("spec.engine", "supported values")),
    Bad("gateway of nothing", BI, gateway(replicas=0), ("gateway.replicas", "greater than or equal to 1")),
    Bad("gateway of a hundred", BI, gateway(replicas=100), ("gateway.replicas", "less than or equal to 50")),
    Bad("node port out of range", BI, gateway(service={"type": "NodePort", "nodePort": 80}), ("nodePort", "30000")),
    Bad(
        "traffic from outside to a cluster address", BI, gateway(service={"externalTrafficPolicy": "Local"}),
        ("externalTrafficPolicy Local needs", "set the type or leave the policy out"),
    ),
    Bad(
        "unknown traffic policy", BI, gateway(service={"type": "NodePort", "externalTrafficPolicy": "Zone"}),
        ("externalTrafficPolicy", '"Cluster", "Local"'),
    ),
    Bad("node port of a cluster address", BI, gateway(service={"nodePort": 30080}), ("set the type or leave the port out",)),
    Bad("service type unknown", BI, gateway(service={"type": "Ingress"}), ('"ClusterIP", "NodePort", "LoadBalancer"',)),
    Bad("no schema", BI, rest(schemas=[]), ("schemas", "at least 1 items")),
    Bad("schema of the system", BI, rest(schemas=["pg_catalog"]), SYSTEM_SCHEMA),
    Bad("schema of the operator", BI, rest(schemas=["public", "baas_operator"]), SYSTEM_SCHEMA),
    Bad("schema of the standard", BI, rest(schemas=["public", "information_schema"]), SYSTEM_SCHEMA),
    Bad("no rows", BI, rest(maxRows=0), ("maxRows", "greater than or equal to 1")),
    Bad(
        "file larger than an object store takes", BI,
        {"components": {"storage": {"fileSizeLimit": "6Ti"}}}, ("storage.fileSizeLimit is more than 5Ti", "give less"),
    ),
    Bad(
        "object store without a port that there is", BI,
        {"components": {"storage": {"s3": {"endpoint": "http://h:99999", "bucket": "files", "credentials": {"secretName": "s3"}}}}},
        ("s3.endpoint", "should match"),
    ),
    Bad(
        "more hosts than an HTTPRoute has", BI, {"hosts": hosts(17)} | gateway(httpRoute={"name": "public"}),
        ("16 hosts at the most", "name no more in spec.hosts", "an ingress in place"),
    ),
    Bad("21 hosts", BI, {"hosts": hosts(21)}, ("spec.hosts", "must have at most 20 items")),
    Bad("client's namespace with a dot", BI, {"isolation": {"clients": [{"namespace": "a.b"}]}}, ("clients[0].namespace", "should match")),
    Bad("listener in capitals", BI, gateway(httpRoute={"name": "a", "sectionName": "HTTPS"}), ("sectionName", "should match")),
    Bad("ingress class that ends with a dot", BI, gateway(ingress={"className": "nginx."}), ("className", "should match")),
    Bad("collector on no port", BI, gateway(tracing={"endpoint": "otel:99999"}), ("tracing.endpoint", "should match")),
    Bad("component unknown", BI, {"components": {"blockchain": {}}}, ('unknown field \"spec.components.blockchain\"',)),
    Bad("reference without a name", BI, {"databaseRef": {}}, ("databaseRef.name", "Required value")),
    Bad("reference to another namespace", BI, {"databaseRef": {"name": "a", "namespace": "b"}}, ('databaseRef.namespace"',)),
    Bad(
        "messages probed in another's queue", BI, {"queueRef": {"name": "shop"}, "prober": {"publish": True}},
        ("prober.publish needs a stream in a queue of this object's own", "set it to false"),
    ),
    Bad("reference to no name", BI, {"queueRef": {"name": "Shop Events"}}, ("queueRef.name", "should match")),
    Bad("operation without a spec", OP, None, ("spec", "Required value")),
    Bad("operation without an action", OP, {"target": {"name": "a"}}, ("spec.action", "Required value")),
    Bad("operation without a target", OP, {"action": "switchover"}, ("spec.target", "Required value")),
    Bad("action unknown", OP, move(action="explode"), ("spec.action", 'supported values: "switchover"')),
    Bad("target of another kind", OP, move(target={"kind": "Pod", "name": "a"}), ("spec.target.kind", "supported values")),
    Bad("no time", OP, move(timeoutSeconds=1), ("timeoutSeconds", "greater than or equal to 5")),
    Bad("all the time", OP, move(timeoutSeconds=3601), ("timeoutSeconds", "less than or equal to 3600")),
    Bad("member that is no name", OP, move(parameters={"to": "Member 2"}), ("parameters.to", "should match")),
    Bad("enabling no webhook", OP, enable(), ("needs the name of the webhook in parameters.webhook",)),
    Bad("enabling the webhook of a database", OP, enable(target={"name": "shop-db"}, parameters=HOOK), ("set target.kind",)),
    Bad("enabling dead letters", OP, enable(parameters=HOOK | {"stream": "orders"}), ("about dead letters: leave them out",)),
    Bad("switching a webhook over", OP, move(parameters=HOOK), ("nothing else takes it",)),
    Bad("replaying a webhook", OP, enable(action="replay-dead-letters", parameters=HOOK), ("whose dead letters", "nothing else takes it")),
    Bad("parameter of another action", OP, move(parameters={"from": "a"}), ('unknown field \"spec.parameters.from\"',)),
]  # fmt: skip


@pytest.mark.parametrize("bad", CREATIONS, ids=lambda bad: bad.id.replace(" ", "-"))
def test_creation_is_refused(cp: ControlPlane, bad: Bad) -> None:
    manifest = own(bad.kind, bad.name, bad.spec)

    answer = cp.create(manifest, "default")

    assert not answer.ok, "the API server took it"
    for part in bad.says:
        assert part in answer.message
    assert not cp.apply(manifest, "default").ok, "a server-side apply was taken, as GitOps tools send it"
    assert cp.get(bad.kind, "default", bad.name) is None


class BadUpdate(NamedTuple):
    """A change of a good object that is refused."""

    id: str
    kind: str
    before: Object
    after: Object
    says: tuple[str, ...]


def size(quantity: str) -> Object:
    return {"storage": {"size": quantity}}


def volume_class(name: str) -> Object:
    return {"storage": {"storageClassName": name}}


SHRUNK = ("storage.size can not shrink", "Give the same size or a larger one")
CLASS = ("storageClassName can not be changed", "create a new object with the other class and move the data")
SERVERS = ("replicas can not shrink to 1", "Keep 3, or create a new EventQueue")
RETENTION = ("can not be changed to or from workqueue", "create a stream of another name")
FINAL = ("can not be changed once it exists", "create another one")
NO_OTHER = "can not be added or removed later"
REF_A, REF_B = {"name": "a"}, {"name": "b"}

UPDATES = [
    BadUpdate("database volume shrinks", DB, size("20Gi"), size("10Gi"), SHRUNK),
    BadUpdate("database volume shrinks to the default", DB, size("20Gi"), {}, SHRUNK),
    BadUpdate("volume shrinks in another unit", DB, size("1Ti"), size("1000Gi"), SHRUNK),
    BadUpdate("queue volume shrinks", EQ, size("20Gi"), size("10Gi"), SHRUNK),
    BadUpdate("storage class changes", DB, volume_class("slow"), volume_class("fast"), CLASS),
    BadUpdate("storage class is named later", DB, {}, volume_class("fast"), CLASS),
    BadUpdate("storage class is taken away", EQ, volume_class("slow"), {}, CLASS),
    BadUpdate("last standby is taken away", DB, {"replicas": 3}, {"replicas": 1}, NEEDS_STANDBY),
    BadUpdate(
        "one member is made to wait for a standby", DB,
        {"replicas": 1, "durability": "async"}, {"replicas": 1, "durability": "quorum"}, NEEDS_STANDBY,
    ),
    BadUpdate("fsync is turned off later", DB, parameters(work_mem="8MB"), parameters(fsync="off"), RESERVED),
    BadUpdate("database becomes a system one", DB, database(name="shop"), database(name="template0"), DATABASE),
    BadUpdate("field is misspelt later", DB, {}, {"durabilty": "async"}, ('unknown field \"spec.durabilty\"',)),
    BadUpdate("queue of five shrinks to one", EQ, {"replicas": 5}, {"replicas": 1}, SERVERS),
    BadUpdate("queue shrinks to one", EQ, {}, {"replicas": 1}, SERVERS),
    BadUpdate("queue grows from one", EQ, {"replicas": 1}, {"replicas": 3}, ("replicas can not grow from 1", "Create a new EventQueue")),
    BadUpdate("stream becomes a work queue", EQ, stream(), stream(retention="workqueue"), RETENTION),
    BadUpdate(
        "stream stops being a work queue", EQ, stream(retention="workqueue"), stream(retention="interest"), RETENTION
    ),
    BadUpdate("stream loses its subjects", EQ, stream(), subjects(), ("a stream needs subjects, or a mirror, or sources",)),
    BadUpdate("other database", BI, {"databaseRef": REF_A}, {"databaseRef": REF_B}, ("databaseRef can not be changed",)),
    BadUpdate("database named later", BI, {}, {"databaseRef": REF_A}, ("databaseRef " + NO_OTHER, "Create a new")),
    BadUpdate("database no longer named", BI, {"databaseRef": REF_A}, {}, ("databaseRef " + NO_OTHER, "Create a new")),
    BadUpdate("other queue", BI, {"queueRef": REF_A}, {"queueRef": REF_B}, ("queueRef can not be changed",)),
    BadUpdate("queue named later", BI, {}, {"queueRef": REF_A}, ("queueRef " + NO_OTHER, "Create a new")),
    BadUpdate("queue no longer named", BI, {"queueRef": REF_A}, {}, ("queueRef " + NO_OTHER, "Create a new")),
    BadUpdate(
        "gateway loses its type but keeps its port", BI,
        gateway(service={"type": "NodePort", "nodePort": 30081}), gateway(service={"nodePort": 30081}),
        ("set the type or leave the port out",),
    ),
    BadUpdate("operation gets another target", OP, move(), move(target={"name": "other"}), FINAL),
    BadUpdate("operation gets more time", OP, move(), move(timeoutSeconds=600), FINAL),
    BadUpdate("operation gets another webhook", OP, enable(parameters=HOOK), enable(parameters={"webhook": "other"}), FINAL),
    BadUpdate("operation gets another member", OP, move(), move(parameters={"to": "shop-db-2"}), FINAL),
]  # fmt: skip


@pytest.mark.parametrize("bad", UPDATES, ids=lambda bad: bad.id.replace(" ", "-"))
def test_update_is_refused_and_changes_nothing(cp: ControlPlane, bad: BadUpdate) -> None:
    name = "good-" + bad.id.replace(" ", "-")[:25].strip("-")
    before = cp.must_apply(own(bad.kind, name, bad.before), "default")

    answer = cp.replace(before | {"spec": bad.after}, "default")

    assert not answer.ok, "the API server took it"
    for part in bad.says:
        assert part in answer.message
    after = cp.get(bad.kind, "default", name)
    assert after is not None
    assert after["spec"] == before["spec"]
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    cp.delete(bad.kind, "default", name)
