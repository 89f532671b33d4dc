//! Owns what GPU exporters' labels mean: which node, which GPU, and which container holds it when.

use std::collections::BTreeMap;

use super::first;
use super::intake::{Intake, Target, WideSeries};
use super::times::{self, Times};
use super::wide;
use crate::ingest::aliases::{Aliases, GpuLabels, WideKind};
use crate::ingest::prometheus::Labels;
use crate::ingest::rows::{Cell, RowError, TableRows};

/// The key of a physical GPU or MIG instance: node, gpu, uuid, MIG instance. `None` for a series
/// that names no GPU.
pub(super) fn key(labels: &Labels, names: &GpuLabels) -> Option<Vec<Option<String>>> {
    let gpu = first(labels, &names.gpu);
    let uuid = first(labels, &names.uuid);
    if gpu.is_none() && uuid.is_none() {
        return None;
    }
    Some(vec![
        Some(node(labels, names)),
        Some(gpu.unwrap_or("").to_owned()),
        Some(uuid.unwrap_or("").to_owned()),
        first(labels, &names.mig_instance).map(str::to_owned),
    ])
}

/// The node: the exporter's host name, unless that is the name of its own pod, of its container or
/// of nothing at all.
fn node(labels: &Labels, names: &GpuLabels) -> String {
    let host = first(labels, &names.node);
    let instance = labels.get("instance").map(host_of).filter(|host| !host.is_empty());
    let fallback = first(labels, &names.node_fallback);
    let usable = host.filter(|host| {
        let own_pod = ["pod", "exporter_pod"].iter().any(|l| labels.get(l) == Some(host));
        let container_id = host.len() == 12 && host.bytes().all(|b| b.is_ascii_hexdigit());
        let exporter = own_pod || is_exporter(host, names);
        !(*host == "localhost" || exporter || (container_id && fallback.is_some()))
    });
    usable.or(fallback).or(instance).or(host).unwrap_or("").to_owned()
}

/// An instance without its port; IPv6 addresses stand in brackets.
fn host_of(instance: &str) -> &str {
    let address = instance.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    address.map_or_else(
        || instance.rsplit_once(':').map_or(instance, |(host, _)| host),
        |(host, _)| host,
    )
}

fn is_exporter(pod: &str, names: &GpuLabels) -> bool {
    names.exporter_pods.iter().any(|name| pod.contains(name.as_str()))
}

/// Who holds the GPU: namespace, pod, container. `None` where the labels name nobody, or only the
/// exporter itself: that never means that the GPU is free.
pub(super) fn holder<'l>(
    labels: &'l Labels,
    target: &Target,
    names: &GpuLabels,
) -> Option<(&'l str, &'l str, Option<&'l str>)> {
    names.holders.iter().find_map(|holder| {
        if holder.pod == "pod" && target.has_exported_pod {
            return None;
        }
        let pod = labels.get(&holder.pod)?;
        if is_exporter(pod, names) || first(labels, &names.node) == Some(pod) {
            return None;
        }
        Some((
            labels.get(&holder.namespace).unwrap_or(""),
            pod,
            labels.get(&holder.container),
        ))
    })
}

/// The presence of each pod on each GPU, as unbroken intervals.
pub(super) fn write_spans(
    aliases: &Aliases,
    cluster: &str,
    intake: &Intake<'_>,
    rows: &mut TableRows,
) -> Result<(), RowError> {
    type Key<'l> = (Vec<Option<String>>, &'l str, &'l str, Option<&'l str>);
    let mut held: BTreeMap<Key<'_>, Vec<&WideSeries<'_>>> = BTreeMap::new();
    for series in &intake.wide {
        if aliases.exporters[series.alias.exporter].kind != WideKind::Gpu {
            continue;
        }
        let target = &intake.targets[series.target];
        if let Some(gpu) = key(&series.labels, &aliases.gpu)
            && let Some((namespace, pod, container)) = holder(&series.labels, target, &aliases.gpu)
        {
            held.entry((gpu, namespace, pod, container)).or_default().push(series);
        }
    }
    let intervals = wide::intervals(aliases, intake, WideKind::Gpu);
    for ((gpu, namespace, pod, container), series) in held {
        let seen: Times = times::union(series.iter().map(|s| &s.times));
        let interval = series.iter().filter_map(|s| intervals.get(&s.target)).min().copied();
        for (first_ts, last_ts, samples) in times::spans(&seen, interval) {
            let mut row = vec![Cell::Text(cluster)];
            row.extend(gpu.iter().map(|part| Cell::text(part.as_deref())));
            row.extend([
                Cell::Text(namespace),
                Cell::Text(pod),
                Cell::text(container),
                Cell::Time(first_ts),
                Cell::Time(last_ts),
                Cell::Int(samples),
            ]);
            rows.push(&row)?;
        }
    }
    Ok(())
}
