//! Owns who may sign: the `allowed_signers` file as OpenSSH defines it, and the list of revoked keys.
//!
//! A person is a principal, never a key: two keys of one principal are one person, and a key under
//! two principals would let one person be two, so such a file is refused. Patterns stand only with
//! certificate authorities: whom those may speak for; the certificate then names the one person.
//! Called by decisions, policy and quorum.

use std::collections::BTreeMap;

use chrono::{NaiveDateTime, Utc};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey};

use super::{ApproveError, certificate};
use crate::model::time::format_ms;

const RSA_BITS_MIN: usize = 3072;

/// One line of the file.
#[derive(Debug, Clone)]
struct Signer {
    /// Of an authority the patterns of those whom it may speak for.
    principal: String,
    is_authority: bool,
    namespaces: Option<Vec<String>>,
    valid_after_ms: Option<i64>,
    valid_before_ms: Option<i64>,
    key: KeyData,
}

/// The people whose signatures can count.
#[derive(Debug, Clone, Default)]
pub struct Signers {
    signers: Vec<Signer>,
    /// Fingerprints that count no more, whatever else is said of them.
    revoked: Vec<String>,
}

/// `SHA256:…` of a key, as `ssh-keygen -l` prints it.
#[must_use]
pub(super) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Why a key's algorithm or size may not sign decisions; `None` where it may.
#[must_use]
pub(super) fn unfit(key: &KeyData) -> Option<String> {
    match key.algorithm() {
        Algorithm::Ed25519
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256
        | Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        } => None,
        Algorithm::Rsa { .. } => {
            let bits = key
                .rsa()
                .and_then(|rsa| rsa.n.as_positive_bytes())
                .map_or(0, |n| {
                    n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize)
                });
            (bits < RSA_BITS_MIN).then(|| {
                format!("it is an RSA key of {bits} bits, at least {RSA_BITS_MIN} are needed")
            })
        }
        other => Some(format!(
            "its algorithm is {other}: Ed25519, ECDSA P-256, their sk- forms and RSA can sign decisions"
        )),
    }
}

impl Signers {
    /// Reads the two files; `revoked` holds one public key or `SHA256:` fingerprint a line.
    pub fn parse(allowed: &str, revoked: &str) -> Result<Self, ApproveError> {
        let mut signers = Vec::new();
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for (number, line) in allowed.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let invalid = |why: String| ApproveError::Invalid {
                what: format!("line {} of allowed_signers", number + 1),
                why,
            };
            let signer = parse_line(line).map_err(invalid)?;
            let print = fingerprint(&signer.key);
            if signers.iter().any(|other: &Signer| {
                other.key == signer.key && other.is_authority != signer.is_authority
            }) {
                return Err(invalid(
                    "this key issues certificates and would sign as a person too".to_owned(),
                ));
            }
            if signer.is_authority {
                signers.push(signer);
                continue;
            }
            if let Some(other) = owners.insert(print, signer.principal.clone())
                && other != signer.principal
            {
                return Err(invalid(format!(
                    "this key belongs to `{other}` already: one person would count as two"
                )));
            }
            signers.push(signer);
        }
        let mut prints = Vec::new();
        for (number, line) in revoked.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            prints.push(if line.starts_with("SHA256:") {
                line.split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            } else {
                let key = PublicKey::from_openssh(line).map_err(|error| ApproveError::Invalid {
                    what: format!("line {} of the revoked keys", number + 1),
                    why: format!("it is no public key and no SHA256 fingerprint: {error}"),
                })?;
                fingerprint(key.key_data())
            });
        }
        Ok(Self {
            signers,
            revoked: prints,
        })
    }

    /// Whether somebody of this name could sign: by a key of theirs, or by a certificate.
    #[must_use]
    pub fn know(&self, name: &str) -> bool {
        self.signers.iter().any(|signer| {
            if signer.is_authority {
                certificate::matches(&signer.principal, name)
            } else {
                signer.principal == name
            }
        })
    }

    /// Whose key this is at an instant, for a namespace; the error says why it counts for nobody.
    pub(super) fn principal_of(
        &self,
        key: &KeyData,
        namespace: &str,
        at_ms: i64,
    ) -> Result<String, String> {
        let print = fingerprint(key);
        if self.revoked.contains(&print) {
            return Err(format!("the key {print} is revoked"));
        }
        let mut why = format!("the key {print} is in no line of allowed_signers");
        let own = |signer: &&Signer| !signer.is_authority && signer.key == *key;
        for signer in self.signers.iter().filter(own) {
            match signer.objection(&print, namespace, at_ms) {
                None => return Ok(signer.principal.clone()),
                Some(objection) => why = objection,
            }
        }
        Err(why)
    }

    /// Whom a certificate names, where its authority may speak for them.
    pub(super) fn principal_of_certificate(
        &self,
        shown: &Certificate,
        namespace: &str,
        at_ms: i64,
    ) -> Result<String, String> {
        let key = fingerprint(shown.public_key());
        let authority = fingerprint(shown.signature_key());
        for print in [&key, &authority] {
            if self.revoked.contains(print) {
                return Err(format!("the key {print} is revoked"));
            }
        }
        if let Some(why) = certificate::fault(shown).or_else(|| unfit(shown.signature_key())) {
            return Err(why);
        }
        let mut why = format!("its authority {authority} is in no line of allowed_signers");
        let its = |signer: &&Signer| signer.is_authority && signer.key == *shown.signature_key();
        for line in self.signers.iter().filter(its) {
            if let Some(objection) = line.objection(&authority, namespace, at_ms) {
                why = objection;
                continue;
            }
            if !certificate::holds(shown, at_ms) {
                return Err(format!(
                    "its signature does not hold, or it is not valid at {}",
                    format_ms(at_ms)
                ));
            }
            match certificate::person(shown, &line.principal) {
                // A key that is somebody's own is nobody else's by way of a certificate.
                Ok(name) => {
                    let other = self.signers.iter().find(|signer| {
                        !signer.is_authority
                            && signer.key == *shown.public_key()
                            && signer.principal != name
                    });
                    return match other {
                        None => Ok(name),
                        Some(other) => Err(format!(
                            "its key belongs to `{}` already: one person would count as two",
                            other.principal
                        )),
                    };
                }
                Err(objection) => why = objection,
            }
        }
        Err(why)
    }
}

