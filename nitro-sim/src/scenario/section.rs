//! One table of the file: its fields are taken by name, and what is left is an unknown key.

use std::cell::RefCell;
use std::ops::Range as Span;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Range;
use super::problem::{Collector, list, nearest};

/// What a number may be.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) unit: &'static str,
}

impl Bounds {
    pub(super) const fn new(min: f64, max: f64, unit: &'static str) -> Self {
        Self { min, max, unit }
    }

    /// 0 to 1.
    pub(super) const SHARE: Self = Self::new(0.0, 1.0, "");

    fn expected(&self) -> String {
        let unit = match self.unit {
            "" => String::new(),
            unit => format!(" {unit}"),
        };
        format!("a number from {} to {}{unit}", self.min, self.max)
    }
}

/// A table that is being read.
pub(super) struct Section<'a> {
    /// What it is called in errors, such as `fault 2`; empty for the file itself.
    pub(super) title: String,
    table: &'a DeTable<'a>,
    span: Span<usize>,
    problems: &'a Collector<'a>,
    taken: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        title: impl Into<String>,
        table: &'a DeTable<'a>,
        span: Span<usize>,
        problems: &'a Collector<'a>,
    ) -> Self {
        let title = title.into();
        let taken = RefCell::new(Vec::new());
        Self {
            title,
            table,
            span,
            problems,
            taken,
        }
    }

    /// Where the table begins.
    pub(super) fn start(&self) -> usize {
        self.span.start
    }

    fn field(&self, key: &str) -> String {
        match (self.title.as_str(), key) {
            ("", key) => key.to_owned(),
            (title, "") => title.to_owned(),
            (title, key) => format!("{title}, {key}"),
        }
    }

    /// Adds an error about a key; an empty key, or one that is missing, is about the table.
    pub(super) fn problem(&self, key: &str, wrong: impl Into<String>, expected: &str, todo: &str) {
        let at = self.table.get(key).map_or(self.start(), |v| v.span().start);
        self.problem_at(at, key, wrong, expected, todo);
    }

    /// Adds an error that begins at a byte of the file.
    pub(super) fn problem_at(
        &self,
        at: usize,
        key: &str,
        wrong: impl Into<String>,
        expected: &str,
        todo: &str,
    ) {
        let field = self.field(key);
        self.problems.add(at, field, wrong.into(), expected, todo);
    }

    /// A value, which is from now on a known key.
    pub(super) fn take(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.taken.borrow_mut().push(key);
        self.table.get(key)
    }

    /// The entries in the order of the file, for a table whose keys are free.
    pub(super) fn entries(&self) -> Vec<(&'a str, usize, &'a Spanned<DeValue<'a>>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value))
            .collect();
        entries.sort_by_key(|(_, start, _)| *start);
        entries
    }

    /// A part of the file that stands under a key.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(key, table, value.span(), self.problems)),
            other => {
                self.wrong_type(key, other, "a table");
                None
            }
        }
    }

    /// The parts of the file that stand under a key, each titled with its number.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            let expected = format!("tables, each under [[{key}]]");
            self.wrong_type(key, value.get_ref(), &expected);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let title = format!("{key} {}", index + 1);
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::new(title, table, item.span(), self.problems));
                }
                other => self.wrong_type(key, other, "a table"),
            }
        }
        sections
    }

    fn wrong_type(&self, key: &str, found: &DeValue<'_>, expected: &str) {
        self.problem(key, format!("is {}", describe(found)), expected, "");
    }

    /// A text, if it is there.
    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        let value = self.take(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value.get_ref(), "a text");
        }
        text
    }

    /// Reports a key that must be there and is not.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        if self.table.get(key).is_none() {
            self.problem(key, "is missing", expected, &format!("add {key} = ..."));
        }
    }

    /// Yes or no, if it is there.
    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(key, value.get_ref(), "true or false");
        }
        found
    }

    /// A number within bounds, if it is there.
    pub(super) fn number(&self, key: &'static str, bounds: Bounds) -> Option<f64> {
        let value = self.take(key)?;
        self.bounded(key, value, bounds)
    }

    fn bounded(&self, key: &str, value: &Spanned<DeValue<'_>>, bounds: Bounds) -> Option<f64> {
        let Some(number) = number_of(value.get_ref()) else {
            let wrong = format!("is {}", describe(value.get_ref()));
            self.problem_at(value.span().start, key, wrong, &bounds.expected(), "");
            return None;
        };
        if !(bounds.min..=bounds.max).contains(&number) {
            let wrong = format!("is {number}");
            self.problem_at(value.span().start, key, wrong, &bounds.expected(), "");
            return None;
        }
        Some(number)
    }

    /// A number or `[min, max]` within bounds, if it is there.
    pub(super) fn range(&self, key: &'static str, bounds: Bounds) -> Option<Range<f64>> {
        let value = self.take(key)?;
        let Some(pair) = value.get_ref().as_array() else {
            let number = self.bounded(key, value, bounds)?;
            let (min, max) = (number, number);
            return Some(Range { min, max });
        };
        if pair.len() != 2 {
            let wrong = format!("has {} numbers", pair.len());
            self.problem(key, wrong, "a number or [min, max]", "");
            return None;
        }
        let (min, max) = (
            self.bounded(key, &pair[0], bounds),
            self.bounded(key, &pair[1], bounds),
        );
        let (min, max) = (min?, max?);
        if min > max {
            let todo = format!("write [{max}, {min}]");
            let wrong = format!("min {min} is above max {max}");
            self.problem(key, wrong, "[min, max] with min at most max", &todo);
            return None;
        }
        Some(Range { min, max })
    }

    /// A list of texts, each with where it begins, if it is there.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<(&'a str, usize)>> {
        let value = self.take(key)?;
        self.texts_of(key, value)
    }

    /// The texts of a value that must be a list of them.
    pub(super) fn texts_of(
        &self,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Vec<(&'a str, usize)>> {
        let Some(array) = value.get_ref().as_array() else {
            let wrong = format!("is {}", describe(value.get_ref()));
            self.problem_at(value.span().start, key, wrong, "a list of node names", "");
            return None;
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text, item.span().start)),
                None => {
                    let wrong = format!("has {} in it", describe(item.get_ref()));
                    self.problem_at(item.span().start, key, wrong, "a list of node names", "");
                }
            }
        }
        Some(texts)
    }

    /// Reports every key that nobody took.
    pub(super) fn finish(&self) {
        let taken = self.taken.borrow();
        for (key, start, _) in self.entries() {
            if !taken.contains(&key) {
                let expected = format!("one of {}", list(&taken));
                let todo = nearest(key, taken.iter().copied());
                self.problem_at(start, key, "is an unknown key", &expected, &todo);
            }
        }
    }
}

/// The number that a value is.
pub(super) fn number_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(_) => integer_of(value).map(|number| number as f64),
        DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
        _ => None,
    }
}

/// The whole number that a value is.
pub(super) fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A value as an error names it.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("{number}"),
        DeValue::Float(number) => format!("{number}"),
        DeValue::Boolean(value) => format!("{value}"),
        other => format!("a {}", other.type_str()).replace("a array", "a list"),
    }
}
