//! Owns reading of engine command lines: container command, args and environment into words,
//! and words into flags. It guesses nothing: a value that a shell would compute stays unknown.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json;

/// Words of one container beyond this number are not read.
const MAX_WORDS: usize = 2048;
/// Characters of one script beyond this number are not read.
const MAX_SCRIPT: usize = 64 * 1024;

/// What one container runs.
#[derive(Debug, Default)]
pub(super) struct CommandLine {
    pub image: String,
    pub env: BTreeMap<String, String>,
    pub words: Vec<String>,
    /// The words of `VLLM_ADDITIONAL_ARGS`, which engines' charts append.
    pub env_words: Vec<String>,
    pub has_command: bool,
}

impl CommandLine {
    pub(super) fn of(container: &Value) -> Self {
        let env: BTreeMap<String, String> = json::items(container, &["env"])
            .iter()
            .filter_map(|var| {
                let name = json::text(var, &["name"])?;
                let value = json::get(var, &["value"]);
                let value = value
                    .as_str()
                    .map(str::to_owned)
                    .or_else(|| value.as_i64().map(|number| number.to_string()))?;
                Some((name.to_owned(), value))
            })
            .collect();
        let listed: Vec<&str> = json::items(container, &["command"])
            .iter()
            .chain(json::items(container, &["args"]))
            .filter_map(Value::as_str)
            .take(MAX_WORDS)
            .collect();
        let mut words = Vec::new();
        for (index, word) in listed.iter().enumerate() {
            let shell = index >= 2 || index == 1;
            let script = shell
                && is_script_flag(listed[index - 1])
                && listed[..index - 1].iter().any(|before| is_shell(before));
            if script {
                words.extend(split(word));
            } else {
                words.push((*word).to_owned());
            }
        }
        words.truncate(MAX_WORDS);
        let words = words.iter().map(|word| expand(word, &env)).collect();
        let env_words = env
            .get("VLLM_ADDITIONAL_ARGS")
            .map_or_else(Vec::new, |args| split(args));
        Self {
            image: json::text(container, &["image"]).unwrap_or("").to_owned(),
            words,
            env_words,
            has_command: !json::items(container, &["command"]).is_empty(),
            env,
        }
    }

