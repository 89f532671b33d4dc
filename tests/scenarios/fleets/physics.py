"""Owns what GPUs and models are and how fast an engine runs on them: this suite's own constants.

It is a simple physical model (weights and cache over bandwidth, prompts over compute, a cost per
step), on purpose not the product's estimator: no table of measured kernels, other constants.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Gpu:
    key: str
    label: str  # of GPU feature discovery
    dcgm: str  # modelName
    mib: int
    gbs: float  # memory bandwidth, GB/s
    tflops: float  # dense 16 bit
    idle_w: float
    tdp_w: float
    mbu: float  # share of the bandwidth that weights reach
    mfu: float  # share of the compute that prompts reach
    bf16: bool = True
    pcie: bool = False


GPUS = {g.key: g for g in [
    Gpu("H100-SXM-80", "NVIDIA-H100-80GB-HBM3", "NVIDIA H100 80GB HBM3", 81559, 3350, 989, 72, 700, 0.68, 0.58),
    Gpu("H100-NVL-94", "NVIDIA-H100-NVL", "NVIDIA H100 NVL", 95830, 3938, 835, 60, 400, 0.66, 0.55),
    Gpu("A100-PCIE-80", "NVIDIA-A100-80GB-PCIe", "NVIDIA A100 80GB PCIe", 81920, 1935, 312, 46, 300, 0.70, 0.62, pcie=True),
    Gpu("L40S-48", "NVIDIA-L40S", "NVIDIA L40S", 46068, 864, 362, 34, 350, 0.78, 0.47, pcie=True),
    Gpu("A10G-24", "NVIDIA-A10G", "NVIDIA A10G", 23028, 600, 70, 26, 300, 0.80, 0.62, pcie=True),
    Gpu("A10-24", "NVIDIA-A10", "NVIDIA A10", 23028, 600, 125, 22, 150, 0.80, 0.55, pcie=True),
    Gpu("L4-24", "NVIDIA-L4", "NVIDIA L4", 23034, 300, 121, 16, 72, 0.80, 0.50, pcie=True),
    Gpu("T4-16", "Tesla-T4", "Tesla T4", 15360, 320, 65, 10, 70, 0.75, 0.45, bf16=False, pcie=True),
    Gpu("RTXPRO6000-96", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        97887, 1792, 503, 60, 600, 0.74, 0.60, pcie=True),
    Gpu("A100-SXM-80", "NVIDIA-A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB", 81920, 2039, 312, 55, 400, 0.70, 0.62),
    Gpu("A100-SXM-40", "NVIDIA-A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB", 40960, 1555, 312, 50, 400, 0.70, 0.62),
    Gpu("H200-SXM-141", "NVIDIA-H200", "NVIDIA H200", 143771, 4800, 989, 78, 700, 0.66, 0.58),
    Gpu("B200-SXM-180", "NVIDIA-B200", "NVIDIA B200", 183359, 7700, 2250, 140, 1000, 0.60, 0.50),
    Gpu("A30-24", "NVIDIA-A30", "NVIDIA A30", 24576, 933, 165, 28, 165, 0.72, 0.55, pcie=True),
]}


@dataclass(frozen=True)
class Instance:
    name: str
    provider: str
    gpu: str
    gpus: int
    vcpu: int
    mem_gib: int
    usd: str  # list price of the node an hour, on demand


INSTANCES = {i.name: i for i in [
    Instance("p5.4xlarge", "aws", "H100-SXM-80", 1, 16, 256, "6.88"),
    Instance("g6e.xlarge", "aws", "L40S-48", 1, 4, 32, "1.861"),
    Instance("g6e.12xlarge", "aws", "L40S-48", 4, 48, 384, "10.49264"),
    Instance("g6.xlarge", "aws", "L4-24", 1, 4, 16, "0.8048"),
    Instance("g6.12xlarge", "aws", "L4-24", 4, 48, 192, "4.6016"),
    Instance("g5.xlarge", "aws", "A10G-24", 1, 4, 16, "1.006"),
    Instance("g5.12xlarge", "aws", "A10G-24", 4, 48, 192, "5.672"),
    Instance("g4dn.xlarge", "aws", "T4-16", 1, 4, 16, "0.526"),
    Instance("Standard_NC24ads_A100_v4", "azure", "A100-PCIE-80", 1, 24, 220, "3.673"),
    Instance("Standard_NC96ads_A100_v4", "azure", "A100-PCIE-80", 4, 96, 880, "14.692"),
    Instance("Standard_NC80adis_H100_v5", "azure", "H100-NVL-94", 2, 80, 640, "13.96"),
    Instance("Standard_NV36ads_A10_v5", "azure", "A10-24", 1, 36, 440, "3.2"),
    Instance("Standard_NC4as_T4_v3", "azure", "T4-16", 1, 4, 28, "0.526"),
]}


@dataclass(frozen=True)
class Model:
    name: str
    params_b: float
    layers: int
    kv_heads: int
    head_dim: int
    max_len: int = 16384

    @property
    def weight_gb(self):
        return self.params_b * 2.0

    @property
    def kv_bytes(self):
        """Cache bytes of one token: keys and values, 16 bit."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


