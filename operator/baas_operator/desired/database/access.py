"""What a member may do at the API server: Patroni keeps its state there, the agent writes the `-rw` EndpointSlice."""

from __future__ import annotations

from baas_operator.api.database import MAX_MEMBERS
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.pods import service_account


def build_access(owner: Owner) -> list[Manifest]:
    """ServiceAccount, Role and RoleBinding. `create` and `list` can not be limited to names (Kubernetes documentation, "Using
    RBAC authorization"), so those hold for the namespace."""
    name = f"{owner.name}-member"
    own_maps = list(names.patroni_config_maps(owner.name))
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "list", "watch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": own_maps,
         "verbs": ["get", "patch", "update", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": [f"{owner.name}-{index}" for index in range(MAX_MEMBERS)],
         "verbs": ["get", "patch", "update"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "resourceNames": [names.rw_service(owner.name)],
         "verbs": ["get", "watch", "patch", "update"]},
    ]  # fmt: skip
    return [
        service_account(owner, name, names.COMPONENT),
        owner.child("rbac.authorization.k8s.io/v1", "Role", name, names.COMPONENT, rules=rules),
        owner.child(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            name,
            names.COMPONENT,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": name, "namespace": owner.namespace}],
        ),
    ]
