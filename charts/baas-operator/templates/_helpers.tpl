{{/* Name of everything in this release: the release's own when it says baas-operator already. */}}
{{- define "baas-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pods; they never change, as a Deployment's selector is immutable. */}}
{{- define "baas-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "baas-operator.labels" -}}
{{ include "baas-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "baas-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "baas-operator.fullname" .) -}}
{{- end -}}

{{/* An image with the mirror before it: call with (list . "operator"). */}}
{{- define "baas-operator.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.images (index . 1) -}}
{{- if $root.Values.imageRegistry -}}
{{- printf "%s/%s" $root.Values.imageRegistry $image -}}
{{- else -}}
{{- $image -}}
{{- end -}}
{{- end -}}
