//! Owns the pipeline's signing key: an OpenSSH Ed25519 key file, made on first use.
//!
//! This key proves which pipeline wrote a manifest. It can approve nothing: people sign decisions
//! with keys of their own. Private key bytes are never logged and never leave this file's types.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssh_key::private::KeypairData;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, Signature};
use zeroize::Zeroizing;

use super::ApproveError;

/// A mounted Secret is exchanged by moving one link: for a moment its files may lead nowhere.
const LINK_TRIES: u32 = 20;
const LINK_WAIT: Duration = Duration::from_millis(10);

/// The private half, held only while one manifest is signed.
pub struct PipelineKey {
    key: PrivateKey,
    path: PathBuf,
}

impl std::fmt::Debug for PipelineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineKey")
            .field("path", &self.path)
            .field("fingerprint", &self.verifying_key().fingerprint())
            .finish_non_exhaustive()
    }
}

/// The public half, which is all that verification needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey(PublicKey);

impl PipelineKey {
    /// Opens the key file, or makes one (mode 0600, with its `.pub` beside it) where there is none.
    ///
    /// The flag says whether the key is new, so that the caller can say so.
    pub fn open_or_create(path: &Path) -> Result<(Self, bool), ApproveError> {
        for _ in 0..LINK_TRIES {
            match fs::read_to_string(path).map(Zeroizing::new) {
                Ok(text) => return Self::parse(path, &text).map(|key| (key, false)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if fs::symlink_metadata(path).is_err() {
                        return Self::create(path).map(|key| (key, true));
                    }
                }
                Err(error) => return Err(ApproveError::file("read the signing key", path, error)),
            }
            std::thread::sleep(LINK_WAIT);
        }
        Err(ApproveError::Key {
            path: path.to_owned(),
            why: "it is a link to a file that does not exist".to_owned(),
        })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ApproveError> {
        let found = fs::metadata(path)
            .map_err(|error| ApproveError::file("read the signing key", path, error))?;
        if let Some(why) = exposure(found.mode(), found.uid(), own_uid()) {
            return Err(ApproveError::Key {
                path: path.to_owned(),
                why,
            });
        }
        let refuse = |why: String| ApproveError::Key {
            path: path.to_owned(),
            why,
        };
        let key = PrivateKey::from_openssh(text).map_err(|error| refuse(format!("{error}")))?;
        if key.is_encrypted() {
            return Err(refuse("it is encrypted".to_owned()));
        }
        if !matches!(key.key_data(), KeypairData::Ed25519(_)) {
            return Err(refuse(format!("its algorithm is {}", key.algorithm())));
        }
        Ok(Self {
            key,
            path: path.to_owned(),
        })
    }

    fn create(path: &Path) -> Result<Self, ApproveError> {
        let refuse = |why: String| ApproveError::Key {
            path: path.to_owned(),
            why,
        };
        let mut key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519)
            .map_err(|error| refuse(error.to_string()))?;
        key.set_comment("idleproof pipeline");
        let text = key
            .to_openssh(LineEnding::LF)
            .map_err(|error| refuse(error.to_string()))?;
        let public = key
            .public_key()
            .to_openssh()
            .map_err(|error| refuse(error.to_string()))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|error| ApproveError::file("create the folder of", path, error))?;
        }
        let write = |target: &Path, mode: u32, text: &str| {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(target)
                .and_then(|mut file| {
                    file.write_all(text.as_bytes())?;
                    file.sync_all()
                })
                .map_err(|error| ApproveError::file("write the signing key", target, error))
        };
        // The private half is written whole under another name first: a crash in between must
        // not leave half a key under the real one.
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        write(&partial, 0o600, &text)?;
        let linked = fs::hard_link(&partial, path);
        let _ = fs::remove_file(&partial);
        match linked {
            Ok(()) => {}
            // Another run made the key in the meantime: that one holds.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Self::open_or_create(path).map(|(key, _)| key);
            }
            Err(error) => return Err(ApproveError::file("write the signing key", path, error)),
        }
        let public_path = public_path(path);
        let _ = fs::remove_file(&public_path);
        write(&public_path, 0o644, &format!("{public}\n"))?;
        Ok(Self {
            key,
            path: path.to_owned(),
        })
    }

    /// Signs the bytes: a raw Ed25519 signature, as DSSE libraries expect.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ApproveError> {
        let signature: Signature = signature::Signer::try_sign(self.key.key_data(), message)
            .map_err(|error| ApproveError::Sign(error.to_string()))?;
        Ok(signature.as_bytes().to_vec())
    }

    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.key.public_key().clone())
    }
}

