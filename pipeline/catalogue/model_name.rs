//! Owns what can be read from a model's name alone: tokens, sizes, mixture-of-experts shapes.
//!
//! A name that does not state its size yields nothing: a guess here would become a dollar figure.

use super::quantisation::{Quantisation, quantisation_in_name};

/// Names come from pods and labels: longer ones are not names.
const MAX_NAME_BYTES: usize = 512;

/// What a name says about a model that the catalogue does not know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParsedModel {
    pub params_b: f64,
    pub active_params_b: f64,
    pub mixture_of_experts: bool,
    pub quantisation: Option<Quantisation>,
    /// As stated by the name, else the 16 bits of an unquantised checkpoint.
    pub bytes_per_weight: f64,
    /// One size stood in the name; with several the largest is taken and this is false.
    pub certain: bool,
}

/// The model's own part of a reference: without scheme, registry, organisation, revision and tag.
pub(super) fn base_name(reference: &str) -> Option<String> {
    let reference = reference.trim();
    if reference.is_empty() || reference.len() > MAX_NAME_BYTES {
        return None;
    }
    let segments: Vec<&str> = reference
        .split(['/', '\\'])
        .filter(|segment| !segment.is_empty())
        .collect();
    // A Hugging Face cache folder carries the name in front of the snapshot's hash.
    let cached = segments
        .iter()
        .rev()
        .find_map(|segment| segment.strip_prefix("models--"))
        .and_then(|rest| rest.rsplit("--").next());
    let last = cached.or_else(|| segments.last().copied())?;
    let mut name = last.to_ascii_lowercase();
    if let Some((head, _)) = name.split_once('@') {
        name.truncate(head.len());
    }
    if let Some((head, tag)) = name.split_once(':') {
        // `llama3.1:8b` is a size, `llama-3.1-8b-instruct:1.8.0` an image's tag.
        name = match tag.split(['-', '_']).next() {
            Some(first) if size_of(first).is_some() => format!("{head}-{tag}"),
            _ => head.to_owned(),
        };
    }
    for extension in [".gguf", ".safetensors", ".engine"] {
        if let Some(head) = name.strip_suffix(extension) {
            name.truncate(head.len());
        }
    }
    (!name.is_empty()).then_some(name)
}

/// The tokens of the model's own part, in lower case. A dot parts tokens unless digits stand on
/// both sides of it.
pub(super) fn tokens(reference: &str) -> Option<Vec<String>> {
    let name: Vec<char> = base_name(reference)?.chars().collect();
    let mut tokens = vec![String::new()];
    for (at, c) in name.iter().enumerate() {
        let digit = |at: Option<usize>| {
            at.and_then(|at| name.get(at))
                .is_some_and(char::is_ascii_digit)
        };
        let parts = match c {
            '-' | '_' | ' ' => true,
            '.' => !(digit(at.checked_sub(1)) && digit(Some(at + 1))),
            _ => false,
        };
        if parts {
            tokens.push(String::new());
        } else if let Some(last) = tokens.last_mut() {
            last.push(*c);
        }
    }
    tokens.retain(|token| !token.is_empty());
    Some(tokens)
}

/// `8b`, `0.5b`, `300m` in billions.
fn size_of(token: &str) -> Option<f64> {
    let (digits, unit) = token.split_at_checked(token.len().checked_sub(1)?)?;
    let scale = match unit {
        "b" => 1.0,
        "m" => 1e-3,
        _ => return None,
    };
    number(digits)
        .map(|value| value * scale)
        .filter(|size| (0.005..=10_000.0).contains(size))
}

