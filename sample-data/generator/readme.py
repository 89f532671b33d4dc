"""Owns sample-data/README.md: the truth in words, written from the same numbers as truth.json."""

HEAD = """# The sample fleet

Real Prometheus blocks and Kubernetes lists of one invented fleet: {gpus} GPUs of {tiers} tiers, and one
more while a visiting node lives, in two clusters, `prod-a` (AWS us-east-1) and `prod-b` (Azure eastus),
from 2026-10-26 to 2026-11-23 in UTC. This page says what is true of it; `expected/truth.json` says the
same for a test, with a range for every number. Both are written by the generator from its own events and
demand, never from the telemetry.

Do not edit this page: `generator/readme.py` writes it.

## How it is made

    python3 sample-data/generate.py

needs Python 3.11 and `promtool` (Debian package `prometheus`; made with 2.42), takes about two minutes on
one core and always writes the same bytes: the seed is fixed, and blocks are named by their content. The
generator writes OpenMetrics text, one file a block, and runs

    promtool tsdb create-blocks-from --max-block-duration=162h openmetrics FILE DIR

on each. `--only kubernetes,truth` leaves the blocks alone; `--truth FROM TO` prints the truth of another
window.

| folder | what |
|---|---|
| `prometheus/<cluster>/` | TSDB blocks of 162 hours: dcgm-exporter, vLLM and SGLang, cAdvisor, kube-state-metrics, KEDA, Dynamo's frontend, llm-d's endpoint picker, and `up` of every target |
| `kubernetes/<cluster>/<time>/` | `kubectl get … -o json --show-managed-fields` lists at six moments; the first is five days into the window, so kube-state-metrics must fill the time before |
| `idleproof.toml` | the configuration that the first command of the project's README uses |
| `expected/truth.json` | the truth, machine-readable |

Scrapes come every 5 minutes; on 2026-11-22 the GPUs of `ip-10-0-11-34` every 15 s, those of `ip-10-0-11-21`
and `ip-10-0-13-58` and the engine of `llama-8b-assist` every 30 s. Telemetry goes on until 06:30 of
2026-11-23, so that 2026-11-22 can close: the default window is 2026-11-09 to 2026-11-23, fourteen days.
Engine counters are integrals of the demand; histograms hold the requests that the counters count (a scrape may catch them one apart);
concurrency follows from Little's law, GPU activity from concurrency. Engines keep ten buckets a histogram,
as if a relabel rule dropped the rest. Text cannot carry stale markers, so the blocks have none: a series
that ends just ends.

Prices are the on-demand list prices of the catalogue, a node's price shared by its physical GPUs.

## What breaks naive tools

| trap | where | what must come of it |
|---|---|---|
| a day without scrapes | prod-b, 2026-11-11 | `unknown` for every serving holder, never dark; holders do not vanish; the Job stays `non_serving`, free slots may be unallocated or unknown |
| GPU exporter down, engine reports | `ip-10-0-15-71`, 11-13 06:00 to 11-14 12:00 | the engine's counters are work: still `serving` |
| GPU exporter down, engine silent | `ip-10-0-12-47`, 11-17 06:00 to 12:00 | six hours `unknown` inside a dark fortnight |
| a gauge vanishes while idle | `DCGM_FI_DEV_GPU_UTIL` of `docs/summarizer-14b` at night | its siblings report: still dark by night |
| MIG | `aks-a100mig-…`: one 3g.40gb, two 1g.10gb | shares 1/2, 1/7, 1/7 and a rest of 3/14 that nobody can hold; GPU_UTIL does not exist |
| time slicing | `aks-t4shared-…`: two replicas of one T4 | the device's row is copied to both pods; only one of them works |
| `exported_pod` | all dcgm rows of prod-b | `pod` there names the exporter's own pod |
| `Hostname` and `hostname` | prod-a and prod-b | the label was renamed |
| old engine names | `docs/summarizer-14b`, `legacy/mistral-7b-canary` | `gpu_cache_usage_perc`, `time_per_output_token_seconds` |
| twin metrics | llm-d's picker emits `llm_d_epp_*` and `inference_*` side by side | summing both doubles the traffic |
| engine restart | `support/mistral-7b-help` 11-12 14:00, `legacy/mistral-7b-canary` 11-18 02:10 | counters restart at zero, four minutes not ready; the dark run goes on |
| rollout before the first snapshot | `chat/llama-8b-assist`, 10-29 15:04 | two pods, one workload, known from kube-state-metrics alone |
| finished job, pod still listed | `train/lora-7b-run42`, 11-16 20:00 to 11-18 08:00 | its request no longer holds a GPU; dcgm keeps the pod's label for 30 min |
| nodes that live three hours | `ip-10-0-16-…`, every other weekday 09:02 to 12:10 | capacity only while they live; only two snapshots see one |
| Dynamo's hops | `dev/coder`: Pod, ReplicaSet, Deployment, DynamoComponentDeployment, DynamoGraphDeployment | one workload with two roles |
| a CPU-only node | one in each cluster | no GPU, no capacity, no price needed |

## The truth, {start} to {end}

Capacity: {capacity:,.0f} GPU-hours, ${usd:,.2f} at list price.

| GPU | GPU-hours | list price |
|---|---:|---:|
"""