/// Who else could read or replace a key file; `None` where only its owner can, or where it is a mounted
/// secret.
///
/// Kubernetes mounts a Secret as root's and, with `fsGroup`, readable by the pod's group: the process
/// can read it and no more. That is allowed where root owns the file, the group may only read, others may
/// do nothing, and this process is known not to be root. One's own key file stays for oneself.
fn exposure(mode: u32, owner: u32, own: Option<u32>) -> Option<String> {
    let mode = mode & 0o7777;
    let for_others = mode & 0o077;
    if for_others == 0 {
        return None;
    }
    let is_mounted = owner == ROOT && own.is_some_and(|own| own != ROOT);
    if is_mounted && for_others == GROUP_READS {
        return None;
    }
    let advice = if is_mounted {
        "mount the Secret with defaultMode 0400"
    } else {
        "run `chmod 600` on it"
    };
    Some(format!(
        "its mode is {mode:04o}, so others can read it ({advice})"
    ))
}

const ROOT: u32 = 0;
const GROUP_READS: u32 = 0o040;

/// The user that this process acts as; `None` where the system does not say it in a file.
fn own_uid() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|found| found.uid())
}

/// Where the public half stands: the key's path with `.pub`.
fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

impl VerifyingKey {
    /// Reads an OpenSSH public key file (`ssh-ed25519 AAAA… comment`).
    pub fn open(path: &Path) -> Result<Self, ApproveError> {
        let text = fs::read_to_string(path)
            .map_err(|error| ApproveError::file("read the public key", path, error))?;
        let key = PublicKey::from_openssh(text.trim()).map_err(|error| ApproveError::Key {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(ApproveError::Key {
                path: path.to_owned(),
                why: format!("its algorithm is {}", key.algorithm()),
            });
        }
        Ok(Self(key))
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The 32 bytes of the key.
    pub(super) fn raw(&self) -> Result<[u8; 32], ApproveError> {
        let key = self.0.key_data().ed25519();
        key.map(|key| key.0)
            .ok_or_else(|| ApproveError::Sign("the key is no Ed25519 key".to_owned()))
    }

    /// Whether the raw Ed25519 signature over the message is this key's.
    #[must_use]
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::new(Algorithm::Ed25519, signature.to_vec()).is_ok_and(|signature| {
            signature::Verifier::verify(self.0.key_data(), message, &signature).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_secret_may_be_read_by_its_group_and_nothing_else_may() {
        let (us, other) = (Some(65_532), 1_000);
        for (mode, owner, own, fits) in [
            (0o100_600, 65_532, us, true),
            (0o100_400, ROOT, us, true),
            // A Secret with fsGroup.
            (0o100_440, ROOT, us, true),
            (0o100_640, ROOT, us, true),
            (0o100_660, ROOT, us, false),
            (0o100_450, ROOT, us, false),
            (0o100_444, ROOT, us, false),
            (0o100_644, ROOT, us, false),
            (0o100_404, ROOT, us, false),
            // One's own file, another user's, root's own, and where nobody can say who we are.
            (0o100_640, 65_532, us, false),
            (0o100_440, other, us, false),
            (0o100_440, ROOT, Some(ROOT), false),
            (0o100_440, ROOT, None, false),
        ] {
            let told = exposure(mode, owner, own);
            assert_eq!(told.is_none(), fits, "{mode:o} {owner} {own:?}: {told:?}");
        }
    }

    #[test]
    fn the_process_is_whom_the_system_says() {
        let folder = tempfile::tempdir().unwrap();
        let made = fs::metadata(folder.path()).unwrap().uid();
        if Path::new("/proc/self").exists() {
            assert_eq!(own_uid(), Some(made));
        }
    }
}
