"""Owns the fleet of cluster prod-a: AWS us-east-1, Karpenter nodes, 13 GPUs and a visitor."""

from .clock import END, HOUR, START, at
from .fleet import EARLY, shape, weekdays


def vllm(model, *more):
    return ["--model", model, "--port", "8000", *more]


def build_prod_a(fleet):
    c = "prod-a"
    fleet.node(c, "ip-10-0-20-5.ec2.internal", "m6i.2xlarge", "10.0.20.5")
    h100 = [
        fleet.node(c, "ip-10-0-11-21.ec2.internal", "p5.4xlarge", "10.0.11.21", fine=30),
        fleet.node(c, "ip-10-0-11-34.ec2.internal", "p5.4xlarge", "10.0.11.34", fine=15),
        # The exporter of the dark node was down for six hours: nobody can call those dark.
        fleet.node(c, "ip-10-0-12-47.ec2.internal", "p5.4xlarge", "10.0.12.47",
                   dcgm_down=[(at("2026-11-17T06:00:00Z"), at("2026-11-17T12:00:00Z"))]),
    ]
    l40s = fleet.node(c, "ip-10-0-13-58.ec2.internal", "g6e.12xlarge", "10.0.13.58", fine=30)
    l4 = [fleet.node(c, f"ip-10-0-14-{60 + i}.ec2.internal", "g6.xlarge", f"10.0.14.{60 + i}")
          for i in range(4)]
    a10g = fleet.node(c, "ip-10-0-15-71.ec2.internal", "g5.xlarge", "10.0.15.71",
                      dcgm_down=[(at("2026-11-13T06:00:00Z"), at("2026-11-14T12:00:00Z"))])

    # A lightly used small model on the largest GPU: the tier finding.
    w = fleet.workload(
        c, "chat", "llama-8b-assist", "deployment", "meta-llama/Llama-3.1-8B-Instruct", "vllm",
        shape("office", 0.40, 600, 220, 0.06, 0.009, intensity=0.55),
        args=vllm("meta-llama/Llama-3.1-8B-Instruct", "--max-model-len", "16384"),
        kv_tokens=400000, lengths=True, fine=30, labels={"team": "assistants"},
        node_selector={"node.kubernetes.io/instance-type": "p5.4xlarge"})
    rollout = at("2026-10-29T15:04:00Z")
    w.add_pod(h100[0], [0], EARLY, revision=1, ended=rollout)
    w.add_pod(h100[0], [0], rollout, ready_after=190, scheduled_after=8, revision=2)

    # The same model on the same GPU, saturated all day: no cheaper tier serves this demand.
    w = fleet.workload(
        c, "search", "llama-8b-bulk", "deployment", "meta-llama/Llama-3.1-8B-Instruct", "vllm",
        shape("flat", 30.0, 500, 250, 0.35, 0.009, batch=256),
        args=vllm("meta-llama/Llama-3.1-8B-Instruct", "--max-model-len", "8192",
                  "--max-num-seqs", "256"),
        kv_tokens=400000, lengths=True, labels={"team": "search"},
        keda={"min": 1, "max": 2, "query": 'sum(vllm:num_requests_waiting{namespace="search"})',
              "threshold": "40"},
        node_selector={"node.kubernetes.io/instance-type": "p5.4xlarge"})
    w.add_pod(h100[1], [0], EARLY)

    # Loaded for an evaluation that ended before our first sample: dark ever since.
    w = fleet.workload(
        c, "research", "qwen-32b-eval", "isvc", "Qwen/Qwen2.5-32B-Instruct", "vllm",
        shape("none", 0, 800, 300, 0.1, 0.02),
        args=["--model_name=qwen-32b-eval", "--model_id=Qwen/Qwen2.5-32B-Instruct",
              "--max_model_len=8192"],
        served="qwen-32b-eval", kv_tokens=20000, labels={"team": "research"},
        node_selector={"node.kubernetes.io/instance-type": "p5.4xlarge"})
    w.add_pod(h100[2], [0], EARLY, ready_after=420)

    # Two CPUs hold a GPU back in working hours; its queue grows.
    w = fleet.workload(
        c, "agents", "code-agent", "deployment", "Qwen/Qwen2.5-14B-Instruct", "vllm",
        shape("office", 0.20, 900, 260, 0.2, 0.046, cpu_bound=True, held_rate=0.15,
              held_itl=0.13,
              free_rate=0.60, intensity=0.6),
        args=vllm("Qwen/Qwen2.5-14B-Instruct", "--max-model-len", "8192"),
        cpu=(2, 2), kv_tokens=50000, labels={"team": "agents"})
    w.add_pod(l40s, [0], EARLY)

    # Nobody but the health probe: two tiny completions a minute, on old metric names.
    w = fleet.workload(
        c, "legacy", "mistral-7b-canary", "deployment", "mistralai/Mistral-7B-Instruct-v0.3",
        "vllm", shape("none", 0, 9, 2, 0.03, 0.02, probes=10),
        args=vllm("mistralai/Mistral-7B-Instruct-v0.3", "--max-model-len", "8192"),
        old_names=True, kv_tokens=180000, labels={"team": "platform"})
    w.add_pod(l40s, [1], EARLY,
              restarts=[(at("2026-11-18T02:10:10Z"), at("2026-11-18T02:14:10Z"))])

    # No request from 20:00 to 06:00: dark by night, at work by day. Its GPU_UTIL series
    # vanishes while it idles.
    w = fleet.workload(
        c, "docs", "summarizer-14b", "deployment", "Qwen/Qwen2.5-14B-Instruct", "vllm",
        shape("off-10-hours", 0.30, 2600, 300, 0.5, 0.045, intensity=0.9),
        args=vllm("Qwen/Qwen2.5-14B-Instruct", "--max-model-len", "16384"),
        old_names=True, kv_tokens=50000, labels={"team": "documents"})
    w.util_vanishes = True
    w.add_pod(l40s, [2], EARLY)
    # Slot 3 of this node: nobody has held it for weeks.

    # Four replicas because somebody set the minimum to four; one serves the peak.
    w = fleet.workload(
        c, "chat", "qwen-7b-router", "deployment", "Qwen/Qwen2.5-7B-Instruct", "vllm",
        shape("consumer", 0.30, 380, 110, 0.15, 0.064, intensity=0.9),
        args=vllm("Qwen/Qwen2.5-7B-Instruct", "--max-model-len", "8192"),
        replicas=4, kv_tokens=60000, labels={"team": "assistants"},
        hpa={"min": 4, "max": 6, "metric": "vllm_requests_running", "target": "8"},
        cpu=(2, None), node_selector={"node.kubernetes.io/instance-type": "g6.xlarge"})
    for node in l4:
        w.add_pod(node, [0], EARLY)

    # Well used and well placed: no finding. It restarts once, and its node's GPU exporter is
    # down for thirty hours while the engine keeps reporting.
    w = fleet.workload(
        c, "support", "mistral-7b-help", "deployment", "mistralai/Mistral-7B-Instruct-v0.3",
        "vllm", shape("consumer", 0.55, 500, 150, 0.12, 0.035),
        args=vllm("mistralai/Mistral-7B-Instruct-v0.3", "--max-model-len", "8192"),
        kv_tokens=42000, labels={"team": "support"}, cpu=(3, None),
        hpa={"min": 1, "max": 2, "metric": "vllm_requests_running", "target": "12"},
        node_selector={"node.kubernetes.io/instance-type": "g5.xlarge"})
    w.add_pod(a10g, [0], EARLY,
              restarts=[(at("2026-11-12T14:00:10Z"), at("2026-11-12T14:04:10Z"))])

    # Scale to zero: on some weekdays one replica for about three hours, on a node that
    # Karpenter adds for it and removes again.
    w = fleet.workload(
        c, "translate", "gemma-2b", "deployment", "google/gemma-2-2b-it", "vllm",
        shape("flat", 0.8, 220, 180, 0.05, 0.012, intensity=0.8),
        args=vllm("google/gemma-2-2b-it", "--max-model-len", "4096"),
        replicas=0, kv_tokens=90000, labels={"team": "documents"},
        keda={"min": 0, "max": 2, "query": 'sum(gateway_pending_requests{service="gemma-2b"})',
              "threshold": "4"})
    for i, day in enumerate(weekdays(START, END)):
        if i % 2 == 1 or day + 13 * HOUR > END:
            continue  # Monday, Wednesday and Friday of one week, Tuesday and Thursday of the next
        born = day + 9 * HOUR + 120
        gone = born + 3 * HOUR + 480
        octet = 80 + i
        node = fleet.node(c, f"ip-10-0-16-{octet}.ec2.internal", "g5.xlarge",
                          f"10.0.16.{octet}", created=born, deleted=gone)
        w.add_pod(node, [0], born - 60, scheduled_after=130, ready_after=160,
                  ended=gone - 600, revision=1)
