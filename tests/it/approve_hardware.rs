//! Signatures of hardware keys, made in software from the published format (OpenSSH's PROTOCOL.u2f): what
//! `ssh-keygen` accepts, the verifier and the page of an evidence archive in a browser accept too, and what
//! is bent anywhere, or was not touched for, none of them.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use idleproof::approve::{DECISION_NAMESPACE, Signers, verify_person};
use rsa::sha2::{Digest as _, Sha256, Sha512};
use ssh_key::{Algorithm, EcdsaCurve, PrivateKey, Signature};

use crate::approve_cli::shown;
use crate::approve_peers::keygen;
use crate::approve_world::NOW;

const MESSAGE: &[u8] = b"a decision\n";
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 4;

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A string of the SSH wire format.
fn wire(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A key as a security key would hold it: an application beside the public half.
struct Token {
    kind: &'static str,
    key: PrivateKey,
    application: &'static [u8],
}

/// What a token says of one signature.
#[derive(Clone, Copy)]
struct Touch {
    flags: u8,
    counter: u32,
}

impl Token {
    fn new(kind: &'static str, algorithm: Algorithm) -> Self {
        let key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, algorithm).unwrap();
        Self {
            kind,
            key,
            application: b"ssh:",
        }
    }

    fn public(&self) -> Vec<u8> {
        let plain = self.key.public_key().key_data();
        let mut out = wire(self.kind.as_bytes());
        if let Some(key) = plain.ed25519() {
            out.extend(wire(&key.0));
        } else {
            out.extend(wire(b"nistp256"));
            out.extend(wire(plain.ecdsa().unwrap().as_sec1_bytes()));
        }
        out.extend(wire(self.application));
        out
    }

    /// The line of `allowed_signers`.
    fn line(&self, who: &str) -> String {
        format!("{who} {} {}\n", self.kind, base64(&self.public()))
    }

    /// SSHSIG over a message, as `ssh-keygen -Y sign` would get it from the token.
    fn sign(&self, message: &[u8], touch: Touch) -> String {
        let mut asked = b"SSHSIG".to_vec();
        for part in [
            DECISION_NAMESPACE.as_bytes(),
            b"",
            b"sha512",
            &Sha512::digest(message)[..],
        ] {
            asked.extend(wire(part));
        }
        let mut said = Sha256::digest(self.application).to_vec();
        said.push(touch.flags);
        said.extend(touch.counter.to_be_bytes());
        said.extend(Sha256::digest(&asked));
        let made: Signature = signature::Signer::try_sign(self.key.key_data(), &said).unwrap();
        let mut answer = wire(self.kind.as_bytes());
        answer.extend(wire(made.as_bytes()));
        answer.push(touch.flags);
        answer.extend(touch.counter.to_be_bytes());
        armoured(&self.public(), &answer)
    }
}

/// The file of a key and a signature by it.
fn armoured(public: &[u8], answer: &[u8]) -> String {
    let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [
        public,
        DECISION_NAMESPACE.as_bytes(),
        b"",
        b"sha512",
        answer,
    ] {
        blob.extend(wire(part));
    }
    in_lines(&blob)
}

fn in_lines(blob: &[u8]) -> String {
    let text = base64(blob);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    )
}

/// The bytes of a signature file.
fn blob(file: &str) -> Vec<u8> {
    let text: String = file.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

/// The same file with one bit of its bytes turned, counted from the end.
fn bent(file: &str, from_end: usize) -> String {
    let mut bytes = blob(file);
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    in_lines(&bytes)
}

struct Case {
    name: String,
    message: &'static [u8],
    file: String,
    holds: bool,
}

fn cases(token: &Token) -> Vec<Case> {
    let touched = Touch {
        flags: USER_PRESENT,
        counter: 7,
    };
    let good = token.sign(MESSAGE, touched);
    let verified = Touch {
        flags: USER_PRESENT | USER_VERIFIED,
        counter: u32::MAX,
    };
    let mut untouched = touched;
    untouched.flags = USER_VERIFIED;
    // What the same key signed for another application, shown under this one's.
    let other = Token {
        kind: token.kind,
        key: token.key.clone(),
        application: b"ssh:other",
    };
    let moved = {
        let bytes = blob(&other.sign(MESSAGE, touched));
        let mut whole = b"SSHSIG\0\0\0\x01".to_vec();
        let skip = whole.len() + wire(&other.public()).len();
        whole.extend(wire(&token.public()));
        whole.extend(&bytes[skip..]);
        in_lines(&whole)
    };
    let kind = token.kind;
    let case = |name: &str, message: &'static [u8], file: String, holds: bool| Case {
        name: format!("{kind}, {name}"),
        message,
        file,
        holds,
    };
    vec![
        case("touched", MESSAGE, good.clone(), true),
        case(
            "touched, with its PIN",
            MESSAGE,
            token.sign(MESSAGE, verified),
            true,
        ),
        case(
            "not touched",
            MESSAGE,
            token.sign(MESSAGE, untouched),
            false,
        ),
        case("another message", b"another\n", good.clone(), false),
        case("counter turned", MESSAGE, bent(&good, 1), false),
        // The bit that says touched, taken out of a signature that was.
        case("flags turned", MESSAGE, bent(&good, 5), false),
        case("signature turned", MESSAGE, bent(&good, 6), false),
        case("of another application", MESSAGE, moved, false),
    ]
}

