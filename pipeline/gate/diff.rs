//! Owns unified diffs of whole objects, as `kubectl diff` prints them: which object each is about, and both
//! of its sides. Where a diff shows a few lines around a change only, they are looked for in what the
//! lake knows of the object; what is not found there, or more than once, is refused.

use serde_json::Value;

use super::document::{Document, ObjectKey, Refusal, parse};
use super::render;
use crate::model::workload::kind_of;

/// Longer diffs are refused before anything is looked at.
pub const DIFF_BYTES_MAX: usize = 32 << 20;
const SECTIONS_MAX: usize = 5_000;
/// Lines of context that `diff -u` shows.
const USUAL_CONTEXT: usize = 3;

/// One object of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name of its file: `group.version.Kind.namespace.name`.
    pub file: String,
    /// Its line in the diff.
    pub line: usize,
    pub key: ObjectKey,
    hunks: Vec<Hunk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Hunk {
    line: usize,
    old: (usize, usize),
    new: (usize, usize),
    /// `' '`, `'-'` or `'+'`, and the text.
    lines: Vec<(char, String)>,
}

/// Both sides of a section.
#[derive(Debug, Clone, PartialEq)]
pub struct Sides {
    pub before: Option<Document>,
    pub after: Option<Document>,
}

/// The objects of a diff.
pub fn sections(text: &str) -> Result<Vec<Section>, Refusal> {
    if text.len() > DIFF_BYTES_MAX {
        return Err(Refusal::Diff {
            line: 1,
            why: format!("it is longer than {DIFF_BYTES_MAX} bytes"),
        });
    }
    let mut out: Vec<Section> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let refused = |why: &str| Refusal::Diff {
            line: number,
            why: why.to_owned(),
        };
        if let Some(old) = line.strip_prefix("--- ") {
            let (_, next) = lines
                .next_if(|(_, next)| next.starts_with("+++ "))
                .ok_or_else(|| refused("`---` without a line of `+++` below it"))?;
            let [old, new] = [old, next.trim_start_matches("+++ ")].map(file_name);
            let file = if new == "null" { old } else { new };
            let key = key_of(file).ok_or_else(|| {
                refused("the file is not named as `kubectl diff` names it, `group.version.Kind.namespace.name`: give two folders with --before and --after")
            })?;
            if out.len() >= SECTIONS_MAX {
                return Err(refused("it is about more than 5000 objects"));
            }
            out.push(Section {
                file: file.to_owned(),
                line: number,
                key,
                hunks: Vec::new(),
            });
        } else if line.starts_with("@@ ") {
            let mut hunk =
                head(line, number).ok_or_else(|| refused("the head of a hunk is not readable"))?;
            let (mut old, mut new) = hunk_lengths(&hunk);
            while old > 0 || new > 0 {
                let (_, line) = lines
                    .next()
                    .ok_or_else(|| refused("the hunk ends before its last line"))?;
                let (mark, rest) = match line.chars().next() {
                    Some(mark @ (' ' | '-' | '+')) => (mark, &line[1..]),
                    // Some tools take the blank off an empty line of context.
                    None => (' ', ""),
                    Some('\\') => continue,
                    Some(_) => return Err(refused("a line of the hunk begins with no mark")),
                };
                old = old.saturating_sub(usize::from(mark != '+'));
                new = new.saturating_sub(usize::from(mark != '-'));
                hunk.lines.push((mark, rest.to_owned()));
            }
            let section = out
                .last_mut()
                .ok_or_else(|| refused("a hunk without a file"))?;
            section.hunks.push(hunk);
        } else if !is_between(line) {
            // What a failed command wrote instead of a diff is no change that is fine.
            let shown: String = line.chars().take(80).collect();
            return Err(refused(&format!("`{shown}` is no line of a diff")));
        }
    }
    out.retain(|section| !section.hunks.is_empty());
    Ok(out)
}

/// What tools write between the objects of a diff.
fn is_between(line: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "diff ",
        "index ",
        "new file mode ",
        "deleted file mode ",
        "old mode ",
        "new mode ",
        "similarity index ",
        "rename from ",
        "rename to ",
        "Only in ",
        "\\",
    ];
    line.trim().is_empty() || BEGINNINGS.iter().any(|start| line.starts_with(start))
}

