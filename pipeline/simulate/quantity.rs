//! Owns numbers as manifests write them: Kubernetes quantities and Go durations. `manifest` calls it.

/// A quantity such as `8`, `500m`, `1.5k` or `1Gi`; `None` where it is none or not finite.
pub(super) fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    let text = text.trim();
    let (digits, scale) = SUFFIXES
        .iter()
        .find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)))
        .unwrap_or((text, 1.0));
    if !digits.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-')) {
        return None;
    }
    let value: f64 = digits.parse().ok()?;
    (value.is_finite()).then_some(value * scale)
}

/// A Go duration such as `30s`, `1m30s` or `2h`, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, ms) = [("ms", 1.0), ("s", 1e3), ("m", 6e4), ("h", 3.6e6)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total += value * ms;
    }
    (0.0..=8.64e9).contains(&total).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_and_durations_are_read_as_kubernetes_writes_them() {
        assert_eq!(quantity("8"), Some(8.0));
        assert_eq!(quantity("500m"), Some(0.5));
        assert_eq!(quantity("1.5k"), Some(1500.0));
        assert_eq!(quantity("1Gi"), Some(1_073_741_824.0));
        for wrong in ["", "m", "x5", "inf", "NaN", "1e999"] {
            assert_eq!(quantity(wrong), None, "{wrong}");
        }
        assert_eq!(duration_ms("1m30s"), Some(90_000));
        assert_eq!(duration_ms("250ms"), Some(250));
        for wrong in ["", "5", "s", "5d", "-1s"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
    }
}
