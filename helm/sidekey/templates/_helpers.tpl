{{/* Names are cut before a suffix is added: 63 characters are the limit, the longest suffix is "-dashboard". */}}
{{- define "sidekey.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "sidekey.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Selectors cannot be changed later, so they hold nothing that does. */}}
{{- define "sidekey.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sidekey.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" | toYaml }}
{{- end }}

{{- define "sidekey.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/managed-by" .Release.Service }}
{{- merge (include "sidekey.selectorLabels" . | fromYaml) $own (default dict .Values.commonLabels) | toYaml }}
{{- end }}

{{- define "sidekey.image" -}}
{{- $image := .Values.image }}
{{- if $image.registry }}{{ $image.registry }}/{{ end }}{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "sidekey.serviceAccountName" -}}
{{- default (ternary (include "sidekey.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "sidekey.configMapName" -}}
{{- default (printf "%s-config" (include "sidekey.fullname" .)) .Values.existingConfigMap }}
{{- end }}

{{/* Of ("keys" | "tenants" | "admin" | "redis", root): the Secret that holds it, or nothing. */}}
{{- define "sidekey.secretName" -}}
{{- $what := index . 0 }}
{{- $root := index . 1 }}
{{- $values := index $root.Values $what }}
{{- if $values.existingSecret }}
{{- $values.existingSecret }}
{{- else if or $values.inline $values.url }}
{{- printf "%s-%s" (include "sidekey.fullname" $root) $what }}
{{- end }}
{{- end }}

{{- define "sidekey.usesRedis" -}}
{{- if or .Values.redis.existingSecret .Values.redis.url }}yes{{ end }}
{{- end }}

{{/* Of (loopback or not, port, root): the addresses, separated by commas. */}}
{{- define "sidekey.addresses" -}}
{{- $loopback := index . 0 }}
{{- $port := index . 1 }}
{{- $addresses := list }}
{{- range (index . 2).Values.listen.ipFamilies }}
{{- $host := ternary (ternary "[::1]" "127.0.0.1" (eq . "IPv6")) (ternary "[::]" "0.0.0.0" (eq . "IPv6")) $loopback }}
{{- $addresses = append $addresses (printf "%s:%d" $host (int $port)) }}
{{- end }}
{{- join "," $addresses }}
{{- end }}

{{- define "sidekey.datadogAnnotations" -}}
{{- $instance := dict
  "openmetrics_endpoint" (printf "http://%%%%host%%%%:%d/metrics" (int .Values.admin.port))
  "namespace" "sidekey"
  "raw_metric_prefix" "sidekey_"
  "metrics" (list ".+") }}
ad.datadoghq.com/sidekey.checks: {{ dict "openmetrics" (dict "instances" (list $instance)) | toJson | quote }}
{{- end }}

{{/* The rules take jobs whose name begins with sidekey, and compare the processes of one job. */}}
{{- define "sidekey.job" -}}
- targetLabel: job
  replacement: sidekey-{{ .Release.Name }}
{{- end }}
