//! Owns what a terminal's bytes mean: characters and keys. Knows no line and no screen; `editor` asks.

/// What a person pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Up,
    Down,
    Home,
    End,
    CutToEnd,
    CutToStart,
    CutWord,
    ClearScreen,
    Interrupt,
    /// Ctrl-D: the end where the line is empty, else the character under the cursor.
    EndOrDelete,
    /// Something that means nothing here.
    Other,
}

/// A sequence that is longer belongs to no key.
const SEQUENCE_MAX: usize = 16;

/// Takes bytes one by one and says when they were a key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    open: Vec<u8>,
}

impl Keys {
    pub(super) fn take(&mut self, byte: u8) -> Option<Key> {
        self.open.push(byte);
        let key = match self.open.as_slice() {
            [0x1b, ..] => escaped(&self.open)?,
            [first, ..] if *first < 0x20 || *first == 0x7f => control(*first),
            bytes => match std::str::from_utf8(bytes) {
                Ok(text) => text.chars().next().map_or(Key::Other, Key::Char),
                // The beginning of a character; four bytes are the longest there are.
                Err(error) if error.error_len().is_none() && bytes.len() < 4 => return None,
                Err(_) => Key::Other,
            },
        };
        self.open.clear();
        Some(key)
    }
}

fn control(byte: u8) -> Key {
    match byte {
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x03 => Key::Interrupt,
        0x04 => Key::EndOrDelete,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x08 | 0x7f => Key::Backspace,
        0x09 => Key::Tab,
        // Typed ahead, a return has become a line feed already.
        0x0a | 0x0d => Key::Enter,
        0x0b => Key::CutToEnd,
        0x0c => Key::ClearScreen,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x15 => Key::CutToStart,
        0x17 => Key::CutWord,
        _ => Key::Other,
    }
}

/// What follows an escape: `ESC [ parameters letter`, `ESC O letter`, or one character; `None` while it goes on.
fn escaped(bytes: &[u8]) -> Option<Key> {
    match bytes {
        [_] | [_, b'[' | b'O'] => None,
        [_, b'[', .., last] if !(0x40..0x7f).contains(last) => {
            (bytes.len() >= SEQUENCE_MAX).then_some(Key::Other)
        }
        [_, b'[' | b'O', middle @ .., last] => Some(match (*last, middle) {
            (b'A', _) => Key::Up,
            (b'B', _) => Key::Down,
            // With Ctrl or Alt: by words.
            (b'C', [_, ..]) => Key::WordRight,
            (b'D', [_, ..]) => Key::WordLeft,
            (b'C', _) => Key::Right,
            (b'D', _) => Key::Left,
            (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
            (b'F', _) | (b'~', b"4" | b"8") => Key::End,
            (b'~', b"3") => Key::Delete,
            _ => Key::Other,
        }),
        [_, b'b'] => Some(Key::WordLeft),
        [_, b'f'] => Some(Key::WordRight),
        [_, 0x7f] => Some(Key::CutWord),
        _ => Some(Key::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().filter_map(|byte| keys.take(*byte)).collect()
    }

    #[test]
    fn bytes_become_keys() {
        assert_eq!(keys(b"a\r"), [Key::Char('a'), Key::Enter]);
        assert_eq!(keys("ü€𝄞".as_bytes()), ['ü', '€', '𝄞'].map(Key::Char));
        assert_eq!(
            keys(b"\x1b[A\x1b[1;5D\x1bOF\x1b[3~\x1bb\x7f"),
            [
                Key::Up,
                Key::WordLeft,
                Key::End,
                Key::Delete,
                Key::WordLeft,
                Key::Backspace
            ]
        );
        assert_eq!(keys(b"\x03\x04"), [Key::Interrupt, Key::EndOrDelete]);
    }

    #[test]
    fn bytes_that_are_no_keys_hold_nothing_up() {
        assert_eq!(keys(b"\xff\xfea"), [Key::Other, Key::Other, Key::Char('a')]);
        let long = [b"\x1b[".as_slice(), &[b'9'; 40], b"x"].concat();
        assert_eq!(keys(&long).last(), Some(&Key::Char('x')));
        assert_eq!(keys(b"\x1b[200~a"), [Key::Other, Key::Char('a')]);
    }
}
