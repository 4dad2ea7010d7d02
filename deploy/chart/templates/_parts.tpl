{{/* What is the same for workers, the ledger and the hook that makes the topics. */}}

{{- define "onhand.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "onhand.labels" -}}
app.kubernetes.io/name: onhand
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "onhand.scheme" -}}
{{ if .Values.tls.secret }}https{{ else }}http{{ end }}
{{- end }}

{{/* Settings that every program has. */}}
{{- define "onhand.settings" -}}
- name: ONHAND_KAFKA
  value: {{ .Values.kafka | quote }}
- name: ONHAND_PARTITIONS
  value: {{ .Values.partitions | quote }}
- name: ONHAND_REPLICATION
  value: {{ .Values.replication | quote }}
- name: ONHAND_LOG_FORMAT
  value: json
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := .Values.secretSettings }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.secret }}
      key: {{ $from.key }}
{{- end }}
{{- end }}

{{/* Those of a program that others ask; by the name of the set that it is in, and its port. */}}
{{- define "onhand.served" -}}
- name: POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: ONHAND_URL
  value: "{{ include "onhand.scheme" .root }}://$(POD).{{ .set }}:{{ .port }}"
- name: ONHAND_WEB_HOST
  value: "0.0.0.0"
- name: ONHAND_WEB_PORT
  value: {{ .port | quote }}
- name: ONHAND_DATA_DIR
  value: /data
{{- with .root.Values }}
{{- if .tls.secret }}
- name: ONHAND_TLS_CERT
  value: /secrets/tls/tls.crt
- name: ONHAND_TLS_KEY
  value: /secrets/tls/tls.key
- name: ONHAND_TLS_CA
  value: /secrets/tls/ca.crt
{{- end }}
{{- if .peers.secret }}
- name: ONHAND_PEER_SECRET
  value: /secrets/peers/peers
{{- end }}
{{- if .tokens.secret }}
- name: ONHAND_TOKENS
  value: /secrets/tokens/tokens.json
{{- end }}
{{- end }}
{{ include "onhand.settings" .root }}
{{- end }}

{{/* Whole folders and no single files: only so is a changed Secret seen without a restart. */}}
{{- define "onhand.mounts" -}}
- name: data
  mountPath: /data
- name: tmp
  mountPath: /tmp
{{- range $name := list "tls" "peers" "tokens" }}
{{- if (index $.Values $name).secret }}
- name: {{ $name }}
  mountPath: /secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "onhand.volumes" -}}
- name: tmp
  emptyDir: {}
{{- range $name := list "tls" "peers" "tokens" }}
{{- with (index $.Values $name).secret }}
- name: {{ $name }}
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{- define "onhand.user" -}}
runAsNonRoot: true
runAsUser: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "onhand.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "onhand.probes" -}}
startupProbe:
  httpGet: {path: /live, port: http, scheme: {{ include "onhand.scheme" . | upper }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /live, port: http, scheme: {{ include "onhand.scheme" . | upper }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /ready, port: http, scheme: {{ include "onhand.scheme" . | upper }}}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end }}

{{- define "onhand.disk" -}}
- metadata:
    name: data
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .class }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .size }}
{{- end }}
