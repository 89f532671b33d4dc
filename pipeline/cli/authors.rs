//! Owns who last edited the policy's files, where they lie in a git checkout: the author of the newest
//! commit of each, by e-mail, so that they do not approve under their own rules.
//!
//! Elsewhere, and for detectors and acceptances, `[authors]` of the policy says it. An author's name in
//! git is a claim: this guards against oversight, not against forgery. Called by `books`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use super::say;
use crate::config::Config;

/// Editors of the policy and of the list of signers.
pub(super) fn of_policy(config: &Config) -> Vec<String> {
    let section = &config.file.approve;
    let mut people = BTreeSet::new();
    for name in [&section.policy, &section.allowed_signers]
        .into_iter()
        .flatten()
    {
        let path = config.resolve(name);
        match editor(&path) {
            Editor::Nobody => {}
            Editor::Is(name) => {
                people.insert(name);
            }
            Editor::Unknown => say(&format!(
                "warning: `{}` differs from its last commit: who edited it is not known",
                path.display()
            )),
        }
    }
    people.into_iter().collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Editor {
    /// The file lies in no checkout, or git is not there.
    Nobody,
    Is(String),
    /// What lies there is not what was committed.
    Unknown,
}

fn editor(path: &Path) -> Editor {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Editor::Nobody;
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let git = |args: &[&str]| {
        let output = Command::new("git")
            // A hook or a filter of the checkout has no business in this.
            .args([
                "-c",
                "core.fsmonitor=false",
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "log.showSignature=false",
            ])
            .args(args)
            .current_dir(folder)
            .env_remove("GIT_DIR")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let here = format!("./{name}");
    let Some(committed) = git(&["rev-parse", "--verify", "--quiet", &format!("HEAD:{here}")])
    else {
        return Editor::Nobody;
    };
    if git(&["hash-object", "--no-filters", "--", &here]) != Some(committed) {
        return Editor::Unknown;
    }
    git(&["log", "-1", "--format=%aE", "--", &here]).map_or(Editor::Unknown, Editor::Is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_author_of_the_newest_commit_of_the_file_edited_it() {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            Command::new("git")
                .args(["-c", "user.name=Ada", "-c", "commit.gpgsign=false"])
                .args(args)
                .current_dir(folder.path())
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, "one").unwrap();
        if !git(&["init", "-q"]) {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "git is not installed"
            );
            return;
        }
        assert_eq!(editor(&path), Editor::Nobody);
        let commit = |who: &str| {
            let email = format!("user.email={who}");
            assert!(git(&["add", "."]));
            assert!(git(&["-c", &email, "commit", "-q", "-m", "change"]));
        };
        commit("ada@example.com");
        assert_eq!(editor(&path), Editor::Is("ada@example.com".into()));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(editor(&path), Editor::Unknown);
        commit("bob@example.com");
        std::fs::write(folder.path().join("other"), "x").unwrap();
        commit("eve@example.com");
        assert_eq!(editor(&path), Editor::Is("bob@example.com".into()));
        assert_eq!(editor(&folder.path().join("missing")), Editor::Nobody);
    }
}
