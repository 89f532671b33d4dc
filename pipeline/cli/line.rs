//! Owns a line while it is typed: its text, the cursor, and where both stand on a screen of some width.
//! Pure; `editor` reads keys for it and draws it.

use unicode_width::UnicodeWidthChar as _;

/// A statement that is longer is not typed.
const CHARS_MAX: usize = 1 << 20;

/// Text with a cursor before one of its characters or at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    chars: Vec<char>,
    at: usize,
}

impl Line {
    pub(super) fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let at = chars.len();
        Self { chars, at }
    }

    pub(super) fn text(&self) -> String {
        self.chars.iter().collect()
    }

    pub(super) fn before(&self) -> String {
        self.chars[..self.at].iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.chars.len()
    }

    pub(super) fn insert(&mut self, c: char) {
        if self.chars.len() < CHARS_MAX {
            self.chars.insert(self.at, c);
            self.at += 1;
        }
    }

    /// Puts `word` where the text from `start` (a place in bytes) to the cursor was.
    pub(super) fn replace_before(&mut self, start: usize, word: &str) {
        let from = self
            .before()
            .get(..start)
            .map_or(self.at, |head| head.chars().count());
        self.chars.splice(from..self.at, word.chars());
        self.at = from + word.chars().count();
    }

    pub(super) fn backspace(&mut self) {
        if self.at > 0 {
            self.at -= 1;
            self.chars.remove(self.at);
        }
    }

    pub(super) fn delete(&mut self) {
        if self.at < self.chars.len() {
            self.chars.remove(self.at);
        }
    }

    pub(super) fn left(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    pub(super) fn right(&mut self) {
        self.at = (self.at + 1).min(self.chars.len());
    }

    pub(super) fn home(&mut self) {
        self.at = self.chars[..self.at]
            .iter()
            .rposition(|c| *c == '\n')
            .map_or(0, |place| place + 1);
    }

    pub(super) fn end(&mut self) {
        let rest = self.chars[self.at..].iter().position(|c| *c == '\n');
        self.at = rest.map_or(self.chars.len(), |place| self.at + place);
    }

    pub(super) fn jump_to_end(&mut self) {
        self.at = self.chars.len();
    }

    pub(super) fn word_left(&mut self) {
        let head = &self.chars[..self.at];
        let word = head.iter().rposition(|c| c.is_alphanumeric());
        let start = word.and_then(|word| head[..word].iter().rposition(|c| !c.is_alphanumeric()));
        self.at = match (word, start) {
            (Some(_), Some(start)) => start + 1,
            _ => 0,
        };
    }

    pub(super) fn word_right(&mut self) {
        let is_word = |c: &char| c.is_alphanumeric();
        let skip = self.chars[self.at..]
            .iter()
            .take_while(|c| !is_word(c))
            .count();
        let from = self.at + skip;
        self.at = from + self.chars[from..].iter().take_while(|c| is_word(c)).count();
    }

    pub(super) fn cut_to_end(&mut self) {
        self.chars.truncate(self.at);
    }

    pub(super) fn cut_to_start(&mut self) {
        self.chars.drain(..self.at);
        self.at = 0;
    }

    pub(super) fn cut_word(&mut self) {
        let end = self.at;
        self.word_left();
        self.chars.drain(self.at..end);
    }

    /// The text as it is written to a screen behind a prompt of `indent` columns, with every wrap as a line
    /// of its own, and where cursor and end stand in it.
    pub(super) fn layout(&self, indent: usize, columns: usize, more: &str) -> Layout {
        let columns = columns.max(indent + 2);
        let mut layout = Layout {
            text: String::new(),
            cursor: (0, indent),
            end: (0, indent),
        };
        let (mut row, mut column) = (0, indent);
        for (index, c) in self.chars.iter().enumerate() {
            let width = if *c == '\n' {
                0
            } else {
                c.width().unwrap_or(0)
            };
            if column + width > columns {
                layout.text.push_str("\r\n");
                (row, column) = (row + 1, 0);
            }
            if index == self.at {
                layout.cursor = (row, column);
            }
            if *c == '\n' {
                layout.text.push_str("\r\n");
                layout.text.push_str(more);
                (row, column) = (row + 1, indent);
            } else {
                layout.text.push(*c);
                column += width;
            }
            // Terminals differ in where the cursor waits at the edge: it never does.
            if column == columns {
                layout.text.push_str("\r\n");
                (row, column) = (row + 1, 0);
            }
        }
        layout.end = (row, column);
        if self.is_at_end() {
            layout.cursor = layout.end;
        }
        layout
    }
}

/// What is written, and rows and columns from the prompt's beginning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub text: String,
    pub cursor: (usize, usize),
    pub end: (usize, usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_where_the_cursor_stands() {
        let mut line = Line::of("select one");
        line.word_left();
        line.insert('x');
        assert_eq!(line.text(), "select xone");
        line.backspace();
        line.home();
        line.word_right();
        assert_eq!(line.before(), "select");
        line.delete();
        assert_eq!(line.text(), "selectone");
        line.cut_to_end();
        line.cut_word();
        assert!(line.is_empty() && line.is_at_end());
        let mut line = Line::of("ü v_led");
        line.replace_before(3, "v_ledger");
        assert_eq!(line.text(), "ü v_ledger");
        line.cut_to_start();
        line.left();
        line.backspace();
        line.right();
        assert!(line.is_empty());
    }

    #[test]
    fn home_and_end_stay_within_a_row_of_the_text() {
        let mut line = Line::of("one\ntwo\nthree");
        line.home();
        assert_eq!(line.before(), "one\ntwo\n");
        line.left();
        line.home();
        assert_eq!(line.before(), "one\n");
        line.end();
        assert_eq!(line.before(), "one\ntwo");
        line.jump_to_end();
        assert!(line.is_at_end());
    }

    #[test]
    fn long_and_wide_text_wraps_where_the_screen_ends() {
        let line = Line::of("abcdef");
        let layout = line.layout(3, 8, ".. ");
        assert_eq!(layout.text, "abcde\r\nf");
        assert_eq!(layout.end, (1, 1));
        // Two columns each: the third does not fit any more.
        let layout = Line::of("漢字漢").layout(3, 8, ".. ");
        assert_eq!((layout.text.as_str(), layout.end), ("漢字\r\n漢", (1, 2)));
        let mut line = Line::of("a\nb");
        let layout = line.layout(3, 8, ".. ");
        assert_eq!((layout.text.as_str(), layout.end), ("a\r\n.. b", (1, 4)));
        line.home();
        assert_eq!(line.layout(3, 8, ".. ").cursor, (1, 3));
        assert_eq!(Line::of("abcde").layout(3, 8, "").cursor, (1, 0));
    }
}
