{{/*
For Pods whose client has the vendor's https host compiled in (docs/transparent.md). Beside the templates of _sidecar.tpl:

    spec:
      hostAliases:
        {{- include "sidekey.hostAliases" .Subcharts.sidekey | nindent 8 }}
      securityContext:
        sysctls:
          {{- include "sidekey.sysctls" .Subcharts.sidekey | nindent 10 }}
      containers:
        - name: client
          env:
            {{- include "sidekey.clientEnv" .Subcharts.sidekey | nindent 12 }}
          volumeMounts:
            {{- include "sidekey.clientVolumeMounts" .Subcharts.sidekey | nindent 12 }}

Without transparent.hosts each prints nothing, so that it can stay, also beside entries of your own. A `[]` there would be no YAML.
*/}}
{{- define "sidekey.hostAliases" -}}
{{- $hosts := .Values.transparent.hosts }}
{{- $aliases := list }}
{{- range ternary .Values.listen.ipFamilies list (not (empty $hosts)) }}
{{- $aliases = append $aliases (dict "ip" (ternary "::1" "127.0.0.1" (eq . "IPv6")) "hostnames" $hosts) }}
{{- end }}
{{- with $aliases }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/*
Sidekey is not root. Kubernetes counts this one as safe. From the lowest of its ports on: where the runtime starts at 0, as
containerd 2 does, a higher number would take the others away.
*/}}
{{- define "sidekey.sysctls" -}}
{{- $port := min (int .Values.transparent.port) (int .Values.listen.port) (int .Values.admin.port) }}
{{- if and .Values.transparent.hosts (lt $port 1024) -}}
- {name: net.ipv4.ip_unprivileged_port_start, value: {{ $port | quote }}}
{{- end }}
{{- end }}

{{- define "sidekey.clientEnv" -}}
{{- $env := list }}
{{- range ternary .Values.transparent.trustVariables list (not (empty .Values.transparent.hosts)) }}
{{- $env = append $env (dict "name" . "value" "/etc/sidekey/ca/ca.pem") }}
{{- end }}
{{- with $env }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{- define "sidekey.clientVolumeMounts" -}}
{{- if .Values.transparent.hosts -}}
- {name: sidekey-ca, mountPath: /etc/sidekey/ca, readOnly: true}
{{- end }}
{{- end }}
