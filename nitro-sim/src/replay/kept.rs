//! Plans that are kept because they once failed, each with what a run of it must show: the
//! failure, while the bug lives, or a pass, once it is mended.

use std::fmt;

use crate::check::{Signature, Verdict};
use crate::plan::Expected;

/// What a run of a kept plan showed, held against what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    expected: Expected,
    shown: Result<(), Shown>,
}

/// What was shown that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Pass,
    Failure(Signature),
    Nothing(String),
}

impl Kept {
    /// Holds a verdict against what it must be.
    pub fn new(expected: &Expected, verdict: &Verdict) -> Self {
        let shown = match (verdict, Signature::of(verdict)) {
            (_, Some(failure)) => match expected {
                Expected::Failure(text) if text == failure.as_str() => Ok(()),
                _ => Err(Shown::Failure(failure)),
            },
            (Verdict::Pass, None) => match expected {
                Expected::Mended(_) => Ok(()),
                Expected::Failure(_) => Err(Shown::Pass),
            },
            (_, None) => {
                let reasons = verdict.reasons().iter();
                let reasons: Vec<String> = reasons.map(ToString::to_string).collect();
                Err(Shown::Nothing(reasons.join("; ")))
            }
        };
        let expected = expected.clone();
        Self { expected, shown }
    }

    /// Whether it shows what it must.
    pub fn is_shown(&self) -> bool {
        self.shown.is_ok()
    }

    /// What it must show from now on, if what it shows now is right.
    ///
    /// # Errors
    ///
    /// When it proves nothing now.
    pub fn accepted(&self) -> Result<Expected, String> {
        let (Expected::Failure(text) | Expected::Mended(text)) = &self.expected;
        match &self.shown {
            Ok(()) => Ok(self.expected.clone()),
            Err(Shown::Pass) => Ok(Expected::Mended(text.clone())),
            Err(Shown::Failure(failure)) => Ok(Expected::Failure(failure.to_string())),
            Err(Shown::Nothing(why)) => Err(format!(
                "it proves nothing ({why}), so there is nothing to accept: find the failure anew \
                 or delete the file"
            )),
        }
    }
}

/// In words, with what to do.
impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ANEW: &str = "if it was not, the code has moved from under the plan: `explore` \
                            finds the failure anew, and `shrink` makes a plan of it";
        match (&self.expected, &self.shown) {
            (Expected::Failure(text), Ok(())) => write!(f, "it shows what it must: {text}"),
            (Expected::Mended(text), Ok(())) => {
                write!(f, "it passes, as it must: mended is {text}")
            }
            (Expected::Failure(text), Err(Shown::Pass)) => write!(
                f,
                "it no longer shows the failure: it passes\n    it showed: {text}\n    if that was \
                 mended, `replay FILE --accept` says so in the file, and from then on it must \
                 pass;\n    {ANEW}"
            ),
            (Expected::Failure(text), Err(Shown::Failure(failure))) => write!(
                f,
                "it shows another failure\n    it showed: {text}\n    it shows:  {failure}\n    if \
                 that is the same bug, `replay FILE --accept` keeps it as this one;\n    {ANEW}"
            ),
            (Expected::Mended(text), Err(Shown::Failure(failure))) if text == failure.as_str() => {
                write!(f, "it shows a failure again that was mended: {text}")
            }
            (Expected::Mended(text), Err(Shown::Failure(failure))) => write!(
                f,
                "it fails, and otherwise than before it was mended\n    it showed: {text}\n    it \
                 shows:  {failure}"
            ),
            (Expected::Failure(text) | Expected::Mended(text), Err(Shown::Nothing(why))) => write!(
                f,
                "it proves nothing any more: {why}\n    it showed: {text}\n    the code has moved \
                 from under the plan: `explore` finds the failure anew, with the bug put back if \
                 it was mended, and `shrink` makes a plan of it"
            ),
            (Expected::Mended(text), Err(Shown::Pass)) => write!(f, "it passes: mended is {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Reason;

    const LOST: &str = "no addition is lost";

    fn reasons(check: &str) -> Vec<Reason> {
        vec![Reason::new(check, "what it found")]
    }

    fn said(expected: &Expected, verdict: &Verdict) -> (bool, String, Result<Expected, ()>) {
        let kept = Kept::new(expected, verdict);
        (
            kept.is_shown(),
            kept.to_string(),
            kept.accepted().map_err(drop),
        )
    }

    #[test]
    fn a_plan_that_must_fail_says_what_became_of_its_failure() {
        let lives = Expected::Failure(LOST.to_owned());
        let (is_shown, text, accepted) = said(&lives, &Verdict::Fail(reasons(LOST)));
        assert!(is_shown && text == "it shows what it must: no addition is lost");
        assert_eq!(accepted, Ok(lives.clone()));
        let (is_shown, text, accepted) = said(&lives, &Verdict::Pass);
        assert!(!is_shown && text.contains("it no longer shows the failure: it passes"));
        assert!(
            text.contains("--accept") && text.contains("`explore`"),
            "{text}"
        );
        assert_eq!(accepted, Ok(Expected::Mended(LOST.to_owned())));
        let (is_shown, text, accepted) = said(&lives, &Verdict::Fail(reasons("answered")));
        assert!(!is_shown && text.contains("another failure"));
        assert_eq!(accepted, Ok(Expected::Failure("answered".to_owned())));
        let nothing = Verdict::Inconclusive(reasons("touched"));
        let (is_shown, text, accepted) = said(&lives, &nothing);
        assert!(!is_shown && text.contains("proves nothing any more: touched: what it found"));
        assert_eq!(accepted, Err(()));
    }

    #[test]
    fn a_plan_that_must_pass_passes_or_says_what_is_back() {
        let mended = Expected::Mended(LOST.to_owned());
        let (is_shown, ..) = said(&mended, &Verdict::Pass);
        assert!(is_shown);
        let (is_shown, text, accepted) = said(&mended, &Verdict::Fail(reasons(LOST)));
        assert!(
            !is_shown && text.contains("again that was mended"),
            "{text}"
        );
        assert_eq!(accepted, Ok(Expected::Failure(LOST.to_owned())));
        let (is_shown, text, _) = said(&mended, &Verdict::Fail(reasons("answered")));
        assert!(
            !is_shown && text.contains("otherwise than before"),
            "{text}"
        );
        let (is_shown, ..) = said(&mended, &Verdict::Inconclusive(reasons("touched")));
        assert!(!is_shown);
    }
}
