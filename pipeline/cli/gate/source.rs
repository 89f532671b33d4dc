//! Owns both sides of a change as text: two folders, two revisions of a git repository, or a diff.
//!
//! All of it is hostile: links are not followed, sizes and counts are bounded, and `git` is asked for blobs by
//! their digest and never given a word that it could take for an option.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::error::CliError;
use crate::gate::document::{FILE_BYTES_MAX, OBJECTS_MAX, parse};
use crate::gate::{Document, Refusal};

const FILES_MAX: usize = 20_000;
const SIDE_BYTES_MAX: usize = 256 << 20;
const DEPTH_MAX: usize = 32;
/// Files of which a note names each; the rest are counted.
const NAMED_MAX: usize = 5;

/// The files of one side, by their path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The objects of both sides, and what was passed over.
#[derive(Debug, Default)]
pub(super) struct Both {
    pub before: Vec<Document>,
    pub after: Vec<Document>,
    pub notes: Vec<String>,
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

fn too_much(what: &str) -> CliError {
    CliError::Usage(format!("{what}: name a smaller folder"))
}

/// The manifests of a folder, or one file.
pub(super) fn folder(path: &Path) -> Result<Files, CliError> {
    let failed = |error| CliError::file("read the manifests in", path, error);
    let mut out = Files::new();
    let mut bytes = 0;
    if std::fs::metadata(path).map_err(failed)?.is_file() {
        let name = path.file_name().unwrap_or(path.as_os_str());
        out.insert(name.to_string_lossy().into_owned(), file(path)?);
        return Ok(out);
    }
    let mut open: Vec<(PathBuf, String, usize)> = vec![(path.to_owned(), String::new(), 0)];
    while let Some((at, under, depth)) = open.pop() {
        let failed = |error| CliError::file("read the folder", &at, error);
        for entry in std::fs::read_dir(&at).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(failed)?;
            if name.starts_with('.') {
                continue;
            }
            let full = format!("{under}{name}");
            if kind.is_dir() {
                if depth >= DEPTH_MAX {
                    return Err(too_much(&format!("`{full}` is nested too deeply")));
                }
                open.push((entry.path(), format!("{full}/"), depth + 1));
            } else if kind.is_file() && is_manifest(&name) {
                let read = file(&entry.path())?;
                bytes += read.len();
                out.insert(full, read);
                if out.len() > FILES_MAX || bytes > SIDE_BYTES_MAX {
                    return Err(too_much(&format!(
                        "`{}` holds more than {FILES_MAX} manifests or {SIDE_BYTES_MAX} bytes",
                        path.display()
                    )));
                }
            }
        }
    }
    Ok(out)
}

/// A file, or its first bytes beyond what is read: `parse` refuses it by name.
fn file(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error| CliError::file("read the manifest", path, error);
    let mut out = Vec::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut out)
        .map_err(failed)?;
    Ok(out)
}

/// A diff from a file, or from stdin.
pub(super) fn diff(from: &str) -> Result<String, CliError> {
    let most = crate::gate::diff::DIFF_BYTES_MAX as u64 + 1;
    let failed = |error| CliError::file("read the diff", from, error);
    let mut bytes = Vec::new();
    if from == "-" {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(from).and_then(|file| file.take(most).read_to_end(&mut bytes))
    }
    .map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| CliError::Usage(format!("the diff `{from}` is not UTF-8")))
}

/// A repository and the part of it that is compared.
pub(super) struct Git<'a> {
    pub repository: &'a Path,
    pub under: Option<&'a str>,
}

