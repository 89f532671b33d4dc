//! Owns who may connect: the file of users, and proving a password by SCRAM-SHA-256 (RFC 5802, RFC 7677)
//! without its ever being sent or kept.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use crate::cli::error::CliError;

/// As PostgreSQL has it.
const ITERATIONS: u32 = 4_096;
const ITERATIONS_MAX: u32 = 1_000_000;
const FILE_BYTES_MAX: u64 = 1 << 20;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// The one mechanism that is offered.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// What is kept of a password: enough to check it, not to be somebody with it.
#[derive(Clone)]
struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Verifier {
    fn of_password(password: &str) -> Option<Self> {
        let salt = random::<SALT_BYTES>()?.to_vec();
        let mut salted = [0; KEY_BYTES];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            NonZeroU32::new(ITERATIONS)?,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let client_key = mac(&salted, b"Client Key");
        Some(Self {
            iterations: ITERATIONS,
            salt,
            stored_key: digest::digest(&digest::SHA256, &client_key)
                .as_ref()
                .to_vec(),
            server_key: mac(&salted, b"Server Key"),
        })
    }

    /// `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER`, as PostgreSQL keeps passwords.
    fn of_text(text: &str) -> Option<Self> {
        let (counted, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = counted.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| {
            STANDARD
                .decode(text)
                .ok()
                .filter(|key| key.len() == KEY_BYTES)
        };
        Some(Self {
            iterations: iterations
                .parse()
                .ok()
                .filter(|count| (ITERATIONS..=ITERATIONS_MAX).contains(count))?,
            salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }
}

/// Names and what checks their passwords. Its Debug output has names alone.
pub(super) struct Users {
    known: BTreeMap<String, Verifier>,
    /// Makes a salt for a name that nobody has, the same each time.
    secret: [u8; KEY_BYTES],
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.keys()).finish()
    }
}

impl Users {
    /// Reads `name:password` or `name:SCRAM-SHA-256$…` a line; `#` begins a comment.
    pub(super) fn load(path: &Path) -> Result<Self, CliError> {
        let failed = |error| CliError::file("read the users of", path, error);
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > FILE_BYTES_MAX {
            return Err(CliError::Usage(format!(
                "`{}` is too large for a file of users",
                path.display()
            )));
        }
        // It may hold passwords, of which only what checks them is kept.
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
        Self::parse(&text).map_err(|(line, why)| {
            CliError::Usage(format!("`{}`, line {line}: {why}", path.display()))
        })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut known = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |why| (index + 1, why);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, password) = line
                .split_once(':')
                .filter(|(name, password)| !name.is_empty() && !password.is_empty())
                .ok_or(wrong("give `name:password`"))?;
            let verifier = if password.starts_with("SCRAM-SHA-256$") {
                Verifier::of_text(password).ok_or(wrong(
                    "this is no SCRAM-SHA-256 verifier of 4096 rounds or more",
                ))?
            } else if password.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
                Verifier::of_password(password).ok_or(wrong("no randomness could be had"))?
            } else {
                return Err(wrong(
                    "a password has printable ASCII alone; a SCRAM-SHA-256 verifier can be of any",
                ));
            };
            if known.insert(name.to_owned(), verifier).is_some() {
                return Err(wrong("this name is there twice"));
            }
        }
        if known.is_empty() {
            return Err((0, "it names nobody"));
        }
        let secret = random().ok_or((0, "no randomness could be had"))?;
        Ok(Self { known, secret })
    }

    /// The answer to a client's first message. A name that nobody has gets one too, and fails at the end.
    pub(super) fn begin(&self, name: &str, first: &[u8]) -> Option<Exchange> {
        let first = std::str::from_utf8(first).ok()?;
        // Channel binding is not offered: `n` and `y` are what a client may say to that.
        let gs2 = ["n,,", "y,,"]
            .into_iter()
            .find(|gs2| first.starts_with(gs2))?;
        let bare = &first[gs2.len()..];
        let theirs = attribute(bare, 'r').filter(|nonce| !nonce.is_empty())?;
        let ours = STANDARD.encode(random::<18>()?);
        let (verifier, is_known) = match self.known.get(name) {
            Some(verifier) => (verifier.clone(), true),
            None => (self.nobody(name), false),
        };
        let nonce = format!("{theirs}{ours}");
        let answer = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(&verifier.salt),
            verifier.iterations
        );
        Some(Exchange {
            gs2: gs2.to_owned(),
            bare: bare.to_owned(),
            nonce,
            answer,
            verifier,
            is_known,
        })
    }

    fn nobody(&self, name: &str) -> Verifier {
        Verifier {
            iterations: ITERATIONS,
            salt: mac(&self.secret, name.as_bytes())[..SALT_BYTES].to_vec(),
            stored_key: self.secret.to_vec(),
            server_key: self.secret.to_vec(),
        }
    }
}

