//! Tests alone: every command line of the documentation is one that the program takes.

use clap::{CommandFactory as _, Parser as _};

use super::commands::Cli;

/// Command lines of code blocks: those that begin with the program's name.
fn lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let code = fenced || line.starts_with("    ");
        let line = line.trim();
        if let Some(mut command) = open.take() {
            command.push(' ');
            command.push_str(line.trim_end_matches('\\'));
            if line.ends_with('\\') || quotes_are_open(&command) {
                open = Some(command);
            } else {
                found.push(command);
            }
        } else if code && line.starts_with("idleproof ") {
            let command = line.trim_end_matches('\\').to_owned();
            if line.ends_with('\\') || quotes_are_open(&command) {
                open = Some(command);
            } else {
                found.push(command);
            }
        }
    }
    found
}

fn quotes_are_open(text: &str) -> bool {
    split(text).is_none()
}

/// Words as a shell has them, up to a comment, a pipe or a redirection; `None` within a quote.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '#') if word.is_none() => return Some(words),
            (None, '|' | '>' | '<' | ';' | '·') => {
                words.extend(word.take());
                return Some(words);
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[test]
fn every_command_of_the_documentation_is_taken() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs", "docs/detectors", "deploy", "deploy/manifests"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    let mut count = 0;
    for page in pages {
        for line in lines(&std::fs::read_to_string(&page).unwrap()) {
            let words = split(&line).unwrap();
            let taken = Cli::try_parse_from(&words);
            if let Err(error) = taken {
                panic!("{}: `{line}`\n{error}", page.display());
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn every_command_has_examples_that_it_takes() {
    let cli = Cli::command();
    let mut all: Vec<&clap::Command> = cli.get_subcommands().collect();
    all.push(&cli);
    for command in all {
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let examples: Vec<&str> = help
            .lines()
            .filter(|line| line.starts_with("  idleproof "))
            .collect();
        assert!(
            !examples.is_empty(),
            "{} has no example",
            command.get_name()
        );
        for line in examples {
            let words = split(line.trim()).unwrap();
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{}: `{line}`\n{error}", command.get_name());
            }
        }
    }
}

#[test]
fn words_are_a_shells() {
    let words = |text| split(text).unwrap();
    assert_eq!(
        words("idleproof sql 'a  b' -o \"x\" # c"),
        ["idleproof", "sql", "a  b", "-o", "x"]
    );
    assert_eq!(words("idleproof sql < q.sql"), ["idleproof", "sql"]);
    assert_eq!(words("idleproof a/b#c"), ["idleproof", "a/b#c"]);
    assert!(split("idleproof sql \"select").is_none());
}