impl Git<'_> {
    /// The manifests at both ends of `REV..REV`; with three dots from where the first was left.
    pub(super) fn sides(&self, range: &str) -> Result<(Files, Files), CliError> {
        let wrong = |why: &str| {
            CliError::Usage(format!(
                "`{}` is no range of revisions: {why}, as in `main..HEAD`",
                range.chars().take(80).collect::<String>()
            ))
        };
        let (from, to, is_merge) = if let Some((from, to)) = range.split_once("...") {
            (from, to, true)
        } else {
            let ends = range.split_once("..");
            let (from, to) = ends.ok_or_else(|| wrong("give two with `..` between them"))?;
            (from, to, false)
        };
        for revision in [from, to] {
            if revision.is_empty() {
                return Err(wrong("one of the two is empty"));
            }
            if revision.starts_with('-') {
                return Err(wrong("a revision does not begin with `-`"));
            }
            let odd = |c: char| c.is_control() || c.is_whitespace() || "?*[\\:".contains(c);
            if revision.contains("..") || revision.contains(odd) {
                return Err(wrong("a revision holds no such characters"));
            }
        }
        if let Some(under) = self.under
            && (under.starts_with(['-', '/', ':']) || under.split('/').any(|part| part == ".."))
        {
            return Err(CliError::Usage(format!(
                "`--path {under}` is no path inside of the repository"
            )));
        }
        let (mut from, to) = (self.commit(from)?, self.commit(to)?);
        if is_merge {
            let said = self.ask(&["merge-base", "--end-of-options", &from, &to], None)?;
            from = digest(&said)?;
        }
        let (before, after) = (self.tree(&from)?, self.tree(&to)?);
        if before.is_empty() && after.is_empty() {
            return Err(CliError::Usage(format!(
                "neither revision has a .yaml, .yml or .json file{}",
                self.under
                    .map(|under| format!(" in `{under}`"))
                    .unwrap_or_default()
            )));
        }
        let mut blobs: Vec<&String> = before.values().chain(after.values()).collect();
        blobs.sort();
        blobs.dedup();
        let texts = self.blobs(&blobs)?;
        let side = |tree: &BTreeMap<String, String>| -> Files {
            tree.iter()
                .map(|(path, blob)| (path.clone(), texts.get(blob).cloned().unwrap_or_default()))
                .collect()
        };
        Ok((side(&before), side(&after)))
    }

    fn commit(&self, revision: &str) -> Result<String, CliError> {
        let wanted = format!("{revision}^{{commit}}");
        let said = self
            .ask(
                &[
                    "rev-parse",
                    "--verify",
                    "--quiet",
                    "--end-of-options",
                    &wanted,
                ],
                None,
            )
            .map_err(|error| match error {
                CliError::Usage(why) => {
                    CliError::Usage(format!("git knows no revision `{revision}`{}", tail(&why)))
                }
                other => other,
            })?;
        digest(&said)
    }

    /// Manifests of a commit with the digests of their contents.
    fn tree(&self, commit: &str) -> Result<BTreeMap<String, String>, CliError> {
        let mut args = vec!["ls-tree", "-r", "-z", "-l", "--full-tree", commit];
        if let Some(under) = self.under {
            args.extend(["--", under]);
        }
        let said = self.ask(&args, None)?;
        let (mut out, mut bytes) = (BTreeMap::new(), 0_usize);
        for entry in said
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty())
        {
            let entry = String::from_utf8_lossy(entry);
            let Some((head, path)) = entry.split_once('\t') else {
                continue;
            };
            let words: Vec<&str> = head.split_whitespace().collect();
            // Links and submodules are no manifests.
            let [mode, "blob", blob, size] = words.as_slice() else {
                continue;
            };
            let is_hidden = path.split('/').any(|part| part.starts_with('.'));
            if !mode.starts_with("100") || !is_manifest(path) || is_hidden {
                continue;
            }
            bytes += size.parse::<usize>().unwrap_or(0);
            out.insert(path.to_owned(), (*blob).to_owned());
            if out.len() > FILES_MAX || bytes > SIDE_BYTES_MAX {
                return Err(too_much(&format!(
                    "the revision holds more than {FILES_MAX} manifests or {SIDE_BYTES_MAX} bytes"
                )));
            }
        }
        Ok(out)
    }

    fn blobs(&self, blobs: &[&String]) -> Result<BTreeMap<String, Vec<u8>>, CliError> {
        let mut asked = String::new();
        for blob in blobs {
            asked.push_str(blob);
            asked.push('\n');
        }
        let said = self.ask(&["cat-file", "--batch"], Some(asked))?;
        let broken =
            || CliError::Unexpected("git answered with what is no list of blobs".to_owned());
        let (mut out, mut at) = (BTreeMap::new(), 0);
        while at < said.len() {
            let line_end = at
                + said[at..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .ok_or_else(broken)?;
            let head = String::from_utf8_lossy(&said[at..line_end]).into_owned();
            let words: Vec<&str> = head.split(' ').collect();
            let [blob, "blob", size] = words.as_slice() else {
                return Err(broken());
            };
            let size: usize = size.parse().map_err(|_| broken())?;
            let end = (line_end + 1).checked_add(size).ok_or_else(broken)?;
            let text = said.get(line_end + 1..end).ok_or_else(broken)?;
            out.insert((*blob).to_owned(), text.to_vec());
            at = end + 1;
        }
        Ok(out)
    }

    fn ask(&self, args: &[&str], stdin: Option<String>) -> Result<Vec<u8>, CliError> {
        let failed = |error: std::io::Error| {
            CliError::Usage(format!(
                "cannot run `git`: {error}; without it give two folders with --before and --after"
            ))
        };
        let mut child = Command::new("git")
            .args(["--no-pager", "--literal-pathspecs", "-C"])
            .arg(self.repository)
            .args(args)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // What is asked is written while the answer is read: both pipes are small.
        let writer = child.stdin.take().zip(stdin).map(|(mut pipe, text)| {
            std::thread::spawn(move || {
                let _ = pipe.write_all(text.as_bytes());
            })
        });
        let output = child.wait_with_output().map_err(failed)?;
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(300).collect();
        Err(CliError::Usage(format!("git {}: {said}", args[0])))
    }
}