impl Signer {
    /// Why the line does not stand for its key.
    fn objection(&self, print: &str, namespace: &str, at_ms: i64) -> Option<String> {
        if let Some(namespaces) = &self.namespaces
            && !namespaces.iter().any(|name| name == namespace)
        {
            Some(format!("the key {print} may not sign `{namespace}`"))
        } else if self.valid_after_ms.is_some_and(|from| at_ms < from) {
            Some(format!(
                "the key {print} is not valid yet at {}",
                format_ms(at_ms)
            ))
        } else if self.valid_before_ms.is_some_and(|until| at_ms >= until) {
            Some(format!(
                "the key {print} is no longer valid at {}",
                format_ms(at_ms)
            ))
        } else {
            None
        }
    }
}

/// `principal [options] keytype base64 [comment]`; quotes may hold blanks.
fn parse_line(line: &str) -> Result<Signer, String> {
    let mut words = words(line)?.into_iter();
    let principal = words.next().unwrap_or_default();
    let mut rest: Vec<String> = words.collect();
    let mut signer = Signer {
        principal,
        is_authority: false,
        namespaces: None,
        valid_after_ms: None,
        valid_before_ms: None,
        key: PLACEHOLDER,
    };
    let is_key_type = |word: &str| {
        word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-")
    };
    if rest.first().is_some_and(|word| !is_key_type(word)) {
        for option in split_options(&rest.remove(0)) {
            let (name, value) = option.split_once('=').unwrap_or((option.as_str(), ""));
            let value = value.trim_matches('"');
            match name.to_ascii_lowercase().as_str() {
                "namespaces" => {
                    signer.namespaces = Some(value.split(',').map(str::to_owned).collect());
                }
                "valid-after" => signer.valid_after_ms = Some(instant(value)?),
                "valid-before" => signer.valid_before_ms = Some(instant(value)?),
                "cert-authority" => signer.is_authority = true,
                other => return Err(format!("the option `{other}` is not known")),
            }
        }
    }
    let one = !signer.principal.contains(['*', '?', ',', '!']);
    if signer.principal.is_empty() || !(one || signer.is_authority) {
        return Err(format!(
            "`{}` must be one person's name: lists and patterns stand only with cert-authority",
            signer.principal
        ));
    }
    let key = PublicKey::from_openssh(&rest.join(" "))
        .map_err(|error| format!("it holds no public key: {error}"))?;
    if let Some(why) = unfit(key.key_data()) {
        return Err(why);
    }
    signer.key = key.key_data().clone();
    Ok(signer)
}

