{{/* Where the files lie with which the operator logs in to Vault. Whoever mounts them renews them. */}}
{{- define "environment-manager.vault-files" -}}/var/run/secrets/vault{{- end }}

{{/* The Secret with which the operator logs in, where its own token is not what it logs in with. */}}
{{- define "environment-manager.vault-secret" -}}
{{- default (printf "%s-vault" (include "environment-manager.name" .)) .Values.vault.login.secret }}
{{- end }}

{{/* The mount of the auth method with which the operator logs in. */}}
{{- define "environment-manager.vault-login-path" -}}
{{- default .Values.vault.login.method .Values.vault.login.path }}
{{- end }}

{{/* Whether this secrets operator may be the one. Called with the context and the kind. */}}
{{- define "environment-manager.brought-by" -}}
{{- if and .context.Values.vault.address (has .context.Values.secretsOperator.kind (list "auto" .kind)) }}true{{ end }}
{{- end }}

{{/* The flags that `environment-manager vault-policy` takes, too. */}}
{{- define "environment-manager.vault-policy-args" -}}
- {{ printf "--vault-mount=%s" .Values.vault.mount | quote }}
- {{ printf "--vault-auth-path=%s" .Values.vault.authPath | quote }}
- {{ printf "--vault-password-policy=%s" .Values.vault.passwordPolicy | quote }}
{{- if .Values.vault.allowCopy }}
{{- if ne .Values.vault.login.method "kubernetes" }}
{{- fail "vault.allowCopy needs vault.login.method: kubernetes: a secret is copied with a login of its own, of the operator's ServiceAccount" }}
{{- end }}
- --vault-allow-copy
{{- end }}
{{- end }}

{{/* All flags for Vault. */}}
{{- define "environment-manager.vault-args" -}}
{{- $files := include "environment-manager.vault-files" . -}}
{{- $vault := .Values.vault -}}
- {{ printf "--vault-address=%s" $vault.address | quote }}
{{- with $vault.namespace }}
- {{ printf "--vault-namespace=%s" . | quote }}
{{- end }}
{{- $ports := list }}
{{- range $vault.ports }}{{ $ports = append $ports (toString .) }}{{ end }}
- --vault-ports={{ join "," $ports }}
{{- if $vault.ca.configMap }}
- --vault-ca-file={{ $files }}/ca.crt
{{- end }}
- --vault-login-method={{ $vault.login.method }}
{{- if ne $vault.login.method "token" }}
- {{ printf "--vault-login-path=%s" (include "environment-manager.vault-login-path" .) | quote }}
{{- end }}
{{- if eq $vault.login.method "kubernetes" }}
- {{ printf "--vault-login-role=%s" $vault.login.role | quote }}
{{- end }}
{{- if eq $vault.login.method "approle" }}
- --vault-role-id-file={{ $files }}/role-id
- --vault-secret-id-file={{ $files }}/secret-id
{{- else }}
- --vault-token-file={{ $files }}/token
{{- end }}
{{ include "environment-manager.vault-policy-args" . }}
- {{ printf "--vault-audience=%s" $vault.audience | quote }}
- --vault-check-interval={{ $vault.checkInterval }}
{{- with $vault.acrossProduction }}
- --vault-across-production={{ join "," . }}
{{- end }}
- --secrets-operator={{ .Values.secretsOperator.kind }}
{{- if include "environment-manager.brought-by" (dict "context" . "kind" "external-secrets") }}
{{- $account := .Values.secretsOperator.externalSecretsServiceAccount }}
- {{ printf "--external-secrets-service-account=%s/%s" $account.namespace $account.name | quote }}
{{- end }}
{{- end }}

{{/* What lies there. Not by subPath: what is renewed has to arrive. */}}
{{- define "environment-manager.vault-volume" -}}
name: vault
projected:
  # Its group may read, which is the pod's.
  defaultMode: 0440
  sources:
    {{- if eq .Values.vault.login.method "kubernetes" }}
    - serviceAccountToken: {audience: {{ .Values.vault.audience | quote }}, expirationSeconds: 600, path: token}
    {{- else }}
    # Until it is there the operator works, and says that it cannot log in: it can be asked for the policy first.
    - secret:
        name: {{ include "environment-manager.vault-secret" . }}
        optional: true
        items:
          {{- if eq .Values.vault.login.method "approle" }}
          - {key: role-id, path: role-id}
          - {key: secret-id, path: secret-id}
          {{- else }}
          - {key: token, path: token}
          {{- end }}
    {{- end }}
    {{- with .Values.vault.ca }}
    {{- if .configMap }}
    - configMap:
        name: {{ .configMap }}
        items: [{key: {{ .key | quote }}, path: ca.crt}]
    {{- end }}
    {{- end }}
{{- end }}
