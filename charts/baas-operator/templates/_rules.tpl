{{/*
What the operator may do in a namespace that it looks after. One list, so that a Role for one namespace and the ClusterRole for
all can not differ.

Roles for database members are made by the operator, and the API server lets nobody grant what they do not hold. Holding it is
why `update` stands beside `patch` in places where the operator itself would do with one; `escalate` and `bind` would be far more.
*/}}
{{- define "baas-operator.rules" -}}
# Our own kinds. Their finalizers: an owner reference that blocks deletion needs that where the admission plugin
# OwnerReferencesPermissionEnforcement is on.
- apiGroups: [baas-operator.io]
  resources: [baasinstances, databasereplicas, eventqueues, operations]
  verbs: [get, list, watch, patch]
- apiGroups: [baas-operator.io]
  resources: [baasinstances/status, databasereplicas/status, eventqueues/status, operations/status]
  verbs: [get, patch, update]
- apiGroups: [baas-operator.io]
  resources: [baasinstances/finalizers, databasereplicas/finalizers, eventqueues/finalizers, operations/finalizers]
  verbs: [update]
# An instance makes its database and its queue.
- apiGroups: [baas-operator.io]
  resources: [databasereplicas, eventqueues]
  verbs: [create, delete]
# Switchovers that the operator begins by itself are Operations too. Of those on an object that are over, the youngest are kept.
- apiGroups: [baas-operator.io]
  resources: [operations]
  verbs: [create, delete]
# What those are made of.
- apiGroups: [""]
  resources: [serviceaccounts, secrets, configmaps, services, resourcequotas, limitranges]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, update, delete]
# Kinds of others, for backends, where the cluster has them. They are looked at now and then, and not watched.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, create, patch, update, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, create, patch, update, delete]
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, create, patch, update, delete]
# Pods and volumes come from StatefulSets and Deployments: seen, labelled and, to repair, deleted; never made.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, update, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
