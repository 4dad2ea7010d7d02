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

{{/* Where others reach a program: by the name of the Service that leads to its pods. */}}
{{- define "onhand.reached" -}}
- name: POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: ONHAND_URL
  value: "{{ include "onhand.scheme" .root }}://$(POD).{{ .set }}:{{ .port }}"
- name: ONHAND_WEB_PORT
  value: {{ .port | quote }}
{{ include "onhand.served" .root }}
{{- end }}

{{/* Settings of a program that answers on a port. */}}
{{- define "onhand.served" -}}
- name: ONHAND_WEB_HOST
  value: "0.0.0.0"
- name: ONHAND_DATA_DIR
  value: /data
{{- if .Values.tls.secret }}
- name: ONHAND_TLS_CERT
  value: /secrets/tls/tls.crt
- name: ONHAND_TLS_KEY
  value: /secrets/tls/tls.key
- name: ONHAND_TLS_CA
  value: /secrets/tls/ca.crt
{{- end }}
{{- if .Values.peers.secret }}
- name: ONHAND_PEER_SECRET
  value: /secrets/peers/peers
{{- end }}
{{- if .Values.tokens.secret }}
{{- if not .Values.peers.secret }}
{{- fail "tokens.secret: workers with tokens prove to each other who they are: name peers.secret too." }}
{{- end }}
- name: ONHAND_TOKENS
  value: /secrets/tokens/tokens.json
{{- end }}
{{ include "onhand.settings" . }}
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
{{ include "onhand.filemounts" . }}
{{- end }}

{{/* What settings name beside these: also for a program that answers nobody. */}}
{{- define "onhand.filemounts" -}}
{{- range $name, $_ := .Values.files }}
- name: files-{{ $name }}
  mountPath: /files/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "onhand.filevolumes" -}}
{{- range $name, $from := .Values.files }}
{{- if eq (empty $from.secret) (empty $from.configMap) }}
{{- fail (printf "files.%s: name either a secret or a configMap." $name) }}
{{- end }}
- name: files-{{ $name }}
  {{- with $from.secret }}
  secret:
    secretName: {{ . }}
    defaultMode: 0440
  {{- end }}
  {{- with $from.configMap }}
  configMap:
    name: {{ . }}
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
{{ include "onhand.filevolumes" . }}
{{- end }}

{{/* Of every pod: by whom it runs, and where. */}}
{{- define "onhand.pod" -}}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of every container. */}}
{{- define "onhand.program" -}}
image: {{ include "onhand.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
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
