//! Owns the remedies of Jobs and CronJobs, whose shape is a pod template that never changes. `shapes`
//! calls it for the built-in kinds.

use serde_json::json as value;

use super::View;
use super::remedy::{Action, Draft, Remedy, Wish};
use super::shapes::{self, Places};

/// Jobs end by themselves: they are suspended, and their templates never change.
pub(super) fn job(view: &View<'_>, wish: &Wish, base: &[&str], pod_spec: &[&str]) -> Vec<Remedy> {
    let scheduled = view.top.kind == "cronjob.batch";
    let mut out = Vec::new();
    if wish.zero {
        let mut draft = Draft::new(view.top, view.top_body);
        draft.set(
            &shapes::below(&shapes::path(base), &["suspend"]),
            value!(true),
        );
        let verify = if scheduled {
            "no new run starts; runs that go on end by themselves"
        } else {
            shapes::PODS_GONE
        };
        out.push(
            draft
                .remedy(Action::Zero, &[verify])
                .warned("work in progress is lost where the program keeps no checkpoint"),
        );
    }
    if wish.bounds.is_some() {
        out.push(Remedy::not_possible(
            Action::Bounds,
            "a job has a fixed amount of work, not a range of replicas",
        ));
    }
    let places = Places {
        replicas: None,
        pod_specs: vec![shapes::path(pod_spec)],
        frozen: (!scheduled).then_some(
            "a job's pod template is immutable: delete the job and make it again with the change",
        ),
    };
    out.extend(shapes::templates(view.top, view.top_body, &places, wish));
    out
}