    /// The value of the first of these flags, in any spelling of dashes and underscores.
    pub(super) fn flag(&self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| flag(&self.words, name).or_else(|| flag(&self.env_words, name)))
    }

    /// The first of these flags that is given, with its value as it stands, computed or not.
    pub(super) fn raw_flag(&self, names: &[&str]) -> Option<(String, String)> {
        for words in [&self.words, &self.env_words] {
            for (index, word) in words.iter().enumerate() {
                let (spelled, inline) = word
                    .split_once('=')
                    .map_or((word.as_str(), None), |(key, value)| (key, Some(value)));
                let plain = spelled.replace('_', "-");
                if !spelled.starts_with('-') || !names.contains(&plain.as_str()) {
                    continue;
                }
                let value = inline.or_else(|| words.get(index + 1).map(String::as_str));
                if let Some(value) = value.filter(|value| !value.starts_with('-')) {
                    return Some((spelled.to_owned(), value.to_owned()));
                }
            }
        }
        None
    }

    /// All values of a flag that takes several, up to the next flag.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let mut out = Vec::new();
        for words in [&self.words, &self.env_words] {
            for (index, word) in words.iter().enumerate() {
                let (spelled, inline) = word
                    .split_once('=')
                    .map_or((word.as_str(), None), |(key, value)| (key, Some(value)));
                if !spelled.starts_with('-') || spelled.replace('_', "-") != name {
                    continue;
                }
                out.extend(inline);
                let more = words[index + 1..].iter();
                out.extend(
                    more.map(String::as_str)
                        .take_while(|value| !value.starts_with('-'))
                        .take(if inline.is_some() { 0 } else { 64 }),
                );
            }
        }
        out
    }

    pub(super) fn has_switch(&self, name: &str) -> bool {
        let words = self.words.iter().chain(&self.env_words);
        words.into_iter().any(|word| word.replace('_', "-") == name)
    }

    /// A variable of the script itself, else of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.words
            .iter()
            .rev()
            .filter_map(|word| word.split_once('='))
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| value.to_owned())
            .or_else(|| self.env.get(name).cloned())
    }

    /// A flag's value as a count; `16k` is 16 000 and `16K` is 16 384, as vLLM reads them.
    pub(super) fn count(&self, names: &[&str]) -> Option<i64> {
        self.flag(names).and_then(|value| count(&value))
    }

    /// The model that follows a serving command without a flag.
    pub(super) fn positional_model(&self) -> Option<String> {
        let words = &self.words;
        for (index, word) in words.iter().enumerate() {
            let program = base(word);
            let next = |offset: usize| words.get(index + offset).map(String::as_str);
            let candidate = match program {
                "vllm" if next(1) == Some("serve") => next(2),
                "lmdeploy" if next(1) == Some("serve") => next(3),
                "trtllm-serve" if next(1) == Some("serve") => next(2),
                "trtllm-serve" => next(1),
                _ => None,
            };
            if let Some(model) = candidate.filter(|model| is_value(model)) {
                return Some(model.to_owned());
            }
        }
        // The image's own entry point is `vllm serve`.
        (!self.has_command && self.image.contains("vllm"))
            .then(|| words.first().filter(|word| is_value(word)).cloned())
            .flatten()
    }

    /// The engine that decodes, where the program or else the image says it; a server that can run
    /// several (NIM, Triton, Dynamo's image) says nothing by its image.
    pub(super) fn engine(&self) -> Option<&'static str> {
        let of_word = |word: &str| {
            let program = base(word);
            if program == "vllm" || program.starts_with("vllm.") || word.starts_with("dynamo.vllm")
            {
                Some("vllm")
            } else if program.starts_with("sglang") || word.starts_with("dynamo.sglang") {
                Some("sglang")
            } else if program == "trtllm-serve" || word.starts_with("dynamo.trtllm") {
                Some("tensorrt-llm")
            } else {
                None
            }
        };
        let image = self.image.to_ascii_lowercase();
        let of_image = || {
            [
                ("vllm", "vllm"),
                ("sglang", "sglang"),
                ("trtllm", "tensorrt-llm"),
            ]
            .into_iter()
            .find(|(part, _)| image.contains(part))
            .map(|(_, engine)| engine)
        };
        self.words
            .iter()
            .find_map(|word| of_word(word))
            .or_else(of_image)
    }

    /// Whether the container is an inference engine, by image, program or flags.
    pub(super) fn is_engine(&self) -> bool {
        const IMAGES: &[&str] = &[
            "vllm",
            "sglang",
            "tritonserver",
            "text-generation-inference",
            "tensorrt-llm",
            "trtllm",
            "nvcr.io/nim/",
            "lmdeploy",
            "llama.cpp",
            "llama-cpp",
            "ollama",
            "ray-llm",
            "huggingfaceserver",
            "dynamo",
        ];
        const PROGRAMS: &[&str] = &[
            "vllm",
            "trtllm-serve",
            "tritonserver",
            "llama-server",
            "lmdeploy",
            "text-generation-launcher",
        ];
        let image = self.image.to_ascii_lowercase();
        IMAGES.iter().any(|part| image.contains(part))
            || self.words.iter().any(|word| {
                PROGRAMS.contains(&base(word))
                    || word.starts_with("vllm.entrypoints")
                    || word.starts_with("sglang.launch_server")
                    || word.starts_with("dynamo.vllm")
                    || word.starts_with("dynamo.sglang")
                    || word.starts_with("dynamo.trtllm")
            })
    }
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_shell(word: &str) -> bool {
    matches!(base(word), "sh" | "bash" | "ash" | "zsh" | "dash")
}

fn is_script_flag(word: &str) -> bool {
    word.len() <= 5 && word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
}

fn is_value(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-') && !word.contains('$')
}

fn flag(words: &[String], name: &str) -> Option<String> {
    for (index, word) in words.iter().enumerate() {
        let (spelled, inline) = word
            .split_once('=')
            .map_or((word.as_str(), None), |(key, value)| (key, Some(value)));
        if spelled.starts_with('-') && spelled.replace('_', "-") == name {
            let value = inline.or_else(|| words.get(index + 1).map(String::as_str));
            return value
                .filter(|value| is_value(value))
                .map(|value| value.trim_matches(['"', '\'']).to_owned());
        }
    }
    None
}

fn count(text: &str) -> Option<i64> {
    let text = text.trim();
    let (digits, factor) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 1000.0),
        'K' => (&text[..text.len() - 1], 1024.0),
        'm' => (&text[..text.len() - 1], 1e6),
        'M' => (&text[..text.len() - 1], 1024.0 * 1024.0),
        _ => (text, 1.0),
    };
    let number: f64 = digits.parse().ok()?;
    let number = number * factor;
    (0.0..1e12).contains(&number).then_some(number as i64)
}

