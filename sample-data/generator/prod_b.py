"""Owns the fleet of cluster prod-b: AKS in eastus, 10 GPUs, one of them MIG, one time-sliced."""

from .clock import at
from .fleet import EARLY, shape


def build_prod_b(fleet):
    c = "prod-b"
    system = fleet.node(c, "aks-system-20418837-vmss000000", "Standard_D8s_v5", "10.1.20.4")
    a100 = fleet.node(c, "aks-a100x4-31245678-vmss000000", "Standard_NC96ads_A100_v4", "10.1.11.10")
    mig = fleet.node(c, "aks-a100mig-22871104-vmss000000", "Standard_NC24ads_A100_v4", "10.1.12.11",
                     sharing="mig", mig=[("2", "3g.40gb", 1, 2), ("9", "1g.10gb", 1, 7),
                                         ("10", "1g.10gb", 1, 7)])
    h100 = fleet.node(c, "aks-h100nvl-40718293-vmss000000", "Standard_NC80adis_H100_v5", "10.1.13.12")
    a10 = [fleet.node(c, f"aks-a10-51920384-vmss00000{i}", "Standard_NV36ads_A10_v5", f"10.1.14.1{3 + i}")
           for i in range(2)]
    t4 = fleet.node(c, "aks-t4shared-62039485-vmss000000", "Standard_NC4as_T4_v3", "10.1.15.16",
                    sharing="time-slicing")

    # Dynamo, prefill and decode apart: one workload, two roles, no surplus.
    w = fleet.workload(
        c, "dev", "coder", "dynamo", "Qwen/Qwen2.5-Coder-32B-Instruct", "vllm",
        shape("office", 0.7, 1500, 180, 0.45, 0.05),
        args=["-m", "dynamo.vllm", "--model", "Qwen/Qwen2.5-Coder-32B-Instruct",
              "--max-model-len", "8192"],
        kv_tokens=26000, replicas=2, labels={"team": "developer-tools"})
    w.add_pod(a100, [0], EARLY, component="VllmPrefillWorker", ready_after=400)
    w.add_pod(a100, [1], EARLY, component="VllmDecodeWorker", ready_after=400)

    w = fleet.companion(c, "dev", "coder", "dynamo", None, None, shape("none", 0, 0, 0, 0, 0),
                     args=["-m", "dynamo.frontend"], labels={"team": "developer-tools"})
    w.add_pod(system, [], EARLY, component="Frontend", ready_after=30)

    # A training job without engine series; its pod stays listed after it has finished.
    w = fleet.workload(
        c, "train", "lora-7b-run42", "job", None, None, shape("none", 0, 0, 0, 0, 0),
        args=["python", "train_lora.py", "--base", "Qwen/Qwen2.5-7B-Instruct"],
        labels={"team": "research"}, created=at("2026-10-30T08:00:00Z"))
    w.add_pod(a100, [2], at("2026-10-30T08:00:00Z"), ready_after=60,
              ended=at("2026-11-16T20:00:00Z"), deleted=at("2026-11-18T08:00:00Z"))

    # Put to sleep on purpose: its weights are offloaded and it says so.
    w = fleet.workload(
        c, "research", "qwen3-32b-warm", "deployment", "Qwen/Qwen3-32B", "vllm",
        shape("office", 0.15, 700, 300, 0.3, 0.05, asleep_from=at("2026-11-01T18:00:00Z")),
        args=["--model", "Qwen/Qwen3-32B", "--max-model-len", "8192", "--enable-sleep-mode"],
        kv_tokens=26000, labels={"team": "research"})
    w.add_pod(a100, [3], EARLY, ready_after=380)

    # KServe's LLMInferenceService on the 3g instance.
    w = fleet.workload(
        c, "kserve-llm", "llama-8b-mig", "llmisvc", "meta-llama/Llama-3.1-8B-Instruct", "vllm",
        shape("consumer", 0.45, 450, 170, 0.12, 0.02),
        args=["--model", "meta-llama/Llama-3.1-8B-Instruct", "--max-model-len", "8192"],
        gpu_resource="nvidia.com/mig-3g.40gb", kv_tokens=140000, labels={"team": "support"})
    w.add_pod(mig, [0], EARLY, mig_id="2", share=(1, 2), slice="mig-2")

    # A model that no catalogue knows, on a 1g instance. The other 1g is free.
    w = fleet.workload(
        c, "safety", "guard", "deployment", "acme/internal-guard-v7", "vllm",
        shape("consumer", 1.2, 300, 8, 0.06, 0.015),
        args=["--model", "acme/internal-guard-v7", "--max-model-len", "4096"],
        gpu_resource="nvidia.com/mig-1g.10gb", kv_tokens=30000, labels={"team": "safety"})
    w.add_pod(mig, [0], EARLY, mig_id="9", share=(1, 7), slice="mig-9")

    # llm-d: a decode deployment behind an InferencePool, 70B on both GPUs of its node.
    w = fleet.workload(
        c, "llm-d", "ms-llama-70b-decode", "deployment", "meta-llama/Llama-3.3-70B-Instruct",
        "vllm", shape("consumer", 1.4, 900, 250, 0.25, 0.021),
        args=["--model", "meta-llama/Llama-3.3-70B-Instruct", "--quantization", "fp8",
              "--tensor-parallel-size", "2", "--max-model-len", "16384"],
        gpus=2, kv_tokens=260000, lengths=True, pdb=True,
        labels={"llm-d.ai/model": "llama-3-3-70b", "llm-d.ai/role": "decode",
                "llm-d.ai/inferenceServing": "true", "team": "platform"})
    w.add_pod(h100, [0, 1], EARLY, ready_after=600)

    w = fleet.companion(c, "llm-d", "ms-llama-70b-epp", "deployment", None, None,
                     shape("none", 0, 0, 0, 0, 0), args=["--pool-name", "ms-llama-70b"],
                     labels={"app": "ms-llama-70b-epp", "team": "platform"})
    w.add_pod(system, [], EARLY, ready_after=20)

    # Two replicas, no request from 01:00 to 05:00: lull and surplus, never dark. SGLang.
    w = fleet.workload(
        c, "shop", "product-qa", "deployment", "meta-llama/Llama-3.1-8B-Instruct", "sglang",
        shape("off-4-hours", 0.35, 420, 110, 0.12, 0.034),
        args=["--model-path", "meta-llama/Llama-3.1-8B-Instruct", "--context-length", "8192",
              "--enable-metrics"],
        replicas=2, kv_tokens=34000, labels={"team": "shop"}, cpu=(6, None),
        hpa={"min": 2, "max": 4, "metric": "sglang_num_running_reqs", "target": "6"})
    for node in a10:
        w.add_pod(node, [0], EARLY)

    # One T4 shared by time slices: the embedder works, the reranker has not seen a request.
    w = fleet.workload(
        c, "ml", "bge-embed", "deployment", "BAAI/bge-m3", "vllm",
        shape("flat", 5.0, 250, 0, 0.05, 0.0, intensity=0.5),
        args=["--model", "BAAI/bge-m3", "--task", "embed", "--dtype", "half"],
        kv_tokens=20000, labels={"team": "search"}, fb_used=0.22, cpu=(1, None))
    w.add_pod(t4, [0], EARLY, share=(1, 2), slice="ts-0")
    w = fleet.workload(
        c, "ml", "bge-rerank", "deployment", "BAAI/bge-reranker-v2-m3", "vllm",
        shape("none", 0, 250, 0, 0.05, 0.0),
        args=["--model", "BAAI/bge-reranker-v2-m3", "--task", "score", "--dtype", "half"],
        kv_tokens=20000, labels={"team": "search"}, fb_used=0.20, cpu=(1, None))
    w.add_pod(t4, [0], EARLY, share=(1, 2), slice="ts-1")