/// A proof under way.
pub(super) struct Exchange {
    gs2: String,
    bare: String,
    nonce: String,
    /// What is sent as the server's first message.
    pub(super) answer: String,
    verifier: Verifier,
    is_known: bool,
}

impl Exchange {
    /// The server's last message where the client has proved that it knows the password.
    pub(super) fn finish(&self, last: &[u8]) -> Option<String> {
        let last = std::str::from_utf8(last).ok()?;
        let (without_proof, proof) = last.rsplit_once(",p=")?;
        let proof = STANDARD.decode(proof).ok()?;
        let bound = STANDARD.decode(attribute(without_proof, 'c')?).ok()?;
        if bound != self.gs2.as_bytes()
            || attribute(without_proof, 'r')? != self.nonce
            || proof.len() != KEY_BYTES
        {
            return None;
        }
        let said = format!("{},{},{without_proof}", self.bare, self.answer);
        let signature = mac(&self.verifier.stored_key, said.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let stored = digest::digest(&digest::SHA256, &client_key);
        let pairs = stored.as_ref().iter().zip(&self.verifier.stored_key);
        // Every byte is looked at, whichever differs.
        let difference = pairs.fold(0, |all, (a, b)| all | (a ^ b));
        (difference == 0 && self.is_known).then(|| {
            let signature = mac(&self.verifier.server_key, said.as_bytes());
            format!("v={}", STANDARD.encode(signature))
        })
    }
}

fn attribute(message: &str, name: char) -> Option<&str> {
    message
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_rfcs_example_is_accepted() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut salted = [0; KEY_BYTES];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            NonZeroU32::new(4096).unwrap(),
            &salt,
            b"pencil",
            &mut salted,
        );
        let stored = digest::digest(&digest::SHA256, &mac(&salted, b"Client Key"));
        let text = format!(
            "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${}:{}",
            STANDARD.encode(stored.as_ref()),
            STANDARD.encode(mac(&salted, b"Server Key"))
        );
        let users = Users::parse(&text).unwrap();
        let mut exchange = users
            .begin("user", b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
            .unwrap();
        exchange.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        exchange.answer = format!("r={},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", exchange.nonce);
        let last = |proof: &str| format!("c=biws,r={},p={proof}", exchange.nonce);
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(
            exchange.finish(last(proof).as_bytes()).unwrap(),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let wrong = "eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(exchange.finish(last(wrong).as_bytes()), None);
        assert_eq!(exchange.finish(b"c=biws"), None);
    }

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let users = Users::parse("# people\n\nann:secret\nbob:a b:c\n").unwrap();
        assert_eq!(format!("{users:?}"), "[\"ann\", \"bob\"]");
        for (text, line) in [
            ("ann", 1),
            ("ann:", 1),
            ("\nann:a\nann:b", 3),
            ("ann:ü", 1),
            ("ann:SCRAM-SHA-256$1:AAAA$BBBB:CCCC", 1),
            ("# nobody", 0),
        ] {
            assert_eq!(Users::parse(text).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn nobody_is_answered_like_somebody_and_the_same_each_time() {
        let users = Users::parse("ann:secret").unwrap();
        let salt = || {
            let begun = users.begin("eve", b"n,,n=,r=abc").unwrap();
            assert_eq!(begun.finish(b"c=biws,r=abc,p=AAAA"), None);
            attribute(&begun.answer, 's').unwrap().to_owned()
        };
        assert_eq!(salt(), salt());
        assert!(users.begin("ann", b"p=tls-unique,,n=,r=abc").is_none());
        assert!(users.begin("ann", b"n,,n=,r=").is_none());
    }
}
