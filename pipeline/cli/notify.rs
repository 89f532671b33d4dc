//! Owns the news of a run: a short digest posted to the webhooks of `[[notify]]`, with a link. A delivery
//! that fails is a warning and never a failed run; no message repeats an address, which is a secret.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::{now_ms, say};
use crate::config::{Config, NotifyEvery, NotifySection};
use crate::ingest::post_json;
use crate::ingest::prometheus::{RemoteOptions, TlsOptions, WallClock};

/// Slack cuts a message's text at 40,000 characters and advises 4,000.
const TEXT_CHARS_MAX: usize = 4_000;
const TIMEOUT: Duration = Duration::from_secs(15);

/// What there is to tell.
pub(super) struct News<'a> {
    /// The digest, escaped for chat.
    pub digest: &'a str,
    /// Where the run's files lie below the report's output.
    pub place: &'a str,
    /// Whether the run before was another week's.
    pub first_of_week: bool,
}

/// Posts to every webhook, one after the other.
pub(super) async fn deliver(config: &Config, news: &News<'_>) {
    for (index, section) in config.file.notify.iter().enumerate() {
        let number = index + 1;
        if section.every == NotifyEvery::Week && !news.first_of_week {
            continue;
        }
        match one(config, section, news).await {
            Ok(()) => say(&format!("told [[notify]] {number}")),
            Err(why) => say(&format!("warning: [[notify]] {number} was not told: {why}")),
        }
    }
}

async fn one(config: &Config, section: &NotifySection, news: &News<'_>) -> Result<(), String> {
    let file = config.resolve(&section.url_file);
    let shown = section.url_file.as_str();
    let text = std::fs::read_to_string(&file)
        .map_err(|error| format!("url_file `{shown}` cannot be read ({error})"))?;
    let url = Url::parse(text.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| format!("url_file `{shown}` holds no http or https URL"))?;
    let proxy = section.proxy_url.as_deref().map(Url::parse).transpose();
    let options = RemoteOptions {
        proxy_url: proxy.map_err(|error| format!("proxy_url is no URL ({error})"))?,
        proxy_from_environment: section.proxy_from_environment,
        tls: TlsOptions {
            ca_file: section.ca_file.as_ref().map(|file| config.resolve(file)),
            ..TlsOptions::default()
        },
        idle_timeout: TIMEOUT,
        total_timeout: TIMEOUT * 4,
        clock: Some(WallClock(std::sync::Arc::new(now_ms))),
        ..RemoteOptions::new(url)
    };
    let text = message(section.link.as_deref(), news);
    // Names of workloads are not links, and nobody is called by them.
    let body = json!({
        "text": text,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    post_json(options, &body).await
}

/// The text: a link where there is one, then as much of the digest as a message carries.
fn message(link: Option<&str>, news: &News<'_>) -> String {
    let link = link.map_or_else(String::new, |base| {
        let base = base.trim_end_matches('/');
        format!("\n<{base}/{}/report.html|The whole report>", news.place)
    });
    let room = TEXT_CHARS_MAX.saturating_sub(link.chars().count());
    let mut text = String::new();
    let mut used = 0;
    for line in news.digest.trim_end().lines() {
        let longer = used + line.chars().count() + 1;
        if longer + 2 > room {
            text.push_str("\n…");
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
        used = longer;
    }
    text + &link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_with_its_link_and_is_cut_between_lines() {
        let news = News {
            digest: "*spent* $1\n• two\n",
            place: "2026/W47/3",
            first_of_week: true,
        };
        assert_eq!(
            message(Some("https://reports.example/fleet/"), &news),
            "*spent* $1\n• two\n<https://reports.example/fleet/2026/W47/3/report.html|The whole report>"
        );
        assert_eq!(message(None, &news), "*spent* $1\n• two");
        let long = "• a line of some length\n".repeat(400);
        let news = News {
            digest: &long,
            place: "2026/W47/3",
            first_of_week: true,
        };
        let text = message(Some("https://r.example"), &news);
        assert!(text.chars().count() <= TEXT_CHARS_MAX, "{}", text.len());
        assert!(text.contains("\n…\n<https://r.example/2026/W47/3/report.html|"));
    }
}
