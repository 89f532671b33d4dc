//! Owns what can go wrong between this process and a Kubernetes API server.

use std::path::PathBuf;

/// Why no snapshot was taken, or not kept. Kinds that fail alone are no error: they are recorded.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    #[error("cannot find out how to reach the Kubernetes API: {what}; {todo}")]
    Config { what: String, todo: &'static str },
    #[error(
        "the Kubernetes API at {server} {what}; check address, proxy and network, then run again"
    )]
    Unreachable { server: String, what: String },
    #[error(
        "the Kubernetes API at {server} refuses the account for {path} (status {status}); check the \
         kubeconfig's user, its token or exec plugin, and its ClusterRoleBinding"
    )]
    Refused {
        server: String,
        path: String,
        status: u16,
    },
    #[error(
        "the Kubernetes API at {server} answers {path} with what is no such answer: {reason}; check \
         that the address is an API server's"
    )]
    Answer {
        server: String,
        path: String,
        reason: String,
    },
    #[error(
        "no kind could be listed at {server}: the first says `{first}`; grant get and list by the \
         ClusterRole in docs/sources.md"
    )]
    NothingListed { server: String, first: String },
    #[error(
        "cluster `{cluster}` was read before with kube-system uid {pinned}, and the API server now \
         has {found}: another cluster, or one that was built anew; correct the context, or give this \
         one a name of its own in [[cluster]]"
    )]
    OtherCluster {
        cluster: String,
        pinned: String,
        found: String,
    },
    #[error(
        "the clock says {now}, and the last snapshot of source `{name}` is from {last}; set the clock"
    )]
    Clock {
        name: String,
        now: String,
        last: String,
    },
    #[error("cannot write the snapshot to {}: {source}; choose another --out", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl KubernetesError {
    pub(in crate::ingest) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
