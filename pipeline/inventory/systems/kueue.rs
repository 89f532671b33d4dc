//! Owns Kueue's part in a workload: a queue admits it, and the queue's flavor chooses its nodes.
//! Kueue writes the flavor's labels into pods and stops on a conflict.

use serde_json::{Value, json as value};

use super::super::objects::Key;
use super::about::About;
use super::remedy::{Action, Draft, Remedy, TierWish, Wish};
use super::{Facts, System, View, batch, deployment, json, layers, plain, shapes};

pub(super) static SYSTEM: System = System {
    name: "kueue",
    about: &ABOUT,
    serves: false,
    recognise: |view| layers::is_plain(view) && queue(view).is_some(),
    facts: |view| (deployment::SYSTEM.facts)(view),
    remedies: shapes::remedies,
    notes: plain,
};

pub(super) static ABOUT: About = About {
    title: "Kueue",
    kinds: &[
        "workloads with the label kueue.x-k8s.io/queue-name; LocalQueue, ClusterQueue, ResourceFlavor, Workload",
    ],
    chain: "that of the workload",
    model: "flags",
    remedies: "a tier is another queue whose flavor has the new labels; a job is evicted through its Workload.",
};

const QUEUE: &str = "kueue.x-k8s.io/queue-name";
const LOCAL_QUEUE: &str = "localqueue.kueue.x-k8s.io";
const CLUSTER_QUEUE: &str = "clusterqueue.kueue.x-k8s.io";
const FLAVOR: &str = "resourceflavor.kueue.x-k8s.io";
const WORKLOAD: &str = "workload.kueue.x-k8s.io";

fn queue<'v>(view: &View<'v>) -> Option<&'v str> {
    layers::mark(view, QUEUE)
}

/// The cluster queue behind the workload's queue.
fn cluster_queue<'v>(view: &View<'v>) -> Option<(String, &'v Value)> {
    let local = view
        .world
        .object(LOCAL_QUEUE, &view.top.namespace, queue(view)?)?;
    let name = json::text(local, &["spec", "clusterQueue"])?;
    let body = view.world.object(CLUSTER_QUEUE, "", name)?;
    Some((name.to_owned(), body))
}

pub(super) fn over(
    view: &View<'_>,
    facts: &Facts<'_>,
    base: Vec<Remedy>,
    wish: &Wish,
) -> Vec<Remedy> {
    let Some(queue) = queue(view) else {
        return base;
    };
    let mut out = base;
    // Kueue itself writes `suspend` of what runs once, and of Ray's clusters.
    let suspended = batch::is_batch(&view.top.kind) || view.top.kind == "raycluster.ray.io";
    let runs_once = batch::is_batch(&view.top.kind);
    if wish.zero
        && suspended
        && let Some(remedy) = evict(view)
    {
        out = layers::swap(out, Action::Zero, vec![remedy]);
    }
    if let Some(tier) = &wish.tier {
        out = layers::swap(out, Action::Tier, vec![requeue(view, facts, queue, tier)]);
    }
    if wish.bounds.is_some()
        && let Some((name, fields)) = quotas(view)
    {
        out = if runs_once {
            let because = format!(
                "a job has no bounds: what bounds its queue is {fields} of {CLUSTER_QUEUE}/{name}"
            );
            let remedy = Remedy::not_possible(Action::Bounds, because);
            layers::swap(out, Action::Bounds, vec![remedy])
        } else {
            let warning =
                format!("its queue admits no more than {fields} of {CLUSTER_QUEUE}/{name}");
            layers::warn(out, Action::Bounds, &warning)
        };
    }
    if let Some(resource) = wish
        .fraction
        .as_ref()
        .and_then(|part| part.resource.as_ref())
        && let Some((name, body)) = cluster_queue(view)
        && !covers(body, resource)
    {
        let because = format!(
            "{CLUSTER_QUEUE}/{name} has no quota for {resource}, so no pod would be admitted: add \
             the resource to a flavor of it first"
        );
        let remedy = Remedy::not_possible(Action::Fraction, because);
        out = layers::swap(out, Action::Fraction, vec![remedy]);
    }
    out
}

/// The Workload that Kueue keeps for an object: Kueue itself writes a job's `suspend`.
fn evict(view: &View<'_>) -> Option<Remedy> {
    let (key, body) = view
        .world
        .of_kind(WORKLOAD, &view.top.namespace)
        .into_iter()
        .find(|(_, body)| view.made(body))?;
    let mut draft = Draft::new(key, body);
    draft.set(&["spec", "active"], value!(false));
    Some(
        draft
            .remedy(
                Action::Zero,
                &["the Workload is evicted and no pod is left"],
            )
            .warned("work in progress is lost where the program keeps no checkpoint"),
    )
}