/// Splits a script into words as a shell would, without running anything.
fn split(script: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted: Option<char> = None;
    let mut begun = false;
    let mut chars = script.chars().take(MAX_SCRIPT);
    while let Some(c) = chars.next() {
        match (quoted, c) {
            (Some(quote), _) if c == quote => quoted = None,
            (Some(_), _) => word.push(c),
            (None, '"' | '\'') => {
                quoted = Some(c);
                begun = true;
            }
            // What a shell would compute is one word, spaces or not.
            (None, '(') if word.ends_with('$') => {
                word.push('(');
                let mut depth = 1;
                for inner in chars.by_ref() {
                    word.push(inner);
                    match inner {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            (None, '\\') => {
                // A backslash before a line's end joins the lines.
                if let Some(next) = chars.next()
                    && next != '\n'
                {
                    word.push(next);
                    begun = true;
                }
            }
            (None, _) if c.is_whitespace() || c == ';' || c == '&' || c == '|' => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            (None, _) => {
                word.push(c);
                begun = true;
            }
        }
        if words.len() >= MAX_WORDS {
            break;
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Replaces `$(NAME)`, `${NAME}` and `$NAME` by literal environment values; what has none stays
/// as it is and is no value to anybody.
fn expand(word: &str, env: &BTreeMap<String, String>) -> String {
    if !word.contains('$') || word.len() > MAX_SCRIPT {
        return word.to_owned();
    }
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let close = match tail.chars().next() {
            Some('(') => Some(')'),
            Some('{') => Some('}'),
            _ => None,
        };
        let (name, after) = match close.map(|close| tail.find(close)) {
            Some(Some(end)) => (&tail[1..end], &tail[end + 1..]),
            Some(None) => ("", tail),
            None => {
                let end = tail
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(tail.len());
                (&tail[..end], &tail[end..])
            }
        };
        match env.get(name) {
            Some(value) if out.len() < MAX_SCRIPT => out.push_str(value),
            _ => {
                out.push('$');
                let taken = rest.len() - at - 1 - after.len();
                out.push_str(&tail[..taken]);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(value: Value) -> CommandLine {
        CommandLine::of(&value)
    }

    const TP: &[&str] = &["--tensor-parallel-size", "-tp", "--tp"];

    #[test]
    fn every_spelling_of_a_flag_is_read() {
        for args in [
            json!(["--tensor-parallel-size=2"]),
            json!(["--tensor-parallel-size", "2"]),
            json!(["--tensor_parallel_size", "2"]),
            json!(["-tp", "2"]),
            json!(["--tensor-parallel-size", "$TP_SIZE"]),
            json!(["--tensor-parallel-size=$(TP_SIZE)"]),
        ] {
            let container = json!({"args": args, "env": [{"name": "TP_SIZE", "value": "2"}]});
            assert_eq!(line(container).count(TP), Some(2));
        }
    }

    #[test]
    fn what_a_shell_computes_is_unknown() {
        let container = json!({
            "command": ["sh", "-c"],
            "args": ["vllm serve a/b --tensor-parallel-size $((LWS_GROUP_SIZE * DP_SIZE_LOCAL))"],
        });
        let read = line(container);
        assert_eq!(read.count(TP), None);
        assert_eq!(read.positional_model().as_deref(), Some("a/b"));
    }

    #[test]
    fn a_model_follows_vllm_serve_also_inside_a_shell() {
        let script =
            "source /x && exec /usr/bin/vllm serve \\\n  'Qwen/Qwen3-8B' --max-model-len 16k";
        let read = line(json!({"command": ["/bin/bash", "-lc", script]}));
        assert_eq!(read.positional_model().as_deref(), Some("Qwen/Qwen3-8B"));
        assert_eq!(read.count(&["--max-model-len"]), Some(16_000));
        assert!(read.is_engine());
    }

    #[test]
    fn programs_say_the_engine_and_else_the_image() {
        for (container, engine) in [
            (
                json!({"command": ["python3", "-m", "sglang.launch_server"]}),
                Some("sglang"),
            ),
            (
                json!({"command": ["/opt/bin/trtllm-serve", "a/b"], "image": "x/vllm:1"}),
                Some("tensorrt-llm"),
            ),
            (
                json!({"args": ["python3", "-m", "dynamo.vllm"], "image": "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1"}),
                Some("vllm"),
            ),
            (json!({"image": "vllm/vllm-openai:v0.11.0"}), Some("vllm")),
            (json!({"image": "nvcr.io/nim/meta/llama-3.1-8b:1.8"}), None),
            (json!({}), None),
        ] {
            assert_eq!(line(container.clone()).engine(), engine, "{container}");
        }
    }

    #[test]
    fn hostile_command_lines_do_not_panic() {
        for container in [
            json!({"command": ["-c"], "args": [5, null, "$", "${", "$(", "--x="]}),
            json!({"command": ["sh", "-c", "\\"], "env": "no"}),
            json!({"args": ["--max-model-len", "é"]}),
        ] {
            let read = line(container);
            assert_eq!(read.count(&["--max-model-len"]), None);
        }
    }
}
