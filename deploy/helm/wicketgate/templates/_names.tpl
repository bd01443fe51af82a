{{- define "wicketgate.name" -}}
{{- if contains "wicketgate" .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-wicketgate" .Release.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "wicketgate.selector" -}}
app.kubernetes.io/name: wicketgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wicketgate.migration" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: migrate
{{- end }}

{{- define "wicketgate.labels" -}}
{{ include "wicketgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "wicketgate.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "wicketgate.account" -}}
{{- .Values.serviceAccount.name | default (include "wicketgate.name" .) }}
{{- end }}

{{/* Pod security "restricted", and a root that nobody writes to. */}}
{{- define "wicketgate.pod" -}}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch # keys keep their mode 0600
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "wicketgate.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "wicketgate.database" -}}
- { name: WICKETGATE_STORE_URL, value: {{ .Values.database.url | quote }} }
- name: PGPASSWORD
  valueFrom: { secretKeyRef: { name: {{ .Values.database.passwordSecret.name }}, key: {{ .Values.database.passwordSecret.key }} } }
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