fn number(digits: &str) -> Option<f64> {
    let plain = !digits.is_empty() && digits.len() <= 8;
    (plain
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    .then(|| digits.parse().ok())?
}

/// Reads sizes from a name; `None` where it states none.
#[must_use]
pub fn parse_model_name(reference: &str) -> Option<ParsedModel> {
    let tokens = tokens(reference)?;
    let quantisation = quantisation_in_name(reference);
    let parsed = |params_b: f64, active_params_b: f64, mixture_of_experts, certain| ParsedModel {
        params_b,
        active_params_b,
        mixture_of_experts,
        quantisation,
        bytes_per_weight: quantisation
            .unwrap_or(Quantisation::Bf16)
            .bytes_per_weight(),
        certain,
    };
    for token in &tokens {
        // `8x7b`: the experts share attention, so the total is below the product.
        if let Some((experts, size)) = token.split_once('x')
            && let (Some(experts), Some(size)) = (number(experts), size_of(size))
            && (2.0..=1024.0).contains(&experts)
        {
            return Some(parsed(0.83 * experts * size, 0.9 * 2.0 * size, true, true));
        }
    }
    for pair in tokens.windows(2) {
        let [first, second] = pair else { continue };
        let Some(size) = size_of(first) else { continue };
        if let Some(active) = second.strip_prefix('a').and_then(size_of) {
            return (active <= size).then(|| parsed(size, active, true, true));
        }
        // `17b-16e`: the size is that of the active part and the total stands nowhere.
        if second.strip_suffix('e').and_then(number).is_some() {
            return None;
        }
    }
    let sizes: Vec<f64> = tokens.iter().filter_map(|token| size_of(token)).collect();
    let largest = sizes.iter().copied().fold(None, |max: Option<f64>, size| {
        Some(max.map_or(size, |max| max.max(size)))
    })?;
    Some(parsed(largest, largest, false, sizes.len() == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(name: &str) -> Option<(f64, f64)> {
        parse_model_name(name).map(|m| {
            let round = |x: f64| (x * 10.0).round() / 10.0;
            (round(m.params_b), round(m.active_params_b))
        })
    }

    #[test]
    fn sizes_are_read_and_versions_are_not() {
        assert_eq!(sizes("acme/llama-3.1-8b-support-bot"), Some((8.0, 8.0)));
        assert_eq!(sizes("qwen2.5-72b-instruct-awq"), Some((72.0, 72.0)));
        assert_eq!(sizes("mistral-7b-instruct-v0.3"), Some((7.0, 7.0)));
        assert_eq!(sizes("acme-0.5b"), Some((0.5, 0.5)));
        assert_eq!(sizes("embed-300m"), Some((0.3, 0.3)));
        assert_eq!(sizes("llama3.1:8b"), Some((8.0, 8.0)));
        assert_eq!(
            sizes("nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.0"),
            Some((8.0, 8.0))
        );
        assert_eq!(sizes("acme/llama-2-7b.Q4_K_M.gguf"), Some((7.0, 7.0)));
    }

    #[test]
    fn mixtures_of_experts_keep_total_and_active_apart() {
        assert_eq!(sizes("mixtral-8x7b"), Some((46.5, 12.6)));
        assert_eq!(sizes("acme/moe-30b-a3b-2507"), Some((30.0, 3.0)));
        // Active size and number of experts do not give the total.
        assert_eq!(sizes("acme-17b-16e"), None);
    }

    #[test]
    fn what_states_no_size_stays_unresolved() {
        for name in [
            "gpt-4o-mini",
            "mistral-large",
            "phi-4",
            "command-r",
            "my-model",
            "",
            "/",
            ":",
            "-",
            "bnb-4bit",
            "b",
            "m",
            "é",
            "llama-3.1",
            "model-2507",
            "0b",
            "99999999b",
            "1.b",
            ".5b.",
        ] {
            assert_eq!(
                sizes(name),
                if name == ".5b." {
                    Some((5.0, 5.0))
                } else {
                    None
                },
                "{name}"
            );
        }
        assert_eq!(sizes(&"7b-".repeat(1000)), None);
    }

    #[test]
    fn several_sizes_are_not_certain() {
        let both = parse_model_name("draft-1b-for-70b").unwrap();
        assert_eq!((both.params_b, both.certain), (70.0, false));
        assert_eq!(parse_model_name("x-8b-fp8").unwrap().bytes_per_weight, 1.0);
    }
}
