{{/*
Every object has the same name, whatever the release is called: there is one operator in a cluster, and who looks for it
finds it. A second release is refused with words (templates/one-per-cluster.yaml).
*/}}
{{- define "environment-manager.name" -}}environment-manager{{- end }}

{{- define "environment-manager.labels" -}}
{{ include "environment-manager.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: environment-manager
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "environment-manager.selector" -}}
app.kubernetes.io/name: environment-manager
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The operator, as the API server knows it. */}}
{{- define "environment-manager.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "environment-manager.name" . }}
{{- end }}

{{/* Whether the API server can stamp who acts. */}}
{{- define "environment-manager.stamps" -}}
{{- if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" }}true{{ end }}
{{- end }}

{{- define "environment-manager.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else }}{{ printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}{{ end }}
{{- end }}

{{/* What every container is confined by. */}}
{{- define "environment-manager.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where we do otherwise than linters (checkov) ask for, and why. */}}
{{- define "environment-manager.explained" -}}
checkov.io/skip1: CKV_K8S_11=A CPU limit would throttle the leader until it cannot renew its Lease
checkov.io/skip2: CKV_K8S_15=Released tags never move; values can ask for Always
checkov.io/skip3: CKV_K8S_38=It is a client of the API server; its token is what it works with
checkov.io/skip4: CKV_K8S_43=image.digest pins the image; the chart cannot know where it was pushed
{{- end }}

{{/* The binding of a policy: everywhere, and it denies. Called with the context and the policy's name. */}}
{{- define "environment-manager.binding" -}}
{{- $name := printf "%s-%s" (include "environment-manager.name" .context) .policy }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "environment-manager.labels" .context | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end }}

{{/* CEL: somebody else than the operator. */}}
{{- define "environment-manager.others" -}}
request.userInfo.username != '{{ include "environment-manager.user" . }}'
{{- end }}

{{/* CEL: the controllers of Kubernetes that collect garbage and empty namespaces, whatever they run as. */}}
{{- define "environment-manager.cleaners" -}}
request.userInfo.username in ['system:serviceaccount:kube-system:namespace-controller', 'system:serviceaccount:kube-system:generic-garbage-collector', 'system:kube-controller-manager']
{{- end }}
