{{/* What the schema cannot say, because it is about two values. */}}
{{- define "sidekey.validate" -}}
{{- $values := .Values }}
{{- $redis := include "sidekey.usesRedis" . }}
{{- $several := or $values.autoscaling.enabled (gt (int $values.replicaCount) 1) }}
{{- $problems := list }}
{{- if and $values.keys.inline (or $values.keys.existingSecret $values.keys.volume) }}
{{- $problems = append $problems "keys.inline: keys.existingSecret or keys.volume is set, too; choose one" }}
{{- end }}
{{- if and $values.keys.existingSecret $values.keys.volume }}
{{- $problems = append $problems "keys.volume: keys.existingSecret is set, too; choose one" }}
{{- end }}
{{- if and $values.keys.inline $values.keys.directory }}
{{- $problems = append $problems "keys.directory: keys.inline is one file; put the keys into a Secret, or take keys.directory out" }}
{{- end }}
{{- range $what := list "tenants" "admin" }}
{{- $part := index $values $what }}
{{- if and $part.existingSecret $part.inline }}
{{- $problems = append $problems (printf "%s.inline: %s.existingSecret is set, too; choose one" $what $what) }}
{{- end }}
{{- end }}
{{- if and $values.redis.existingSecret $values.redis.url }}
{{- $problems = append $problems "redis.url: redis.existingSecret is set, too; choose one" }}
{{- end }}
{{- if contains "@" $values.redis.url }}
{{- $problems = append $problems "redis.url: it holds a password; put the whole url into a Secret and name it in redis.existingSecret" }}
{{- end }}
{{- if eq (int $values.listen.port) (int $values.admin.port) }}
{{- $problems = append $problems "admin.port: it is listen.port, too; choose another" }}
{{- end }}
{{- $transparent := $values.transparent }}
{{- if and $transparent.hosts (not $transparent.existingSecret) }}
{{- $problems = append $problems "transparent.existingSecret: hosts are set; name a Secret with cert.pem, key.pem and ca.pem, which `sidekey cert` makes" }}
{{- end }}
{{- if and (not $transparent.hosts) (or $transparent.existingSecret $transparent.trustVariables) }}
{{- $problems = append $problems "transparent.hosts: say which hosts the clients have compiled in, such as [2captcha.com]; without them there is no TLS" }}
{{- end }}
{{- if and $transparent.hosts (has (int $transparent.port) (list (int $values.listen.port) (int $values.admin.port))) }}
{{- $problems = append $problems "transparent.port: it is listen.port or admin.port, too; choose another for that one" }}
{{- end }}
{{- if and $transparent.hosts (eq $values.mode "standalone") }}
{{- $problems = append $problems "transparent.hosts: a host can lead to Sidekey in its own Pod only; set mode to none and put the sidecar beside the client" }}
{{- end }}
{{- if eq $values.mode "standalone" }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "sidekey.fullname" .)) }}
{{- $problems = append $problems "fullnameOverride: the name of the Service is made from that of the release, begins with a letter and has no dots; set one that fits" }}
{{- end }}
{{- if and $several (not $redis) }}
{{- $problems = append $problems "replicaCount: several replicas must share their state; set redis.existingSecret or redis.url, or keep one replica without autoscaling" }}
{{- end }}
{{- if and $values.state.claim.enabled $redis }}
{{- $problems = append $problems "state.claim.enabled: the state is in Redis; take one of the two out" }}
{{- end }}
{{- if and $values.podDisruptionBudget.enabled (not $several) }}
{{- $problems = append $problems "podDisruptionBudget.enabled: with one replica it would block every drain of a node; raise replicaCount or take it out" }}
{{- end }}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) }}
{{- $problems = append $problems "autoscaling.minReplicas: it is above autoscaling.maxReplicas" }}
{{- end }}
{{- if and $values.autoscaling.enabled (not (or $values.autoscaling.targetCPUUtilizationPercentage $values.autoscaling.targetWaitingSubmits)) }}
{{- $problems = append $problems "autoscaling.enabled: there is nothing to scale by; set targetCPUUtilizationPercentage or targetWaitingSubmits" }}
{{- end }}
{{- if lt (int $values.terminationGracePeriodSeconds) (add (int $values.lingerSeconds) 25 | int) }}
{{- $problems = append $problems "terminationGracePeriodSeconds: it must hold lingerSeconds and 25 seconds of draining" }}
{{- end }}
{{- else }}
{{- range $what := list "autoscaling" "podDisruptionBudget" "networkPolicy" "serviceMonitor" }}
{{- if (index $values $what).enabled }}
{{- $problems = append $problems (printf "%s.enabled: with mode none there is no workload of this chart; make it for your own" $what) }}
{{- end }}
{{- end }}
{{- if $values.state.claim.enabled }}
{{- $problems = append $problems "state.claim.enabled: the state of a sidecar is on an emptyDir; share it through redis if it must outlive the Pod" }}
{{- end }}
{{- if and $values.podMonitor.enabled (not $values.podMonitor.matchLabels) }}
{{- $problems = append $problems "podMonitor.matchLabels: with mode none the chart does not know your Pods; say which labels they have" }}
{{- end }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\nsidekey: these values do not fit together:\n- %s\n" (join "\n- " $problems)) }}
{{- end }}
{{- end }}
