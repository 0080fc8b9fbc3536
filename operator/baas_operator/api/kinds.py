"""The kinds: our own, with their models, and the built-in ones that children are made of.

`Kind` is all that the engine needs to talk to the API server about objects of one sort.
"""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api import common, database, operation, queue
from baas_operator.api.group import API_VERSION
from baas_operator.api.instance import spec as instance
from baas_operator.api.instance import status as instance_status


@dataclass(frozen=True)
class Kind:
    """A Kubernetes kind: `api_version` is `GROUP/VERSION`, or `v1` for the core group."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """API version without its group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of a collection, an object or a subresource."""
        parts = ["/apis", self.api_version] if self.group else ["/api", self.api_version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(parts)


@dataclass(frozen=True)
class Column:
    """A printer column of `kubectl get`; `wide` ones are shown with `-o wide` only."""

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False
    description: str = ""


@dataclass(frozen=True)
class OwnKind(Kind):
    """A kind of ours: with its models, short name and printer columns. `scale` names (spec, status) paths; `name_rules` are CEL
    rules about the object's own name."""

    short: str = ""
    singular: str = ""
    spec: type[common.ApiModel] = common.ApiModel
    status: type[common.StatusBase] = common.StatusBase
    columns: tuple[Column, ...] = ()
    scale: tuple[str, str] | None = None
    description: str = ""
    max_name: int = common.MAX_NAME_LENGTH
    name_rules: tuple[dict[str, str], ...] = ()


def _ready(*more: Column) -> tuple[Column, ...]:
    ready = ".status.conditions[?(@.type=='Ready')]"
    return (
        Column("Ready", f"{ready}.status", description="Whether it serves."),
        *more,
        Column("Zone Tolerant", ".status.conditions[?(@.type=='ZoneTolerant')].status",
               description="Whether any one zone can be lost now."),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Reason", f"{ready}.reason", wide=True, description="Why it is ready or not."),
    )  # fmt: skip


DATABASE_REPLICA = OwnKind(
    API_VERSION, "DatabaseReplica", "databasereplicas", short="dbr", singular="databasereplica",
    spec=database.DatabaseReplicaSpec, status=database.DatabaseReplicaStatus, scale=(".spec.replicas", ".status.replicas"),
    description="A replicated PostgreSQL, one member a zone, that fails over by itself.",
    columns=_ready(
        Column("Primary", ".status.primary", description="Member that takes the writes."),
        Column("Members", ".status.readyReplicas", "integer", description="Members that are ready."),
    ),
)  # fmt: skip
EVENT_QUEUE = OwnKind(
    API_VERSION, "EventQueue", "eventqueues", short="eq", singular="eventqueue",
    spec=queue.EventQueueSpec, status=queue.EventQueueStatus, scale=(".spec.replicas", ".status.replicas"),
    description="Replicated durable queues on NATS JetStream, one server a zone.",
    columns=_ready(
        Column("Servers", ".status.readyReplicas", "integer", description="Servers that are ready."),
    ),
)  # fmt: skip
BAAS_INSTANCE = OwnKind(
    API_VERSION, "BaasInstance", "baasinstances", short="bi", singular="baasinstance",
    spec=instance.BaasInstanceSpec, status=instance_status.BaasInstanceStatus,
    scale=(".spec.components.gateway.replicas", ".status.replicas"),
    description="One backend: a gateway and its components over a replicated database and a replicated queue.",
    max_name=common.MAX_NAME_LENGTH - len("-events"),
    name_rules=(common.rule(
        "!(self.metadata.name in ['postgres', 'template0', 'template1']) && !self.metadata.name.startsWith('pg-')",
        "metadata.name is also the name of the backend's database, and PostgreSQL keeps postgres, template0, template1 and pg-* to "
        "itself: choose another name.",
    ),),
    columns=_ready(
        Column("Engine", ".spec.engine", description="Which backend is run."),
        Column("Database", ".status.database", wide=True),
        Column("Queue", ".status.queue", wide=True),
    ),
)  # fmt: skip
OPERATION = OwnKind(
    API_VERSION, "Operation", "operations", short="bop", singular="operation",
    spec=operation.OperationSpec, status=operation.OperationStatus,
    description="One thing done once to one of the other kinds, with its steps and its result kept to be read.",
    max_name=63,
    columns=(
        Column("Action", ".spec.action"), Column("Target", ".spec.target.name"), Column("Phase", ".status.phase"),
        Column("Seconds", ".status.result.durationSeconds", "number"), Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
    ),
)  # fmt: skip

OWN_KINDS: tuple[OwnKind, ...] = (BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION)

CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
POD = Kind("v1", "Pod", "pods")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
VOLUME = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
"""Never watched: one is read when it is to be proven that a volume went with its node."""
EVENT = Kind("events.k8s.io/v1", "Event", "events")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
JOB = Kind("batch/v1", "Job", "jobs")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
RESOURCE_QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
LIMIT_RANGE = Kind("v1", "LimitRange", "limitranges")
INGRESS = Kind("networking.k8s.io/v1", "Ingress", "ingresses")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")

CHILD_KINDS: tuple[Kind, ...] = (
    SERVICE_ACCOUNT, ROLE, ROLE_BINDING, SECRET, CONFIG_MAP, SERVICE, ENDPOINT_SLICE, POD_DISRUPTION_BUDGET,
    NETWORK_POLICY, RESOURCE_QUOTA, LIMIT_RANGE, STATEFUL_SET, DEPLOYMENT, AUTOSCALER, INGRESS, JOB, CRON_JOB, POD, VOLUME_CLAIM,
)  # fmt: skip
"""Kinds of the objects that ours are made of: those that the operator watches, always with its own label."""

POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
CERTIFICATE = Kind("cert-manager.io/v1", "Certificate", "certificates")
OPTIONAL_KINDS: tuple[Kind, ...] = (POD_MONITOR, HTTP_ROUTE, CERTIFICATE)
"""Kinds of others, of which children are made where the API server has them (engine/optional.py). They are listed now and then, and not
watched: a watch of what may come and go is no measure of whether watches work."""

ALL_KINDS: dict[str, Kind] = {kind.name: kind for kind in (*OWN_KINDS, *CHILD_KINDS, *OPTIONAL_KINDS, NODE, EVENT)}


def kind_of(manifest: dict[str, object]) -> Kind:
    """The Kind of a manifest.

    Raises:
        KeyError: it is a kind that the operator has nothing to do with.
    """
    return ALL_KINDS[str(manifest["kind"])]