/// What git said beyond its own name.
fn tail(why: &str) -> String {
    let said = why.split_once(": ").map_or("", |(_, said)| said);
    if said.is_empty() {
        String::new()
    } else {
        format!(" ({said})")
    }
}

fn digest(said: &[u8]) -> Result<String, CliError> {
    let text = String::from_utf8_lossy(said).trim().to_owned();
    let is_digest = (40..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest
        .then_some(text)
        .ok_or_else(|| CliError::Usage("git named no commit for these revisions".to_owned()))
}

/// Parses both sides. A file that is the same on both and is no manifest changes nothing; one that differs
/// is refused by its name.
pub(super) fn both(before: &Files, after: &Files, namespace: &str) -> Result<Both, Refusal> {
    let mut out = Both::default();
    let mut passed: Vec<&str> = Vec::new();
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        let (one, other) = (before.get(path), after.get(path));
        let is_same = one == other;
        for (bytes, side) in [(one, &mut out.before), (other, &mut out.after)] {
            let Some(bytes) = bytes else { continue };
            let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NoYaml {
                file: path.clone(),
                line: 1,
                why: "it is not UTF-8".to_owned(),
            });
            match text.and_then(|text| parse(path, text, namespace)) {
                Ok(found) => side.extend(found),
                Err(_) if is_same => passed.push(path),
                Err(refusal) => return Err(refusal),
            }
            if side.len() > OBJECTS_MAX {
                return Err(Refusal::TooManyObjects);
            }
        }
    }
    passed.dedup();
    if !passed.is_empty() {
        let named = passed
            .iter()
            .take(NAMED_MAX)
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        let rest = passed.len().saturating_sub(NAMED_MAX);
        let rest = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        out.notes.push(format!(
            "not read, and the same on both sides: {named}{rest} (templates that are not rendered, or no YAML)"
        ));
    }
    Ok(out)
}
