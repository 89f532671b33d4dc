//! Owns the check of a time zone's name, with the names that were perhaps meant. Called by `Config::load`.

use chrono_tz::{TZ_VARIANTS, Tz};

/// Names that are offered for one that there is not.
const OFFERED: usize = 3;

/// `Err` says what is wrong and what to write.
pub(super) fn check(name: &str) -> Result<(), String> {
    if name.parse::<Tz>().is_ok() {
        return Ok(());
    }
    let plain = |text: &str| text.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    let asked = plain(name);
    let place = asked.rsplit('/').next().unwrap_or_default();
    let mut near: Vec<&str> = TZ_VARIANTS
        .iter()
        .map(|zone| zone.name())
        .filter(|known| {
            let known = plain(known);
            known == asked || (!place.is_empty() && known.rsplit('/').next() == Some(place))
        })
        .collect();
    near.truncate(OFFERED);
    let hint = if near.is_empty() {
        "write a name of the IANA database, as in `Europe/Berlin`, or `UTC`".to_owned()
    } else {
        let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
        format!("perhaps {}", near.join(" or "))
    };
    Err(format!(
        "[report] timezone = {name:?} is no time zone: {hint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_is_refused_with_what_was_perhaps_meant() {
        for known in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"] {
            check(known).unwrap();
        }
        for (wrong, hint) in [
            ("europe/berlin", "`Europe/Berlin`"),
            ("Berlin", "`Europe/Berlin`"),
            ("Germany/Berlin", "`Europe/Berlin`"),
            ("New York", "`America/New_York`"),
            ("CEST", "as in `Europe/Berlin`"),
            ("+01:00", "as in `Europe/Berlin`"),
            ("", "as in `Europe/Berlin`"),
        ] {
            let said = check(wrong).unwrap_err();
            assert!(said.contains(hint), "{wrong}: {said}");
        }
    }
}
