//! Owns the way to a Service inside a cluster through its API server: a metrics client's requests, sent
//! as the kubeconfig's user to the subresource `services/proxy`. `prometheus::http` retries them, bounds
//! them and says what a refusal means.

use http_body_util::BodyDataStream;
use kube::Client;
use kube::client::Body;
use reqwest::{Request, Response};
use url::Url;

use super::client::{ClusterApi, ClusterOptions, chain};
use super::error::KubernetesError;

/// A Service by name, as people write it: `namespace/name:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlace {
    pub namespace: String,
    pub name: String,
    /// Number or name.
    pub port: String,
    /// What stands before `/api/v1`; empty or beginning with a slash.
    pub prefix: String,
}

impl ServicePlace {
    /// Reads `namespace/name:port`, with a path behind it where the server has one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, rest) = text.split_once('/')?;
        let (address, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
        let (name, port) = address.split_once(':')?;
        let path = path.trim_end_matches('/');
        let plain = |text: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !text.is_empty() && text.len() <= 63 && text.chars().all(fits)
        };
        let steps = path.split('/').all(|step| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            step != "." && step != ".." && step.chars().all(fits)
        });
        (plain(namespace) && plain(name) && plain(port) && steps).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: port.to_owned(),
            prefix: if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            },
        })
    }
}

impl std::fmt::Display for ServicePlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            namespace,
            name,
            port,
            prefix,
        } = self;
        write!(out, "{namespace}/{name}:{port}{prefix}")
    }
}

/// A way into a cluster; its credentials are renewed as the kubeconfig has it.
#[derive(Clone)]
pub struct ClusterRoute {
    client: Client,
}

impl std::fmt::Debug for ClusterRoute {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ClusterRoute")
    }
}

impl ClusterRoute {
    /// Connects, and gives the address under which the Service answers this way.
    pub async fn open(
        options: ClusterOptions,
        place: &ServicePlace,
    ) -> Result<(Self, Url), KubernetesError> {
        let api = ClusterApi::connect(options).await?;
        let wrong = |what: String| KubernetesError::Config {
            what,
            todo: "check the server's address in the kubeconfig",
        };
        let mut url = Url::parse(&api.server)
            .map_err(|error| wrong(format!("the server `{}` is no URL ({error})", api.server)))?;
        let ServicePlace {
            namespace,
            name,
            port,
            prefix,
        } = place;
        // A server that lies below a path gets that path from the client.
        url.set_path(&format!(
            "/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy{prefix}"
        ));
        let client = api.client();
        Ok((Self { client }, url))
    }

    /// Sends a request whose body is held in memory; fails where no answer came.
    pub(crate) async fn execute(&self, mut request: Request) -> Result<Response, String> {
        let url = request.url();
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let body = Body::from(body.unwrap_or_default().to_vec());
        let mut asked = http::Request::builder()
            .method(request.method().clone())
            .uri(target)
            .body(body)
            .map_err(|error| format!("the request cannot be built ({error})"))?;
        std::mem::swap(asked.headers_mut(), request.headers_mut());
        let answer = self.client.send(asked).await;
        let answer = answer.map_err(|error| format!("the exchange failed ({})", chain(&error)))?;
        let answer = answer.map(|body| reqwest::Body::wrap_stream(BodyDataStream::new(body)));
        Ok(Response::from(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_written_as_namespace_name_and_port() {
        let place = ServicePlace::parse("monitoring/prometheus-operated:9090").unwrap();
        assert_eq!(place.to_string(), "monitoring/prometheus-operated:9090");
        let mimir = ServicePlace::parse("mimir/nginx:http/prometheus/").unwrap();
        assert_eq!(
            (mimir.port.as_str(), mimir.prefix.as_str()),
            ("http", "/prometheus")
        );
        for wrong in [
            "prometheus:9090",
            "monitoring/prometheus",
            "monitoring/prometheus:",
            "Monitoring/prometheus:9090",
            "a/b:9090/../../secrets",
            "a/b:9090/x?y",
            "a/../b:1",
            "",
        ] {
            assert_eq!(ServicePlace::parse(wrong), None, "{wrong}");
        }
    }
}
