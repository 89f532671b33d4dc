//! Owns the file that keeps what was asked in the SQL shell: one statement a line, readable by its owner
//! alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Statements that are kept.
const KEPT: usize = 2_000;

/// A file that is larger is not read: nobody typed it.
const BYTES_MAX: u64 = 16 << 20;

/// `$XDG_STATE_HOME/idleproof/sql_history`, by the XDG base directory specification.
pub(super) fn place() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty());
    let state = state.map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".local/state"))
    })?;
    Some(state.join("idleproof/sql_history"))
}

/// What was asked before, oldest first. The first time there is none.
pub(super) fn load(path: &Path) -> io::Result<Vec<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut past: Vec<String> = text.lines().map(decode).collect();
    if past.len() > 2 * KEPT {
        past.drain(..past.len() - KEPT);
        let fresh = path.with_extension("new");
        let mut out = private(&fresh, true)?;
        for entry in &past {
            writeln!(out, "{}", encode(entry))?;
        }
        fs::rename(&fresh, path)?;
    }
    Ok(past)
}

/// Adds one statement; several shells may do so at once.
pub(super) fn append(path: &Path, entry: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    private(path, false)?.write_all(format!("{}\n", encode(entry)).as_bytes())
}

fn private(path: &Path, anew: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .append(!anew)
        .truncate(anew);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

fn encode(entry: &str) -> String {
    entry.replace('\\', "\\\\").replace('\n', "\\n")
}

fn decode(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            // What could drive a terminal was not typed.
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/sql_history");
        assert!(load(&path).unwrap().is_empty());
        let entries = ["select 1;", "select '\\n',\n 2;", ".tables"];
        for entry in entries {
            append(&path, entry).unwrap();
        }
        assert_eq!(load(&path).unwrap(), entries);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn a_long_past_is_cut_at_its_old_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sql_history");
        let lines: Vec<String> = (0..=2 * KEPT).map(|n| format!("select {n};")).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let past = load(&path).unwrap();
        assert_eq!(past.len(), KEPT);
        assert_eq!(past.last().unwrap(), &format!("select {};", 2 * KEPT));
        assert_eq!(load(&path).unwrap(), past);
        assert_eq!(decode("a\u{1b}[31mb\\"), "a[31mb");
    }
}
