//! Owns the terminal while a line is typed: raw mode and back, drawing, the past, Tab. `line` has the text,
//! `keys` the meaning of bytes; what a line means is its caller's.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::keys::{Key, Keys};
use super::line::Line;

/// Candidates that are listed; more say nothing.
const LISTED_MAX: usize = 120;

/// How reading a line ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C: what was typed is given up.
    GivenUp,
    End,
}

/// What the editor asks about a text while it is typed.
pub(super) trait Knows {
    /// What the text before the cursor can become, and where in it the word begins.
    fn complete(&self, before: &str) -> (usize, Vec<String>);
    /// Whether Enter ends it.
    fn is_whole(&self, text: &str) -> bool;
}

/// Raw mode, taken back when it goes.
struct Raw(Termios);

impl Raw {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed ahead stays.
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Rows and columns of the screen, as far as it says.
pub(super) fn screen() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).ok();
    let known = |value: u16, other: usize| match value {
        0 => other,
        value => usize::from(value),
    };
    size.map_or((24, 80), |size| {
        (known(size.ws_row, 24), known(size.ws_col, 80))
    })
}

/// Reads lines from the terminal that is stdin.
#[derive(Debug)]
pub(super) struct Editor {
    prompt: &'static str,
    more: &'static str,
    past: Vec<String>,
    keys: Keys,
    ahead: VecDeque<u8>,
}

impl Editor {
    /// `more` begins each further row of a text and is as wide as the prompt.
    pub(super) fn new(prompt: &'static str, more: &'static str, past: Vec<String>) -> Self {
        Self {
            prompt,
            more,
            past,
            keys: Keys::default(),
            ahead: VecDeque::new(),
        }
    }

    pub(super) fn remember(&mut self, text: &str) {
        if self.past.last().is_none_or(|last| last != text) {
            self.past.push(text.to_owned());
        }
    }

    pub(super) fn read(&mut self, knows: &dyn Knows) -> io::Result<Typed> {
        if std::env::var("TERM").map_or(true, |term| term == "dumb") {
            return self.read_plainly(knows);
        }
        let _raw = Raw::enter()?;
        let mut out = Screen::default();
        let mut line = Line::default();
        // Where in the past the line is from, and what was typed before it was looked for.
        let mut looked: Option<(usize, Line)> = None;
        out.draw(self, &line)?;
        loop {
            let Some(key) = self.key()? else {
                out.leave(self, &line)?;
                return Ok(Typed::End);
            };
            let was_looked = looked.take();
            match key {
                Key::Enter if knows.is_whole(&line.text()) => {
                    line.jump_to_end();
                    out.leave(self, &line)?;
                    return Ok(Typed::Line(line.text()));
                }
                Key::Enter => {
                    line.jump_to_end();
                    line.insert('\n');
                }
                Key::Interrupt => {
                    line.jump_to_end();
                    out.leave(self, &line)?;
                    return Ok(Typed::GivenUp);
                }
                Key::EndOrDelete if line.is_empty() => {
                    out.leave(self, &line)?;
                    return Ok(Typed::End);
                }
                Key::Char(c) if !c.is_control() => {
                    line.insert(c);
                    // The common case writes one character and not the line again.
                    if line.is_at_end() && out.append(self, &line, c)? {
                        continue;
                    }
                }
                Key::Up | Key::Down => {
                    let (at, typed) = was_looked.unwrap_or((self.past.len(), line.clone()));
                    let begin = typed.text();
                    let fits = |place: &usize| self.past[*place].starts_with(&begin);
                    let found = if key == Key::Up {
                        (0..at).rev().find(fits)
                    } else {
                        (at + 1..self.past.len()).find(fits)
                    };
                    match found {
                        Some(place) => {
                            line = Line::of(&self.past[place]);
                            looked = Some((place, typed));
                        }
                        None if key == Key::Down => line = typed,
                        None => looked = Some((at, typed)),
                    }
                }
                Key::Tab => self.complete(&mut out, &mut line, knows)?,
                Key::ClearScreen => out.clear()?,
                Key::Backspace => line.backspace(),
                Key::Delete | Key::EndOrDelete => line.delete(),
                Key::Left => line.left(),
                Key::Right => line.right(),
                Key::WordLeft => line.word_left(),
                Key::WordRight => line.word_right(),
                Key::Home => line.home(),
                Key::End => line.end(),
                Key::CutToEnd => line.cut_to_end(),
                Key::CutToStart => line.cut_to_start(),
                Key::CutWord => line.cut_word(),
                Key::Char(_) | Key::Other => {}
            }
            out.draw(self, &line)?;
        }
    }

