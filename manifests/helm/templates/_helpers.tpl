{{/* A file of manifests/ with the release's namespace in place of `zen-lead`: (list $ PATH). */}}
{{- define "zen-lead.file" -}}
{{- $top := index . 0 -}}
{{- $text := $top.Files.Get (printf "files/%s" (index . 1)) | required (printf "the chart lacks files/%s" (index . 1)) -}}
{{- $text = $text | replace "namespace: zen-lead\n" (printf "namespace: %s\n" $top.Release.Namespace) -}}
{{- $text = $text | replace "serviceaccount:zen-lead:" (printf "serviceaccount:%s:" $top.Release.Namespace) -}}
{{- $text = $text | replace "matchNames: [zen-lead]" (printf "matchNames: [%s]" $top.Release.Namespace) -}}
{{- $text | trim -}}
{{- end }}

{{/* The flags whose values differ from the program's defaults, as a YAML list. */}}
{{- define "zen-lead.flags" -}}
{{- $controller := .Values.controller -}}
{{- range $flag := list
  (list "fast-retry-initial-delay-ms" $controller.fastRetryInitialDelayMs 20)
  (list "fast-retry-max-delay-ms" $controller.fastRetryMaxDelayMs 500)
  (list "fast-retry-max-attempts" $controller.fastRetryMaxAttempts 2)
  (list "max-cache-size-per-namespace" $controller.maxCacheSizePerNamespace 1000)
  (list "max-concurrent-reconciles" $controller.maxConcurrentReconciles 32)
  (list "qps" $controller.qps 0)
  (list "burst" $controller.burst 0)
  (list "enable-leader-pod-cache" $controller.enableLeaderPodCache true)
  (list "leader-pod-cache-ttl-seconds" $controller.leaderPodCacheTTLSeconds 30)
  (list "enable-parallel-api-calls" $controller.enableParallelAPICalls true)
}}
{{- if ne (toString (index $flag 1)) (toString (index $flag 2)) }}
- {{ printf "--%s=%v" (index $flag 0) (index $flag 1) }}
{{- end }}
{{- end }}
{{- with .Values.followLeases.namespaces }}
- --follow-lease-namespaces={{ join "," . }}
{{- end }}
{{- range $controller.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
