{{- define "idleproof.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "idleproof.account" -}}
{{- .Values.serviceAccount.name | default (include "idleproof.name" .) -}}
{{- end -}}

{{- define "idleproof.labels" -}}
app.kubernetes.io/name: idleproof
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "idleproof.selector" -}}
app.kubernetes.io/name: idleproof
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* One container of a job. Takes root, name, args, resources. */}}
{{- define "idleproof.container" -}}
- name: {{ .name }}
  image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
    {{- toYaml .args | nindent 4 }}
  env:
    - name: IDLEPROOF_CONFIG
      value: /etc/idleproof/idleproof.toml
    - name: TMPDIR
      value: /spill
    {{- with .root.Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
  volumeMounts:
    - {name: config, mountPath: /etc/idleproof/idleproof.toml, subPath: idleproof.toml, readOnly: true}
    - {name: spill, mountPath: /spill}
    {{- if .root.Values.data.enabled }}
    - {name: data, mountPath: /var/lib/idleproof}
    {{- end }}
    {{- range .root.Values.secrets }}
    - {name: secret-{{ .name }}, mountPath: /etc/idleproof/secrets/{{ .name }}, readOnly: true}
    {{- end }}
{{- end -}}

{{/* A CronJob. Takes root, job (its values), name, init (containers before), main (containers). */}}
{{- define "idleproof.cronjob" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "idleproof.name" .root }}-{{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "idleproof.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  schedule: {{ .job.schedule | quote }}
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: {{ .root.Values.historyLimit }}
  failedJobsHistoryLimit: {{ .root.Values.historyLimit }}
  jobTemplate:
    spec:
      backoffLimit: {{ .root.Values.backoffLimit }}
      activeDeadlineSeconds: {{ .job.deadlineSeconds }}
      # The exit codes of the README: what trying again cannot mend ends the job at once.
      podFailurePolicy:
        rules:
          - action: Ignore
            onPodConditions:
              - {type: DisruptionTarget, status: "True"}
          - action: FailJob
            onExitCodes:
              operator: In
              # usage, findings, verification, coverage
              values: [2, 3, 4, 6]
      template:
        metadata:
          labels:
            {{- include "idleproof.labels" .root | nindent 12 }}
            app.kubernetes.io/component: {{ .name }}
            {{- with .root.Values.podLabels }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          annotations:
            checksum/config: {{ .root.Values.config | sha256sum }}
            {{- with .root.Values.podAnnotations }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        spec:
          restartPolicy: Never
          serviceAccountName: {{ include "idleproof.account" .root }}
          # Only the job that lists the cluster's objects speaks to its API.
          automountServiceAccountToken: {{ .token }}
          {{- with .root.Values.priorityClassName }}
          priorityClassName: {{ . }}
          {{- end }}
          {{- with .root.Values.image.pullSecrets }}
          imagePullSecrets:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          securityContext:
            {{- toYaml .root.Values.podSecurityContext | nindent 12 }}
          {{- with .init }}
          initContainers:
            {{- . | nindent 12 }}
          {{- end }}
          containers:
            {{- .main | nindent 12 }}
          volumes:
            - name: config
              configMap:
                name: {{ include "idleproof.name" .root }}
            - name: spill
              emptyDir: {sizeLimit: {{ .root.Values.spill.size }}}
            {{- if .root.Values.data.enabled }}
            - name: data
              persistentVolumeClaim:
                claimName: {{ .root.Values.data.existingClaim | default (include "idleproof.name" .root) }}
            {{- end }}
            {{- range .root.Values.secrets }}
            - name: secret-{{ .name }}
              secret: {secretName: {{ .secretName }}, defaultMode: 0440}
            {{- end }}
          {{- with .root.Values.nodeSelector }}
          nodeSelector:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .root.Values.tolerations }}
          tolerations:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .root.Values.affinity }}
          affinity:
            {{- toYaml . | nindent 12 }}
          {{- end }}
{{- end -}}