MODELS = {m.name: m for m in [
    Model("meta-llama/Meta-Llama-3.1-8B", 8.03, 32, 8, 128),
    Model("mistralai/Mistral-7B-Instruct-v0.3", 7.25, 32, 8, 128),
    Model("Qwen/Qwen2.5-7B-Instruct", 7.61, 28, 4, 128),
    Model("Qwen/Qwen2.5-14B-Instruct", 14.77, 48, 8, 128),
    Model("Qwen/Qwen2.5-3B-Instruct", 3.09, 36, 2, 128),
    Model("Qwen/Qwen2.5-1.5B-Instruct", 1.54, 28, 2, 128),
    Model("Qwen/Qwen3-32B", 32.76, 64, 8, 128),
    Model("meta-llama/Llama-3.3-70B-Instruct", 70.55, 80, 8, 128),
]}


@dataclass
class Speed:
    """One replica of a model on `n` GPUs. `quality` is how good this fleet's engine build is."""

    model: Model
    gpu: Gpu
    n: int = 1
    share: float = 1.0  # of a device: a MIG instance or a fraction
    quality: float = 1.0
    max_seqs: int = 128
    _: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        bandwidth = self.n * self.share * self.gpu.gbs * 1e9 * self.quality
        self.weights_s = self.model.weight_gb * 1e9 / (bandwidth * self.gpu.mbu)
        self.kv_s = self.model.kv_bytes / (bandwidth * 0.72)  # a cached token, each step
        flops = self.n * self.share * self.gpu.tflops * 1e12 * self.gpu.mfu * self.quality
        self.token_s = 2 * self.model.params_b * 1e9 / flops
        # Launches of a step, and the exchange between GPUs of one replica.
        exchange = 0.0 if self.n == 1 else self.model.layers * (2.2e-5 if self.gpu.pcie else 9e-6) * math.log2(self.n) * 2
        self.step_s = 0.0022 + self.model.layers * 1.8e-5 + exchange
        usable = self.n * (self.share * self.gpu.mib * 0.9 - 1500) * 2**20 - self.model.weight_gb * 1e9
        self.kv_tokens = max(0, int(usable / self.model.kv_bytes))

    @property
    def fits(self):
        """The engine starts only if one request of the longest context fits; T4 and older lack bf16."""
        return self.kv_tokens >= self.model.max_len

    def step(self, batch, context_tokens):
        """Seconds of one decode step: every running request gets a token."""
        math_s = batch * self.token_s
        return max(self.weights_s, math_s) + context_tokens * self.kv_s + self.step_s + 2e-5 * batch

    def prefill(self, tokens):
        return tokens * self.token_s * 1.1 + self.step_s + 0.004

    def at_rate(self, rate, isl, osl, net):
        """Batch, inter-token seconds and seconds to the first token at a rate; None where it diverges."""
        prefill = self.prefill(net)
        load = rate * prefill
        if load >= 0.9:
            return None
        batch = 1.0
        for _ in range(200):
            itl = self.step(batch, batch * (isl + osl / 2)) * (1 + 0.7 * load / (1 - load * 0.5))
            want = rate * (prefill + itl * osl)
            if want > self.max_seqs or want * (isl + osl) > self.kv_tokens:
                return None
            new = max(1e-6, 0.5 * batch + 0.5 * want)
            if abs(new - batch) < 1e-6:
                break
            batch = new
        wait = prefill * load / (2 * (1 - load))
        return batch, itl, prefill + 3 * wait + itl

    def capacity(self, isl, osl, net, ttft_s, itl_s):
        """The highest rate of one replica inside the limits, requests a second; 0 if none."""
        if not self.fits:
            return 0.0

        def good(rate):
            at = self.at_rate(rate, isl, osl, net)
            return at is not None and at[1] * 1.1 <= itl_s and at[2] * 1.5 <= ttft_s
        if not good(1e-4):
            return 0.0
        low, high = 1e-4, 1e-3
        while good(high) and high < 1e3:
            low, high = high, high * 2
        for _ in range(40):
            mid = (low + high) / 2
            low, high = (mid, high) if good(mid) else (low, mid)
        return low
