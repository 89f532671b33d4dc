"""Owns node labels and extended resources, as the API and kube-state-metrics both show them."""

import re

from .fleet import CLUSTERS, GPUS


def node_labels(node):
    cluster = CLUSTERS[node.cluster]
    labels = {
        "kubernetes.io/hostname": node.name,
        "node.kubernetes.io/instance-type": node.itype,
        "topology.kubernetes.io/region": cluster["region"],
        "topology.kubernetes.io/zone": "us-east-1b" if node.cluster == "prod-a" else "eastus-1",
    }
    if node.cluster == "prod-a":
        labels["karpenter.sh/capacity-type"] = node.capacity_type
        labels["karpenter.sh/nodepool"] = "gpu" if node.count else "system"
    else:
        labels["kubernetes.azure.com/agentpool"] = node.name.split("-")[1]
        labels["kubernetes.azure.com/mode"] = "user" if node.count else "system"
    if not node.count:
        return labels
    product, _, mib, _, _ = GPUS[node.product]
    labels.update({
        "nvidia.com/gpu.product": product + ("-SHARED" if node.sharing == "time-slicing" else ""),
        "nvidia.com/gpu.count": str(node.count),
        "nvidia.com/gpu.memory": str(mib),
        "nvidia.com/gpu.replicas": "2" if node.sharing == "time-slicing" else "1",
        "nvidia.com/gpu.sharing-strategy": "time-slicing" if node.sharing == "time-slicing" else "none",
    })
    if node.mig:
        labels["nvidia.com/mig.strategy"] = "mixed"
        labels["nvidia.com/mig.capable"] = "true"
        for profile in sorted({m[1] for m in node.mig}):
            count = sum(1 for m in node.mig if m[1] == profile)
            labels[f"nvidia.com/mig-{profile}.count"] = str(count)
    return labels


def node_resources(node):
    """Extended resources of the device plugin, as node capacity."""
    if not node.count:
        return {}
    if node.mig:
        resources = {"nvidia.com/gpu": 0}
        for _, profile, _, _ in node.mig:
            key = f"nvidia.com/mig-{profile}"
            resources[key] = resources.get(key, 0) + 1
        return resources
    return {"nvidia.com/gpu": node.count * (2 if node.sharing == "time-slicing" else 1)}


def provider_id(node):
    if node.cluster == "prod-a":
        return f"aws:///us-east-1b/i-{node.uid.replace('-', '')[:17]}"
    return ("azure:///subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/mc-prod-b/"
            "providers/Microsoft.Compute/virtualMachineScaleSets/"
            f"{node.name.rsplit('-', 1)[0]}/virtualMachines/{int(node.name[-1])}")


def sanitised(key):
    """kube-state-metrics' form of a label or resource name."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)
