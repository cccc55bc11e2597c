{{/*
The container, of (role, root). `sidecar`: open to its Pod only, restarted by the kubelet beside the application.
`standalone`: open to the network, with a time after SIGTERM in which it still serves.
*/}}
{{- define "sidekey.container" -}}
{{- $role := index . 0 }}
{{- $root := index . 1 }}
{{- $values := $root.Values }}
{{- $sidecar := eq $role "sidecar" -}}
name: sidekey
image: {{ include "sidekey.image" $root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- if $sidecar }}
restartPolicy: Always
{{- end }}
args:
  - run
  - --config=/etc/sidekey/config/sidekey.toml
  {{- if not $sidecar }}
  - --linger={{ int $values.lingerSeconds }}
  {{- end }}
  {{- with $values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- include "sidekey.env" . | trim | nindent 2 }}
{{- with $values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- if not $sidecar }}
  - name: http
    containerPort: {{ int $values.listen.port }}
  {{- end }}
  - name: sk-admin
    containerPort: {{ int $values.admin.port }}
startupProbe:
  httpGet: {path: /startupz, port: sk-admin}
  {{- toYaml $values.startupProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /livez, port: sk-admin}
  {{- toYaml $values.livenessProbe | nindent 2 }}
{{- if or (not $sidecar) $values.sidecar.readinessProbe }}
readinessProbe:
  httpGet: {path: /readyz, port: sk-admin}
  {{- toYaml $values.readinessProbe | nindent 2 }}
{{- end }}
resources:
  {{- toYaml (ternary $values.sidecar.resources $values.resources $sidecar) | nindent 2 }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  # Directories. A file mounted by subPath would never change again.
  - {name: sidekey-config, mountPath: /etc/sidekey/config, readOnly: true}
  {{- if include "sidekey.hasKeys" $root }}
  - {name: sidekey-keys, mountPath: /etc/sidekey/keys, readOnly: true}
  {{- end }}
  {{- if include "sidekey.secretName" (list "tenants" $root) }}
  - {name: sidekey-tenants, mountPath: /etc/sidekey/tenants, readOnly: true}
  {{- end }}
  {{- if include "sidekey.secretName" (list "admin" $root) }}
  - {name: sidekey-admin, mountPath: /etc/sidekey/admin, readOnly: true}
  {{- end }}
  {{- if $values.transparent.hosts }}
  - {name: sidekey-tls, mountPath: /etc/sidekey/tls, readOnly: true}
  {{- end }}
  {{- if not (include "sidekey.usesRedis" $root) }}
  - {name: sidekey-state, mountPath: /var/lib/sidekey}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What depends on the role and on mounts is said here, before sidekey.toml. One entry a name: Helm 4 refuses two. */}}
{{- define "sidekey.env" -}}
{{- $sidecar := eq (index . 0) "sidecar" }}
{{- $root := index . 1 }}
{{- $values := $root.Values }}
{{- $env := list
  (dict "name" "SIDEKEY_LISTEN__HTTP" "value" (include "sidekey.addresses" (list $sidecar $values.listen.port $root)))
  (dict "name" "SIDEKEY_ADMIN__LISTEN" "value" (include "sidekey.addresses" (list false $values.admin.port $root))) }}
{{- if include "sidekey.hasKeys" $root }}
{{- if $values.keys.directory }}
{{- $env = append $env (dict "name" "SIDEKEY_KEYS_DIR" "value" "/etc/sidekey/keys") }}
{{- else }}
{{- $env = append $env (dict "name" "SIDEKEY_KEYS_FILE" "value" (printf "/etc/sidekey/keys/%s" $values.keys.secretKey)) }}
{{- end }}
{{- end }}
{{- if include "sidekey.secretName" (list "tenants" $root) }}
{{- $file := dict "name" "SIDEKEY_TENANTS_FILE" "value" (printf "/etc/sidekey/tenants/%s" $values.tenants.secretKey) }}
{{- /* Forgotten in sidekey.toml, it would let everybody in. */}}
{{- $env = concat $env (list $file (dict "name" "SIDEKEY_CLIENTS__MODE" "value" "tenants")) }}
{{- end }}
{{- if include "sidekey.secretName" (list "admin" $root) }}
{{- $env = append $env (dict "name" "SIDEKEY_ADMIN__TOKEN_FILE" "value" (printf "/etc/sidekey/admin/%s" $values.admin.secretKey)) }}
{{- end }}
{{- if $values.transparent.hosts }}
{{- $env = concat $env (list
  (dict "name" "SIDEKEY_LISTEN__HTTPS" "value" (include "sidekey.addresses" (list true $values.transparent.port $root)))
  (dict "name" "SIDEKEY_LISTEN__TLS_CERT" "value" "/etc/sidekey/tls/cert.pem")
  (dict "name" "SIDEKEY_LISTEN__TLS_KEY" "value" "/etc/sidekey/tls/key.pem")
  (dict "name" "SIDEKEY_VENDOR__RESOLVER" "value" "dns")) }}
{{- end }}
{{- if include "sidekey.usesRedis" $root }}
{{- $source := dict "secretKeyRef" (dict "name" (include "sidekey.secretName" (list "redis" $root)) "key" $values.redis.secretKey) }}
{{- $env = concat $env (list (dict "name" "SIDEKEY_STATE__STORE" "value" "redis") (dict "name" "SIDEKEY_STATE__URL" "valueFrom" $source)) }}
{{- else }}
{{- $env = append $env (dict "name" "SIDEKEY_STATE__PATH" "value" "/var/lib/sidekey/sidekey.db") }}
{{- end }}
{{- $last := dict }}
{{- range $at, $entry := concat $env (default list $values.extraEnv) }}
{{- $_ := set $last $entry.name $at }}
{{- end }}
{{- range $at, $entry := concat $env (default list $values.extraEnv) }}
{{- if eq (get $last $entry.name) $at }}
- {{ toYaml $entry | nindent 2 | trim }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sidekey.hasKeys" -}}
{{- if or .Values.keys.volume (include "sidekey.secretName" (list "keys" .)) }}yes{{ end }}
{{- end }}

{{/* None is optional: where a Secret is missing the Pod waits, and its events say for what. */}}
{{- define "sidekey.volumes" -}}
- name: sidekey-config
  configMap:
    name: {{ include "sidekey.configMapName" . | toYaml }}
{{- if .Values.keys.volume }}
- name: sidekey-keys
  {{- toYaml .Values.keys.volume | nindent 2 }}
{{- end }}
{{- range $what := list "keys" "tenants" "admin" }}
{{- $name := include "sidekey.secretName" (list $what $) }}
{{- if and $name (not (and (eq $what "keys") $.Values.keys.volume)) }}
- name: sidekey-{{ $what }}
  secret:
    secretName: {{ $name | toYaml }}
{{- end }}
{{- end }}
{{- if .Values.transparent.hosts }}
# One Secret, two volumes: no client sees the private key.
- name: sidekey-tls
  secret:
    secretName: {{ .Values.transparent.existingSecret | toYaml }}
    items: [{key: cert.pem, path: cert.pem}, {key: key.pem, path: key.pem}]
- name: sidekey-ca
  secret:
    secretName: {{ .Values.transparent.existingSecret | toYaml }}
    items: [{key: ca.pem, path: ca.pem}]
{{- end }}
{{- if not (include "sidekey.usesRedis" .) }}
- name: sidekey-state
  {{- if and (eq .Values.mode "standalone") .Values.state.claim.enabled }}
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-state" (include "sidekey.fullname" .)) .Values.state.claim.existingClaim | toYaml }}
  {{- else }}
  # Outlives the container, not the Pod.
  emptyDir:
    sizeLimit: {{ .Values.state.sizeLimit }}
  {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sidekey.podAnnotations" -}}
{{- $annotations := dict }}
{{- if and .Values.rollOnConfigChange (not .Values.existingConfigMap) }}
{{- $_ := set $annotations "checksum/sidekey-config" (sha256sum .Values.config) }}
{{- end }}
{{- if and .Values.rollOnKeysChange .Values.keys.inline }}
{{- $_ := set $annotations "checksum/sidekey-keys" (sha256sum .Values.keys.inline) }}
{{- end }}
{{- if .Values.datadog.enabled }}
{{- $annotations = merge $annotations (include "sidekey.datadogAnnotations" . | fromYaml) }}
{{- end }}
{{- with merge (deepCopy (default dict .Values.podAnnotations)) $annotations }}
{{- toYaml . }}
{{- end }}
{{- end }}
