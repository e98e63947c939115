//! What an application runs around its start and its stop.

use futures_util::future::BoxFuture;

use crate::error::{Error, Result};

pub(super) type Hook = Box<dyn FnOnce() -> BoxFuture<'static, Result<()>> + Send>;

#[derive(Default)]
pub(super) struct Hooks {
    pub(super) before_start: Vec<Hook>,
    pub(super) after_start: Vec<Hook>,
    pub(super) before_stop: Vec<Hook>,
    pub(super) after_stop: Vec<Hook>,
}

pub(super) fn boxed<F: Future<Output = Result<()>> + Send + 'static>(
    hook: impl FnOnce() -> F + Send + 'static,
) -> Hook {
    Box::new(move || Box::pin(hook()))
}

/// One error that tells of all: the first, with the others as details.
pub(super) fn joined(errors: Vec<Error>) -> Result<()> {
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else {
        return Ok(());
    };
    Err(errors.fold(first, |first, other| {
        first.with_detail("also", other.to_string())
    }))
}