/// Stands for the key until the line's is read.
const PLACEHOLDER: KeyData = KeyData::Ed25519(ssh_key::public::Ed25519PublicKey([0; 32]));

fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
            }
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    if !word.is_empty() {
        words.push(word);
    }
    // A name in quotes is the name.
    if let Some(first) = words.first_mut() {
        *first = first.trim_matches('"').to_owned();
    }
    Ok(words)
}

fn split_options(text: &str) -> Vec<String> {
    let (mut options, mut option, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                option.push(c);
            }
            ',' if !quoted => options.push(std::mem::take(&mut option)),
            c => option.push(c),
        }
    }
    options.push(option);
    options
}

/// `YYYYMMDD[HHMM[SS]][Z]` as `ssh-keygen` reads it. Without `Z` it would be local time, which no
/// verifier elsewhere could know: it is read as UTC, and a file should say `Z`.
fn instant(text: &str) -> Result<i64, String> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        _ => digits.to_owned(),
    };
    NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%S")
        .map(|time| {
            time.and_local_timezone(Utc)
                .single()
                .map_or(0, |t| t.timestamp_millis())
        })
        .map_err(|_| format!("`{text}` is no time as in 20261231Z or 202612312359Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const BOB: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUHZGuvHpQ8CNW1wXyhbTuf1/CwElQ5P8ZSWiRfhvQM";

    fn key(text: &str) -> KeyData {
        PublicKey::from_openssh(text).unwrap().key_data().clone()
    }

    #[test]
    fn validity_namespaces_and_revocation_are_kept() {
        let text = format!(
            "# people\nada@x namespaces=\"idleproof.decision.v1\",valid-after=\"20260101Z\",valid-before=\"20270101Z\" {ADA} laptop\nbob {BOB}\n"
        );
        let signers = Signers::parse(&text, "").unwrap();
        let at = |text: &str| crate::model::time::parse_ms(text).unwrap();
        let ask = |ns: &str, time: &str| signers.principal_of(&key(ADA), ns, at(time));
        assert_eq!(ask("idleproof.decision.v1", "2026-06-01").unwrap(), "ada@x");
        assert!(
            ask("git", "2026-06-01")
                .unwrap_err()
                .contains("may not sign")
        );
        assert!(
            ask("idleproof.decision.v1", "2025-12-31")
                .unwrap_err()
                .contains("not valid yet")
        );
        assert!(
            ask("idleproof.decision.v1", "2027-01-01")
                .unwrap_err()
                .contains("no longer valid")
        );
        let revoked = Signers::parse(&text, &format!("{ADA}\n")).unwrap();
        assert!(
            revoked
                .principal_of(&key(ADA), "idleproof.decision.v1", at("2026-06-01"))
                .unwrap_err()
                .contains("revoked")
        );
        assert!(revoked.principal_of(&key(BOB), "x", 0).is_ok());
    }

    #[test]
    fn files_that_blur_who_somebody_is_are_refused() {
        for (text, why) in [
            (format!("ada {ADA}\neve {ADA}\n"), "count as two"),
            (format!("* {ADA}\n"), "one person"),
            (format!("ada,bob {ADA}\n"), "one person"),
            (
                format!("ada {ADA}\n*@x cert-authority {ADA}\n"),
                "issues certificates",
            ),
            (format!("ada shiny {ADA}\n"), "not known"),
            ("ada ssh-ed25519 AAAA\n".to_owned(), "no public key"),
        ] {
            let error = Signers::parse(&text, "").unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Signers::parse(&format!("ada {ADA}\nada {BOB}\n"), "").is_ok());
        let authority = format!("*@x,!eve@x cert-authority {BOB}\nada {ADA}\n");
        let signers = Signers::parse(&authority, "").unwrap();
        let known = ["ada", "bob@x", "eve@x", "bob"].map(|name| signers.know(name));
        assert_eq!(known, [true, true, false, false]);
        // An authority's own signature is nobody's.
        assert!(signers.principal_of(&key(BOB), "x", 0).is_err());
    }
}
