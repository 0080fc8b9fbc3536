"""What every component of a backend lets the user say."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import BY_NAME, ApiModel, DnsLabel, DnsSubdomain, Quantity, Resources, SecretRef, rule, rules
from baas_operator.api.placement import NodePlacement

MAX_REPLICAS = 50
Image = Annotated[str, Field(min_length=1, max_length=300)]
ConfigName = DnsSubdomain
"""Name of a ConfigMap or Secret."""
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
Words = Annotated[list[Annotated[str, Field(max_length=4000)]], Field(max_length=100)]


class KeyRef(ApiModel):
    """One key of a Secret or a ConfigMap in the same namespace."""

    name: ConfigName
    """Name of the object."""
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
    """Key in it."""


class EnvVar(ApiModel):
    """One environment variable."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.value), has(self.secret), has(self.configMap)].filter(x, x).size() == 1",
                "an environment variable has one of value, secret and configMap.",
            )
        )
    )

    name: EnvName
    """Name of the variable. Those that the operator sets itself can not be overwritten."""
    value: Annotated[str, Field(max_length=32_768)] | None = None
    """Its value, for everybody who may read this object."""
    secret: KeyRef | None = None
    """Key of a Secret that has the value."""
    config_map: KeyRef | None = None
    """Key of a ConfigMap that has the value."""


class EmptyDir(ApiModel):
    """A folder that lives as long as the pod."""

    size_limit: Quantity = "64Mi"
    """Most that may be in it."""


class Volume(ApiModel):
    """A volume that is mounted in all containers of a pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.secret), has(self.configMap), has(self.emptyDir)].filter(x, x).size() == 1",
                "a volume has one of secret, configMap and emptyDir.",
            ),
            rule(
                "!self.mountPath.startsWith('/etc/baas')",
                "mountPath is in /etc/baas, where the operator puts its own files: choose another folder.",
            ),
        )
    )

    name: Annotated[DnsLabel, Field(max_length=40)]
    """Name of the volume."""
    mount_path: Annotated[str, Field(pattern=r"^/[^:]*$", max_length=300)]
    """Folder where it is mounted."""
    secret: ConfigName | None = None
    """Secret whose keys are its files."""
    config_map: ConfigName | None = None
    """ConfigMap whose keys are its files."""
    empty_dir: EmptyDir | None = None
    """A folder that lives as long as the pod."""


class Sidecar(ApiModel):
    """A container of the user's own beside a component's, and a native sidecar: it starts before that and ends after it. It is as
    restricted, and shares its volumes."""

    name: Annotated[DnsLabel, Field(max_length=40)]
    """Name of the container."""
    image: Image
    """Image."""
    command: Words = []
    """Command; the image's own when left out."""
    args: Words = []
    """Arguments."""
    env: Annotated[list[EnvVar], Field(max_length=50, json_schema_extra=BY_NAME)] = []
    """Environment."""
    resources: Resources = Resources()
    """CPU and memory."""


SCALING_RULES = ConfigDict(
    json_schema_extra=rules(
        rule("self.minReplicas <= self.maxReplicas", "autoscaling.minReplicas is more than maxReplicas: swap them."),
    )
)


class Autoscaling(ApiModel):
    """How a component scales with its load. `replicas` is then no more than where it begins."""

    model_config = SCALING_RULES

    min_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 3
    """Pods when there is little to do."""
    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 10
    """Pods at the most."""
    cpu_percent: Annotated[int, Field(ge=10, le=200)] = 70
    """CPU that pods are to use on average, in percent of what they request."""


class PodOptions(ApiModel):
    """What pods of components, workers and jobs have in common."""

    resources: Resources = Resources()
    """CPU and memory of each pod."""
    env: Annotated[list[EnvVar], Field(max_length=100, json_schema_extra=BY_NAME)] = []
    """Environment variables beside those of the operator."""
    volumes: Annotated[list[Volume], Field(max_length=20, json_schema_extra=BY_NAME)] = []
    """Volumes beside those of the operator."""
    placement: NodePlacement = NodePlacement()
    """Which nodes its pods may be on."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=10, json_schema_extra=BY_NAME)] = []
    """Secrets to pull its images with."""


class Component(PodOptions):
    """What every component lets the user say."""

    replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 3
    """Pods, spread over the zones."""
    image: Image | None = None
    """Image; the operator's own default when left out."""
    sidecars: Annotated[list[Sidecar], Field(max_length=5, json_schema_extra=BY_NAME)] = []
    """Containers of your own beside the component's."""
    autoscaling: Autoscaling | None = None
    """Have the number of pods follow the load (a HorizontalPodAutoscaler; the cluster needs a metrics server)."""