    /// The next key; `None` when the terminal is gone.
    fn key(&mut self) -> io::Result<Option<Key>> {
        loop {
            while let Some(byte) = self.ahead.pop_front() {
                if let Some(key) = self.keys.take(byte) {
                    return Ok(Some(key));
                }
            }
            let mut bytes = [0; 256];
            match io::stdin().lock().read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(count) => self.ahead.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn complete(&self, out: &mut Screen, line: &mut Line, knows: &dyn Knows) -> io::Result<()> {
        let before = line.before();
        let (start, fits) = knows.complete(&before);
        let Some(first) = fits.first() else {
            return Ok(());
        };
        let shared = fits.iter().skip(1).fold(first.as_str(), |shared, word| {
            let same = shared.chars().zip(word.chars()).take_while(|(a, b)| a == b);
            let bytes = same.map(|(a, _)| a.len_utf8()).sum();
            &shared[..bytes]
        });
        if fits.len() == 1 || shared.len() > before.len() - start {
            line.replace_before(start, shared);
            return Ok(());
        }
        let at = line.clone();
        line.jump_to_end();
        out.leave(self, line)?;
        *line = at;
        list(&fits)
    }

    /// Where a screen cannot be drawn on: a prompt and what the terminal itself lets a person type.
    fn read_plainly(&self, knows: &dyn Knows) -> io::Result<Typed> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() {
                self.prompt
            } else {
                self.more
            };
            let mut out = io::stdout().lock();
            out.write_all(prompt.as_bytes())?;
            out.flush()?;
            if io::stdin().read_line(&mut text)? == 0 {
                return Ok(Typed::End);
            }
            if knows.is_whole(&text) {
                return Ok(Typed::Line(text));
            }
        }
    }
}

/// Words in columns.
fn list(words: &[String]) -> io::Result<()> {
    let shown = &words[..words.len().min(LISTED_MAX)];
    let width = shown
        .iter()
        .map(|word| word.chars().count())
        .max()
        .unwrap_or(0)
        + 2;
    let columns = (screen().1 / width).max(1);
    let mut out = io::stdout().lock();
    for row in shown.chunks(columns) {
        for word in row {
            write!(out, "{word:<width$}")?;
        }
        out.write_all(b"\r\n")?;
    }
    if words.len() > shown.len() {
        write!(out, "… and {} more\r\n", words.len() - shown.len())?;
    }
    out.flush()
}

/// Where what was drawn stands: the cursor's row and the place after the text.
#[derive(Debug, Default)]
struct Screen {
    cursor: (usize, usize),
}

impl Screen {
    fn draw(&mut self, editor: &Editor, line: &Line) -> io::Result<()> {
        let indent = editor.prompt.chars().count();
        let layout = line.layout(indent, screen().1, editor.more);
        let mut text = String::new();
        up(&mut text, self.cursor.0);
        text.push_str("\r\x1b[J");
        text.push_str(editor.prompt);
        text.push_str(&layout.text);
        if layout.cursor != layout.end {
            up(&mut text, layout.end.0 - layout.cursor.0);
            text.push('\r');
            if layout.cursor.1 > 0 {
                let right = format!("\x1b[{}C", layout.cursor.1);
                text.push_str(&right);
            }
        }
        self.cursor = layout.cursor;
        put(&text)
    }

    /// Writes a character that stands at the end; `false` where the row ends with it.
    fn append(&mut self, editor: &Editor, line: &Line, c: char) -> io::Result<bool> {
        let indent = editor.prompt.chars().count();
        let layout = line.layout(indent, screen().1, editor.more);
        if layout.end.0 != self.cursor.0 {
            return Ok(false);
        }
        self.cursor = layout.end;
        let mut buffer = [0; 4];
        put(c.encode_utf8(&mut buffer))?;
        Ok(true)
    }

    /// Goes below the text, whose cursor is at its end; the next drawing begins there.
    fn leave(&mut self, editor: &Editor, line: &Line) -> io::Result<()> {
        let layout = line.layout(editor.prompt.chars().count(), screen().1, editor.more);
        if self.cursor != layout.end {
            self.draw(editor, line)?;
        }
        self.cursor = (0, 0);
        put("\r\n")
    }

    fn clear(&mut self) -> io::Result<()> {
        self.cursor = (0, 0);
        put("\x1b[H\x1b[2J")
    }
}

fn up(text: &mut String, rows: usize) {
    if rows > 0 {
        let up = format!("\x1b[{rows}A");
        text.push_str(&up);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
