//! Owns label matchers: which series a read asks for. The subset that a metric list needs, which
//! blocks evaluate directly and remote read sends as PromQL matchers; both mean the same.

use super::Labels;

/// One alternative of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Pattern {
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Prefix(text) => value.starts_with(text.as_str()),
        }
    }
}

/// What a label's value must satisfy; an absent label has the empty value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal(String),
    NotEqual(String),
    /// `=~` over alternatives; matches nothing when empty.
    AnyOf(Vec<Pattern>),
    /// `!~` over alternatives.
    NoneOf(Vec<Pattern>),
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher {
    pub label: String,
    pub op: MatchOp,
}

impl Matcher {
    #[must_use]
    pub fn equal(label: &str, value: &str) -> Self {
        Self::new(label, MatchOp::Equal(value.to_owned()))
    }

    #[must_use]
    pub fn not_equal(label: &str, value: &str) -> Self {
        Self::new(label, MatchOp::NotEqual(value.to_owned()))
    }

    /// `label` is one of `values`, letter by letter.
    #[must_use]
    pub fn one_of<S: Into<String>>(label: &str, values: impl IntoIterator<Item = S>) -> Self {
        let values = values.into_iter().map(|v| Pattern::Exact(v.into()));
        Self::new(label, MatchOp::AnyOf(values.collect()))
    }

    #[must_use]
    pub fn prefix(label: &str, prefix: &str) -> Self {
        let only = Pattern::Prefix(prefix.to_owned());
        Self::new(label, MatchOp::AnyOf(vec![only]))
    }

    #[must_use]
    pub fn any_of(label: &str, patterns: Vec<Pattern>) -> Self {
        Self::new(label, MatchOp::AnyOf(patterns))
    }

    #[must_use]
    pub fn none_of(label: &str, patterns: Vec<Pattern>) -> Self {
        Self::new(label, MatchOp::NoneOf(patterns))
    }

    fn new(label: &str, op: MatchOp) -> Self {
        Self {
            label: label.to_owned(),
            op,
        }
    }

    /// Whether a value (empty for an absent label) satisfies the condition.
    #[must_use]
    pub fn accepts_value(&self, value: &str) -> bool {
        match &self.op {
            MatchOp::Equal(text) => text == value,
            MatchOp::NotEqual(text) => text != value,
            MatchOp::AnyOf(patterns) => patterns.iter().any(|p| p.accepts(value)),
            MatchOp::NoneOf(patterns) => !patterns.iter().any(|p| p.accepts(value)),
        }
    }

    #[must_use]
    pub fn accepts(&self, labels: &Labels) -> bool {
        self.accepts_value(labels.get(&self.label).unwrap_or(""))
    }
}