/// Flavors of a cluster queue, in order.
fn flavors(cluster_queue: &Value) -> Vec<&str> {
    json::items(cluster_queue, &["spec", "resourceGroups"])
        .iter()
        .flat_map(|group| json::items(group, &["flavors"]))
        .filter_map(|flavor| json::text(flavor, &["name"]))
        .collect()
}

fn covers(cluster_queue: &Value, resource: &str) -> bool {
    json::items(cluster_queue, &["spec", "resourceGroups"])
        .iter()
        .flat_map(|group| json::items(group, &["coveredResources"]))
        .any(|covered| covered.as_str() == Some(resource))
}

/// The quotas of GPUs of the workload's queue, with their fields.
fn quotas(view: &View<'_>) -> Option<(String, String)> {
    let (name, body) = cluster_queue(view)?;
    let mut told = Vec::new();
    for (g, group) in json::items(body, &["spec", "resourceGroups"])
        .iter()
        .enumerate()
    {
        for (f, flavor) in json::items(group, &["flavors"]).iter().enumerate() {
            for (r, resource) in json::items(flavor, &["resources"]).iter().enumerate() {
                let named = json::text(resource, &["name"]).unwrap_or("");
                let quota = json::get(resource, &["nominalQuota"]);
                if named == "nvidia.com/gpu" || named.starts_with("nvidia.com/mig-") {
                    let quota = quota
                        .as_str()
                        .map_or_else(|| quota.to_string(), str::to_owned);
                    told.push(format!(
                        "spec.resourceGroups[{g}].flavors[{f}].resources[{r}].nominalQuota = {quota} \
                         ({named})"
                    ));
                }
            }
        }
    }
    (!told.is_empty()).then(|| (name, told.join(", ")))
}

/// A tier is a flavor: the workload goes to a queue that has one with the new labels.
fn requeue(view: &View<'_>, facts: &Facts<'_>, queue: &str, tier: &TierWish) -> Remedy {
    let fits = |flavor: &str| {
        view.world.object(FLAVOR, "", flavor).is_some_and(|body| {
            let labels = json::get(body, &["spec", "nodeLabels"]);
            !tier.node_selector.is_empty()
                && tier.node_selector.iter().all(|(name, label)| {
                    labels.get(name).and_then(Value::as_str) == Some(label.as_str())
                })
        })
    };
    let leads = |local: &Value| -> bool {
        json::text(local, &["spec", "clusterQueue"])
            .and_then(|name| view.world.object(CLUSTER_QUEUE, "", name))
            .is_some_and(|body| flavors(body).into_iter().any(fits))
    };
    let queues = view.world.of_kind(LOCAL_QUEUE, &view.top.namespace);
    let found: Option<&Key> = queues
        .iter()
        .find(|(key, body)| key.name != queue && leads(body))
        .map(|(key, _)| *key);
    let Some(key) = found else {
        let here = cluster_queue(view).map_or_else(
            || "its cluster queue".to_owned(),
            |(name, _)| format!("{CLUSTER_QUEUE}/{name}"),
        );
        return Remedy::not_possible(
            Action::Tier,
            format!(
                "Kueue chooses the nodes by the flavors of {here} and stops on a conflicting node \
                 selector, and no queue of the namespace has a flavor with the new labels: add a \
                 ResourceFlavor and its quota first"
            ),
        );
    };
    let Some(place) = label_place(view, facts) else {
        return Remedy::not_possible(
            Action::Tier,
            format!(
                "the queue's label stands on the pods of {} and in no field of its own that is known \
                 here: change it where it comes from",
                view.top.path()
            ),
        );
    };
    let mut draft = Draft::new(view.top, view.top_body);
    draft.set(&shapes::below(&place, &[QUEUE]), value!(key.name));
    draft
        .remedy(
            Action::Tier,
            &["the workload is admitted by the new queue, and its pods are ready"],
        )
        .warned("a node selector of the old tier in the template conflicts with the new flavor")
        .warned(
            "Kueue refuses another queue while pods are admitted: scale to zero first if it does",
        )
}

/// The labels among which the queue's stands: the object's own, else those of its pod templates.
fn label_place(view: &View<'_>, facts: &Facts<'_>) -> Option<Vec<String>> {
    let own = shapes::path(&["metadata", "labels"]);
    let of_pods = layers::spots(view, facts)
        .into_iter()
        .filter_map(|spot| Some(shapes::below(&spot.metadata?, &["labels"])));
    let has = |place: &Vec<String>| shapes::at(view.top_body, place).get(QUEUE).is_some();
    std::iter::once(own.clone())
        .chain(of_pods)
        .find(has)
        .or_else(|| layers::is_plain(view).then_some(own))
}
