"""Owns the series of kube-state-metrics, every two minutes."""

import re

from . import layers
from .objects import amounts, node_labels, provider_id, reservation_name, restart_count
from .plan import uid

INTERVAL = 120
PHASE = 21


def clean(key):
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)


class State:
    def __init__(self, store, fleet):
        self.store, self.fleet = store, fleet
        self.base = {"job": "kube-state-metrics", "instance": "10.0.9.2:8080"}
        self.ticks = store.times(fleet.start - fleet.start % INTERVAL + PHASE, INTERVAL, "ksm", fleet.start, fleet.end)
        store.add("up", self.base, [(w, 1) for _, w in self.ticks])

    def put(self, name, labels, value, begin, end):
        fn = value if callable(value) else (lambda t: value)
        self.store.add(name, dict(self.base, **labels), [(w, fn(t)) for t, w in self.ticks if begin <= t < end])

    def node(self, node):
        me, life = {"node": node.name}, (node.created, node.ended)
        self.put("kube_node_info", dict(me, provider_id=provider_id(self.fleet, node), internal_ip=node.ip), 1, *life)
        self.put("kube_node_created", me, int(node.created), *life)
        self.put("kube_node_labels", dict(me, **{"label_" + clean(k): v for k, v in node_labels(self.fleet, node).items()}),
                 1, *life)
        for resource, text in amounts(node).items():
            if resource in ("memory", "pods"):
                continue
            unit = "core" if resource == "cpu" else "integer"
            for name in ("capacity", "allocatable"):
                self.put(f"kube_node_status_{name}", dict(me, resource=clean(resource), unit=unit), int(text), *life)
        for status in ("true", "false", "unknown"):
            self.put("kube_node_status_condition", dict(me, condition="Ready", status=status),
                     1 if status == "true" else 0, *life)

    def pod(self, s, p):
        end = p.ended + (3600 if s.job else 0)
        life = (p.created, end)
        me = {"namespace": s.ns, "pod": p.name, "uid": p.uid}
        owner = p.owner
        self.put("kube_pod_info", dict(me, node=p.node.name, pod_ip=p.ip, host_ip=p.node.ip, created_by_kind=owner[0],
                                       created_by_name=owner[3]), 1, p.scheduled, end)
        self.put("kube_pod_owner", dict(me, owner_kind=owner[0], owner_name=owner[3], owner_is_controller="true"), 1, *life)
        self.put("kube_pod_created", me, int(p.created), *life)
        self.put("kube_pod_start_time", me, int(p.scheduled), p.scheduled, end)
        for phase in ("Pending", "Running", "Succeeded", "Failed", "Unknown"):
            def is_phase(t, phase=phase):
                now = "Pending" if t < p.scheduled + 25 else "Succeeded" if t >= p.ended else "Running"
                return int(now == phase)
            self.put("kube_pod_status_phase", dict(me, phase=phase), is_phase, *life)
        for condition in ("true", "false"):
            self.put("kube_pod_status_ready", dict(me, condition=condition),
                     lambda t, c=condition: int(p.is_ready(t) == (c == "true")), *life)
        if p.ready < end:
            self.put("kube_pod_status_ready_time", me, int(p.ready), p.ready, end)
        container = layers.container_name(s) if p.leader else "vllm-worker"
        box = dict(me, container=container, node=p.node.name)
        resource = layers.gpu_resource(s)
        if resource:
            for kind in ("requests", "limits"):
                self.put(f"kube_pod_container_resource_{kind}", dict(box, resource=clean(resource), unit="integer"),
                         s.gpus, *life)
        self.put("kube_pod_container_resource_requests", dict(box, resource="cpu", unit="core"), s.cpu[0], *life)
        if s.cpu[1]:
            self.put("kube_pod_container_resource_limits", dict(box, resource="cpu", unit="core"), s.cpu[1], *life)
        self.put("kube_pod_container_status_restarts_total", dict(me, container=container),
                 lambda t: restart_count(s, p, t), *life)
        if s.crash_loop:
            self.put("kube_pod_container_status_waiting_reason", dict(me, container=container, reason="CrashLoopBackOff"),
                     1, p.scheduled + 300, end)

    def service(self, s):
        for role in s.roles:
            name = layers.deployment_name(s, role)
            mine = [p for p in s.pods if p.role == role]
            if mine and mine[0].owner[0] == "ReplicaSet":
                self.put("kube_replicaset_owner", {"namespace": s.ns, "replicaset": mine[0].owner[3], "owner_kind": "Deployment",
                                                   "owner_name": name, "owner_is_controller": "true"}, 1, s.created, self.fleet.end)
                me = {"namespace": s.ns, "deployment": name}
                self.put("kube_deployment_spec_replicas", me, lambda t: sum(p.created <= t < p.ended for p in mine),
                         s.created, self.fleet.end)
                self.put("kube_deployment_status_replicas_ready", me, lambda t: sum(p.is_ready(t) for p in mine),
                         s.created, self.fleet.end)
        b = s.bounds
        if b and b.kind != "knative":
            name = f"keda-hpa-{s.name}" if b.kind == "keda" else s.name
            me = {"namespace": s.ns, "horizontalpodautoscaler": name}
            life = (s.created, self.fleet.end)
            self.put("kube_horizontalpodautoscaler_info", dict(
                me, scaletargetref_api_version="apps/v1", scaletargetref_kind="Deployment",
                scaletargetref_name=layers.deployment_name(s)), 1, *life)
            self.put("kube_horizontalpodautoscaler_spec_min_replicas", me, max(1, b.low), *life)
            self.put("kube_horizontalpodautoscaler_spec_max_replicas", me, b.high, *life)

            def count(t):
                return sum(p.created <= t < p.ended for p in s.pods)
            self.put("kube_horizontalpodautoscaler_status_current_replicas", me, count, *life)
            self.put("kube_horizontalpodautoscaler_status_desired_replicas", me, count, *life)
            for status in ("true", "false"):
                self.put("kube_horizontalpodautoscaler_status_condition", dict(me, condition="ScalingActive", status=status),
                         lambda t, w=status: int((count(t) > 0) == (w == "true")), *life)

    def reservations(self):
        for pool in self.fleet.pools:
            for node in pool.nodes if pool.fraction else []:
                mates = [p for p in pool.pods if p.node is node]
                if not mates:
                    continue
                created, end = min(p.created for p in mates), self.fleet.end
                me = {"namespace": "kai-resource-reservation", "pod": reservation_name(self.fleet, node),
                      "uid": uid(self.fleet.seed, "reservation", node.name)}
                self.put("kube_pod_info", dict(me, node=node.name, created_by_kind="", created_by_name=""), 1, created, end)
                for phase in ("Pending", "Running"):
                    self.put("kube_pod_status_phase", dict(me, phase=phase), int(phase == "Running"), created, end)
                self.put("kube_pod_status_ready", dict(me, condition="true"), 1, created, end)
                self.put("kube_pod_container_resource_requests", dict(
                    me, container="resource-reservation", node=node.name, resource="nvidia_com_gpu", unit="integer"), 1, created, end)


def emit(store, fleet):
    state = State(store, fleet)
    for node in fleet.nodes:
        state.node(node)
    for s in fleet.services:
        for p in s.pods:
            state.pod(s, p)
        state.service(s)
    state.reservations()
