//! What is wrong with a file: each error with its line, what was expected and what to do.

use std::cell::RefCell;
use std::fmt;

/// One error of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// Where in the file's own terms, such as `fault 2, at_s`.
    pub field: String,
    /// What was found.
    pub wrong: String,
    /// What was expected.
    pub expected: String,
    /// What to do; empty where what was expected says it.
    pub action: String,
}

/// All errors of a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file's name.
    pub file: String,
    /// What is wrong with it; never empty.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        for problem in &self.list {
            let Problem { line, column, .. } = problem;
            write!(f, "{file}:{line}:{column}: ")?;
            if !problem.field.is_empty() {
                write!(f, "{}: ", problem.field)?;
            }
            writeln!(f, "{}", problem.wrong)?;
            writeln!(f, "    expected  {}", problem.expected)?;
            if !problem.action.is_empty() {
                writeln!(f, "    to do     {}", problem.action)?;
            }
        }
        match self.list.len() {
            1 => write!(f, "1 error in {file}"),
            count => write!(f, "{count} errors in {file}"),
        }
    }
}

impl std::error::Error for Problems {}

/// Collects the errors of a file while it is read.
pub(super) struct Collector<'a> {
    text: &'a str,
    list: RefCell<Vec<Problem>>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let list = RefCell::new(Vec::new());
        Self { text, list }
    }

    /// Adds an error that begins at a byte of the file.
    pub(super) fn add(&self, at: usize, field: String, wrong: String, expected: &str, todo: &str) {
        let (line, column) = self.position(at);
        self.list.borrow_mut().push(Problem {
            line,
            column,
            field,
            wrong,
            expected: expected.to_owned(),
            action: todo.to_owned(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    pub(super) fn into_problems(self, file: &str) -> Problems {
        let mut list = self.list.into_inner();
        list.sort();
        list.dedup();
        Problems {
            file: file.to_owned(),
            list,
        }
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let mut end = at.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        (line, column)
    }
}

/// What to do about an unknown name: the known one that is near enough to be meant, if one is.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    /// Names this similar are taken for one another's misspelling.
    const NEAR: f64 = 0.5;
    let known: Vec<&str> = known.into_iter().collect();
    let best = known
        .iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(name, candidate),
                *candidate,
            )
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((similarity, candidate)) if similarity >= NEAR => {
            format!("did you mean \"{candidate}\"?")
        }
        _ => "use one of those, or remove it".to_owned(),
    }
}

/// Names one after the other, for an error.
pub(super) fn list(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