fn keygen_accepts(keygen: &Path, allowed: &Path, case: &Case, folder: &Path) -> bool {
    let file = folder.join("case.sig");
    std::fs::write(&file, &case.file).unwrap();
    let mut child = Command::new(keygen)
        .args(["-Y", "verify", "-n", DECISION_NAMESPACE, "-I", "ada", "-f"])
        .arg(allowed)
        .arg("-s")
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    use std::io::Write as _;
    child.stdin.take().unwrap().write_all(case.message).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn attack_hardware_signatures_bent_moved_or_not_touched() {
    let Some(keygen) = keygen() else { return };
    let folder = tempfile::tempdir().unwrap();
    let tokens = [
        Token::new("sk-ssh-ed25519@openssh.com", Algorithm::Ed25519),
        Token::new(
            "sk-ecdsa-sha2-nistp256@openssh.com",
            Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256,
            },
        ),
    ];
    let allowed: String = tokens.iter().map(|token| token.line("ada")).collect();
    let allowed_file = folder.path().join("allowed_signers");
    std::fs::write(&allowed_file, &allowed).unwrap();
    let signers = Signers::parse(&allowed, "").unwrap();
    let all: Vec<Case> = tokens.iter().flat_map(cases).collect();
    for case in &all {
        let ours = verify_person(case.message, case.file.as_bytes(), &signers, NOW);
        let theirs = keygen_accepts(&keygen, &allowed_file, case, folder.path());
        println!("{}: here {ours:?}, ssh-keygen {theirs}", case.name);
        assert_eq!(ours.is_ok(), case.holds, "{}", case.name);
        // `ssh-keygen -Y verify` does not ask whether anybody touched the key.
        let untouched = case.name.ends_with("not touched");
        assert_eq!(theirs, case.holds || untouched, "{}", case.name);
        if untouched {
            assert!(ours.unwrap_err().contains("not touched"));
        }
    }
    in_browser(folder.path(), &all);
}

/// The page's own function over every case, in Chromium without network.
fn in_browser(folder: &Path, cases: &[Case]) {
    if !crate::approve_cli::has_chromium() {
        return;
    }
    let given: Vec<serde_json::Value> = cases
        .iter()
        .map(|case| {
            let file = base64(case.file.as_bytes());
            serde_json::json!([case.name, base64(case.message), file])
        })
        .collect();
    let script = format!(
        "<script>(async () => {{ for (const [name, message, pem] of {}) try {{ await signature(base64(message), base64(pem)); say(name + \": holds\", true); }} catch (error) {{ say(name + \": refused, \" + error.message, true); }} say(\"verified\", true); }})();</script></body>",
        serde_json::Value::from(given)
    );
    let page = include_str!("../../reports/evidence.html").replace("</body>", &script);
    let path = folder.join("page.html");
    std::fs::write(&path, page).unwrap();
    let mut seen = String::new();
    // Virtual time can end before a busy machine's crypto does.
    for _ in 0..5 {
        seen = shown(folder, &path).unwrap_or_default();
        if seen.contains(">verified") {
            break;
        }
    }
    println!("in Chromium:\n{seen}");
    for case in cases {
        let word = if case.holds { "holds" } else { "refused" };
        let line = format!("{}: {word}", case.name);
        assert!(seen.contains(&line), "{line}\n{seen}");
    }
}
