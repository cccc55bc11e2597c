{{/*
For charts of applications. They name this one as a dependency, with `mode: none` in its values, and write:

    metadata:
      annotations:
        {{- include "sidekey.sidecarPodAnnotations" .Subcharts.sidekey | nindent 8 }}
    spec:
      initContainers:
        {{- include "sidekey.sidecar" .Subcharts.sidekey | nindent 8 }}    # first
      volumes:
        {{- include "sidekey.sidecarVolumes" .Subcharts.sidekey | nindent 8 }}

Without preStop: the sidecar gets SIGTERM after the last application container ended, when nobody calls any more.
*/}}
{{- define "sidekey.sidecar" -}}
{{- include "sidekey.validate" . -}}
- {{ include "sidekey.container" (list "sidecar" .) | nindent 2 | trim }}
{{- end }}

{{- define "sidekey.sidecarVolumes" -}}
{{- include "sidekey.volumes" . }}
{{- end }}

{{- define "sidekey.sidecarPodAnnotations" -}}
{{- include "sidekey.podAnnotations" . }}
{{- end }}