def money(low, high):
    return f"${low:,.0f}" if round(low) == round(high) else f"${low:,.0f} to ${high:,.0f}"


def write_readme(fleet, truth, path):
    always = [n for n in fleet.nodes if n.count and n.deleted - n.created > 7 * 86400]
    text = HEAD.format(gpus=sum(n.count for n in always), tiers=len({n.product for n in always}),
                       start=truth["window"][0], end=truth["window"][1],
                       capacity=truth["capacity_gpu_hours"], usd=truth["capacity_list_usd"])
    for product, row in truth["capacity"].items():
        text += f"| {product} | {row['gpu_hours']:,.1f} | ${row['list_usd']:,.2f} |\n"
    text += """
Hours in the table are GPU-hours by the true class of each; a holder of a slice counts its share. `window
dollars` is what the finding must come to, net, at list price, over the window.

| workload | GPU | what it is | classes, GPU-hours | must be found | GPU-hours | window dollars | must not be found |
|---|---|---|---|---|---:|---:|---|
"""
    for w in truth["workloads"]:
        classes = ", ".join(f"{k} {v:,.1f}" for k, v in w["class_hours"].items())
        found = "; ".join(f"`{f['detector']}`" for f in w["expected_findings"]) or "nothing"
        hours = "; ".join(f"{f['gpu_hours'][0]:,.0f} to {f['gpu_hours'][1]:,.0f}"
                          for f in w["expected_findings"])
        dollars = "; ".join(money(*f["window_usd"]) for f in w["expected_findings"])
        text += (f"| {w['cluster']}/{w['namespace']}/{w['kind']}/{w['name']} | {w['gpu_product']} "
                 f"| {w['notes']} | {classes} | {found} | {hours} | {dollars} "
                 f"| {', '.join(f'`{d}`' for d in w['forbidden_detectors'])} |\n")
    text += """
Capacity that nobody holds (`unallocated-capacity`, one finding for each instance type):

| cluster, instance type | GPU | why | GPU-hours | window dollars |
|---|---|---|---:|---:|
"""
    for u in truth["unallocated"]:
        text += (f"| {u['cluster']}/{u['instance_type']} | {u['gpu_product']} "
                 f"| {WHY[u['instance_type']]} | {u['gpu_hours'][0]:,.1f} to {u['gpu_hours'][1]:,.1f} "
                 f"| {money(*u['window_usd'])} |\n")
    text += """
Where a detector is neither demanded nor forbidden for a workload (`allowed_detectors` in `truth.json`), the
answer is the estimator's: a cheaper instance may or may not fit inside the assumed SLO.
"""
    path.write_text(text)


WHY = {
    "g5.xlarge": "minutes before and after the visiting pods: may be too little for a finding",
    "g6e.12xlarge": "slot 3, free for weeks",
    "Standard_NC24ads_A100_v4": "the second 1g.10gb (1/7) and the rest (3/14)",
    "Standard_NC96ads_A100_v4": "slot 2 after the training job has finished",
}