fn hunk_lengths(hunk: &Hunk) -> (usize, usize) {
    (hunk.old.1, hunk.new.1)
}

/// The last part of a path, without the time behind it.
fn file_name(path: &str) -> &str {
    let path = path.split('\t').next().unwrap_or(path).trim();
    path.rsplit('/').next().unwrap_or(path)
}

/// `apps.v1.Deployment.chat.llama-8b`: the kind is the first part with a capital.
fn key_of(file: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = file.split('.').collect();
    let at = parts
        .iter()
        .position(|part| part.starts_with(|c: char| c.is_ascii_uppercase()))?;
    let group = parts.get(..at.checked_sub(1)?)?.join(".");
    let api_version = if group.is_empty() {
        "v1".to_owned()
    } else {
        format!("{group}/{}", parts[at - 1])
    };
    let (namespace, name) = (parts.get(at + 1)?, parts.get(at + 2..)?.join("."));
    (!name.is_empty()).then(|| ObjectKey {
        kind: kind_of(&api_version, parts[at]),
        namespace: (*namespace).to_owned(),
        name,
    })
}

/// `@@ -1,7 +1,8 @@`.
fn head(line: &str, number: usize) -> Option<Hunk> {
    let mut words = line.split(' ');
    let span = |word: Option<&str>, mark: char| -> Option<(usize, usize)> {
        let word = word?.strip_prefix(mark)?;
        let (start, length) = word.split_once(',').unwrap_or((word, "1"));
        Some((start.parse().ok()?, length.parse().ok()?))
    };
    words.next()?;
    Some(Hunk {
        line: number,
        old: span(words.next(), '-')?,
        new: span(words.next(), '+')?,
        lines: Vec::new(),
    })
}

/// What nobody wrote, and what a snapshot need not keep as it is.
fn is_noise(text: &str) -> bool {
    let text = text.trim_start();
    [
        "generation:",
        "resourceVersion:",
        "uid:",
        "creationTimestamp:",
        "deployment.kubernetes.io/revision:",
        "kubectl.kubernetes.io/last-applied-configuration:",
        "{\"apiVersion\":",
    ]
    .iter()
    .any(|start| text.starts_with(start))
}

/// A line without what two writers of YAML do differently.
fn bare(text: &str) -> String {
    text.trim_end()
        .chars()
        .filter(|c| !matches!(c, '"' | '\''))
        .collect()
}

impl Section {
    /// Both sides: from the diff alone where it shows the whole object, else within `known`, what the lake
    /// has of it.
    pub fn sides(&self, known: Option<&Value>) -> Result<Sides, Refusal> {
        if self.is_whole() {
            return Ok(Sides {
                before: self.document(&self.side('-'), false)?,
                after: self.document(&self.side('+'), true)?,
            });
        }
        let Some(known) = known else {
            return Err(self.lacks(format!(
                "the diff shows a part of it, from line {} on, and no snapshot in the lake has the rest",
                self.line
            )));
        };
        let mut known = known.clone();
        if let Some(meta) = known.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        let whole: Vec<String> = render::lines(&known)
            .into_iter()
            .filter(|line| !is_noise(line))
            .collect();
        let mut after = Vec::new();
        let mut at = 0;
        for hunk in &self.hunks {
            let lines: Vec<&(char, String)> = hunk
                .lines
                .iter()
                .filter(|(_, text)| !is_noise(text))
                .collect();
            let Some((_, first)) = lines.iter().find(|(mark, _)| *mark != ' ') else {
                continue;
            };
            let old: Vec<String> = lines
                .iter()
                .filter(|(mark, _)| *mark != '+')
                .map(|(_, text)| bare(text))
                .collect();
            let found: Vec<usize> = whole
                .windows(old.len().max(1))
                .enumerate()
                .filter(|(_, window)| window.iter().map(|line| bare(line)).eq(old.iter().cloned()))
                .map(|(index, _)| index)
                .collect();
            let place = match found.as_slice() {
                [only] if *only >= at => *only,
                several => {
                    let why = format!(
                        "what the diff shows around `{}` (line {} of the diff) is {} in its newest snapshot",
                        first.trim().chars().take(80).collect::<String>(),
                        hunk.line,
                        if several.is_empty() {
                            "not found"
                        } else {
                            "not told apart"
                        }
                    );
                    return Err(self.lacks(why));
                }
            };
            after.extend_from_slice(&whole[at..place]);
            let added = lines.iter().filter(|(mark, _)| *mark != '-');
            after.extend(added.map(|(_, text)| text.clone()));
            at = place + old.len();
        }
        after.extend_from_slice(&whole[at..]);
        Ok(Sides {
            before: self.document(&whole, false)?,
            after: self.document(&after, true)?,
        })
    }

