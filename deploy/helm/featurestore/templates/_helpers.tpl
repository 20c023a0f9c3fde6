{{- define "featurestore.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "featurestore.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "featurestore.labels" -}}
{{ include "featurestore.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "featurestore.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What a chart can know to be wrong before a pod starts. */}}
{{- define "featurestore.check" -}}
{{- if or (not .Values.catalog) (hasPrefix "sqlite" (toString .Values.catalog.uri)) }}
{{- fail "catalog: pods share the catalog, so it must be PostgreSQL or a REST catalog; set its type and uri" }}
{{- end }}
{{- if or (not .Values.warehouse) (not (contains "://" .Values.warehouse)) }}
{{- fail "warehouse: pods share the tables' files, so set an address such as s3://bucket/warehouse" }}
{{- end }}
{{- if hasPrefix "lmdb" .Values.online }}
{{- fail "online: LMDB is a folder of one pod, and materialize runs in another; set redis://host:6379/0" }}
{{- end }}
{{- if and (not .Values.online) (not .Values.secretName) }}
{{- fail "online: set it to an address of Redis, or put FEATURESTORE_ONLINE into the secret that secretName names" }}
{{- end }}
{{- if not (or .Values.secretName .Values.settings.oidc_issuer .Values.settings.allow_anonymous) }}
{{- fail "secretName: the server asks for credentials; name a secret with FEATURESTORE_TOKEN, or set settings.oidc_issuer" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.host: set the name by which clients reach the server" }}
{{- end }}
{{- end }}

{{/* The environment of every container: each setting as FEATURESTORE_<NAME>. */}}
{{- define "featurestore.environment" -}}
{{- range $name, $value := .Values.settings }}
- name: FEATURESTORE_{{ upper $name }}
  value: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else if or (kindIs "slice" $value) (kindIs "map" $value) }}{{ toJson $value | quote }}{{ else if kindIs "float64" $value }}{{ if eq (float64 (int64 $value)) $value }}{{ int64 $value | quote }}{{ else }}{{ $value | quote }}{{ end }}{{ else }}{{ $value | quote }}{{ end }}
{{- end }}
- name: FEATURESTORE_CATALOG
  value: {{ toJson .Values.catalog | quote }}
- name: FEATURESTORE_WAREHOUSE
  value: {{ .Values.warehouse | quote }}
{{- with .Values.online }}
- name: FEATURESTORE_ONLINE
  value: {{ . | quote }}
{{- end }}
{{- with .Values.mlflowTrackingUri }}
- name: FEATURESTORE_MLFLOW_TRACKING_URI
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "featurestore.envFrom" -}}
{{- with .Values.secretName }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
{{- end }}

{{- define "featurestore.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "featurestore.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where pods run. */}}
{{- define "featurestore.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "featurestore.mountVolumes" -}}
{{- range .Values.mounts }}
- name: mount-{{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ .secret }}
  {{- else }}
  configMap:
    name: {{ .configMap }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "featurestore.mountPaths" -}}
{{- range .Values.mounts }}
- name: mount-{{ .name }}
  mountPath: {{ .path }}
  readOnly: true
{{- end }}
{{- end }}

{{/* A command on a schedule: the root context as `root`, its values as `values`, its name as `name`. */}}
{{- define "featurestore.cronjob" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "featurestore.name" .root }}-{{ .name }}
  labels: {{- include "featurestore.labels" .root | nindent 4 }}
spec:
  schedule: {{ .values.schedule | quote }}
  timeZone: Etc/UTC
  # Runs of one kind follow one another; the catalog would survive it otherwise, but the second would work in vain.
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 2
      activeDeadlineSeconds: {{ int64 .values.activeDeadlineSeconds }}
      template:
        metadata:
          labels:
            app.kubernetes.io/name: {{ .root.Chart.Name }}-{{ .name }}
            app.kubernetes.io/instance: {{ .root.Release.Name }}
        spec:
          restartPolicy: Never
          serviceAccountName: {{ include "featurestore.name" .root }}
          automountServiceAccountToken: false
          securityContext: {{- include "featurestore.podSecurity" .root | nindent 12 }}
          {{- include "featurestore.placement" .root | nindent 10 }}
          containers:
            - name: {{ .name }}
              image: {{ include "featurestore.image" .root }}
              imagePullPolicy: {{ .root.Values.image.pullPolicy }}
              command: [featurestore]
              args: {{ toJson .values.arguments }}
              env: {{- include "featurestore.environment" .root | nindent 16 }}
              {{- include "featurestore.envFrom" .root | nindent 14 }}
              resources: {{ toJson .values.resources }}
              securityContext: {{- include "featurestore.containerSecurity" .root | nindent 16 }}
              volumeMounts:
                - name: home
                  mountPath: /data
                - name: tmp
                  mountPath: /tmp
                {{- include "featurestore.mountPaths" .root | nindent 16 }}
          volumes:
            - name: home
              emptyDir:
                sizeLimit: {{ .values.spill }}
            - name: tmp
              emptyDir:
                sizeLimit: 1Gi
            {{- include "featurestore.mountVolumes" .root | nindent 12 }}
{{- end }}