    /// Whether the hunks hold every line of both sides. A single one from the first line on does, unless it
    /// ends in as much context as a usual diff shows.
    fn is_whole(&self) -> bool {
        let [hunk] = self.hunks.as_slice() else {
            return false;
        };
        if hunk.old.1 == 0 || hunk.new.1 == 0 {
            return true;
        }
        let after = hunk.lines.iter().rev();
        let context = after.take_while(|(mark, _)| *mark == ' ').count();
        hunk.old.0 <= 1 && hunk.new.0 <= 1 && context != USUAL_CONTEXT
    }

    fn side(&self, mark: char) -> Vec<String> {
        let lines = self.hunks.iter().flat_map(|hunk| &hunk.lines);
        lines
            .filter(|(of, _)| *of == ' ' || *of == mark)
            .map(|(_, text)| text.clone())
            .collect()
    }

    fn document(&self, lines: &[String], is_after: bool) -> Result<Option<Document>, Refusal> {
        if lines.is_empty() {
            return Ok(None);
        }
        let text = lines.join("\n");
        let found = parse(&self.file, &text, &self.key.namespace).map_err(|refusal| {
            let side = if is_after { "after" } else { "before" };
            self.lacks(format!(
                "the object {side} the change is not readable ({refusal})"
            ))
        })?;
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(mut one), None) if one.key == self.key => {
                one.line = self.line;
                Ok(Some(one))
            }
            _ => Err(self.lacks(
                "the diff does not hold the object that its file is named after".to_owned(),
            )),
        }
    }

    fn lacks(&self, why: String) -> Refusal {
        Refusal::Context {
            object: self.key.path(),
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "diff -N -U100000 /tmp/LIVE-1/apps.v1.Deployment.chat.a /tmp/MERGED-2/apps.v1.Deployment.chat.a\n--- /tmp/LIVE-1/apps.v1.Deployment.chat.a\t2026-11-28 12:00:00\n+++ /tmp/MERGED-2/apps.v1.Deployment.chat.a\t2026-11-28 12:00:00\n@@ -1,8 +1,8 @@\n apiVersion: apps/v1\n kind: Deployment\n metadata:\n-  generation: 1\n+  generation: 2\n   name: a\n   namespace: chat\n spec:\n-  replicas: 4\n+  replicas: 2\n";

    const PART: &str = "--- /tmp/LIVE-1/apps.v1.Deployment.chat.a\n+++ /tmp/MERGED-2/apps.v1.Deployment.chat.a\n@@ -4,7 +4,7 @@\n   annotations:\n     deployment.kubernetes.io/revision: \"1\"\n   creationTimestamp: \"2026-01-01T00:00:00Z\"\n-  generation: 1\n+  generation: 2\n   name: a\n   namespace: chat\n   resourceVersion: \"5\"\n@@ -20,6 +20,6 @@\n     spec:\n       containers:\n       - args:\n-        - --max-model-len=8192\n+        - --max-model-len=4096\n         image: vllm\n         name: main\n";

    fn known() -> Value {
        serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "chat", "generation": 9},
        "spec": {"replicas": 4, "template": {"spec": {"containers": [
            {"args": ["--max-model-len=8192"], "image": "vllm", "name": "main", "env": [{"name": "A", "value": "1"}]},
        ]}}}})
    }

    #[test]
    fn a_diff_with_all_lines_needs_nothing_else() {
        let found = sections(WHOLE).unwrap();
        assert_eq!(found[0].key.path(), "deployment.apps/chat/a");
        let sides = found[0].sides(None).unwrap();
        assert_eq!(sides.before.unwrap().body["spec"]["replicas"], 4);
        assert_eq!(sides.after.unwrap().body["spec"]["replicas"], 2);
        let added = "--- /tmp/L/v1.Service.chat.s.b\n+++ /tmp/M/v1.Service.chat.s.b\n@@ -0,0 +1,5 @@\n+apiVersion: v1\n+kind: Service\n+metadata:\n+  name: s.b\n+  namespace: chat\n";
        let sides = sections(added).unwrap()[0].sides(None).unwrap();
        assert_eq!(sides.before, None);
        assert_eq!(sides.after.unwrap().key.path(), "service/chat/s.b");
    }

    #[test]
    fn a_diff_of_a_few_lines_is_found_in_what_the_lake_knows() {
        let mut known = known();
        // The snapshot has it without the variable, as the cluster that was asked.
        known["spec"]["template"]["spec"]["containers"][0]
            .as_object_mut()
            .unwrap()
            .remove("env");
        let section = &sections(PART).unwrap()[0];
        let sides = section.sides(Some(&known)).unwrap();
        let args = |document: Option<Document>| {
            document.unwrap().body["spec"]["template"]["spec"]["containers"][0]["args"][0].clone()
        };
        assert_eq!(args(sides.before), "--max-model-len=8192");
        assert_eq!(args(sides.after), "--max-model-len=4096");
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_object_and_field() {
        let section = &sections(PART).unwrap()[0];
        for (known, word) in [(None, "no snapshot"), (Some(known()), "not found")] {
            let refused = section.sides(known.as_ref()).unwrap_err().to_string();
            for word in [word, "deployment.apps/chat/a", "--before"] {
                assert!(refused.contains(word), "{refused}");
            }
        }
        let mut twice = known();
        let mut one = twice["spec"]["template"]["spec"]["containers"][0].clone();
        one.as_object_mut().unwrap().remove("env");
        twice["spec"]["template"]["spec"]["containers"] = Value::Array(vec![one.clone()]);
        twice["spec"]["x"] = serde_json::json!({"spec": {"containers": [one]}});
        let mut same = twice.clone();
        same["spec"]["y"] = twice["spec"]["x"].clone();
        let hunk = "--- a/apps.v1.Deployment.chat.a\n+++ b/apps.v1.Deployment.chat.a\n@@ -9,3 +9,3 @@\n-        - --max-model-len=8192\n+        - --max-model-len=1\n         image: vllm\n         name: main\n";
        let refused = sections(hunk).unwrap()[0].sides(Some(&same)).unwrap_err();
        assert!(refused.to_string().contains("not told apart"), "{refused}");
    }

    #[test]
    fn hostile_diffs_are_refused_with_their_line() {
        for (text, word) in [
            ("--- a\n", "+++"),
            ("--- a/x\n+++ b/x\n", "--before"),
            ("@@ -1 +1 @@\n-a\n+b\n", "without a file"),
            (
                "error: the server has asked for a password\n",
                "no line of a diff",
            ),
            (
                "--- a/v1.Pod.x.a\n+++ b/v1.Pod.x.a\n@@ -1,9 +1,9 @@\n a\n",
                "ends before",
            ),
            ("--- a/v1.Pod.x.a\n+++ b/v1.Pod.x.a\n@@ x\n", "head"),
            (
                "--- a/v1.Pod.x.a\n+++ b/v1.Pod.x.a\n@@ -1,99999999999999999999 +1 @@\n",
                "head",
            ),
        ] {
            let refused = sections(text).unwrap_err().to_string();
            assert!(refused.contains(word), "{text}: {refused}");
            assert!(refused.contains("line "), "{refused}");
        }
        assert_eq!(sections("\n").unwrap(), []);
    }
}
