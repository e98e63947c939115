//! One try to deliver a message, and what is made of the answer.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};

use super::Carrying;
use crate::broker::check::silence;
use crate::broker::{Consumer, Delivered, Verdict};
use crate::http::client::{Answer, Trouble};
use crate::http::event::{self, About, names};
use crate::http::inbox::{Arrival, Outcome, TAKE_WAIT};
use crate::http::members::Member;

/// How much longer than it may be handled a message may be on its way there and back.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The longest that a member may ask to wait.
const DELAY_MAX: Duration = Duration::from_secs(60 * 60);

/// What came of one try.
pub(super) enum Tried {
    /// A member has acknowledged it, now or before.
    Done,
    /// A member could not handle it.
    Failed {
        reason: String,
        delay: Option<Duration>,
    },
    /// A member gave it back untried.
    Returned { delay: Duration },
    /// The member does not take messages now.
    NotTaken {
        reason: String,
        delay: Option<Duration>,
    },
}

/// Delivers a message to a member, in this node or another.
pub(super) async fn deliver(
    carrying: &Carrying,
    consumer: &Consumer,
    member: &Member,
    delivered: Delivered,
    about: About,
) -> Tried {
    let message = delivered.message;
    if member.id.starts_with(&*carrying.node) {
        let outcome = carrying.inbox.receive(Arrival { message, about }).await;
        return of_outcome(outcome, consumer);
    }
    let head = event::head(&message, &about);
    let visible = Duration::from_millis(consumer.visibility_ms);
    let limit = visible + TAKE_WAIT + PATIENCE;
    let to = (&member.address, &*member.path);
    match carrying.client.post(to, head, message.body, limit).await {
        Ok(answer) => of_answer(&answer, consumer),
        Err(Trouble::Unsent(reason)) => Tried::NotTaken {
            reason,
            delay: None,
        },
        Err(Trouble::Lost(reason)) => Tried::Failed {
            reason,
            delay: None,
        },
    }
}

fn of_outcome(outcome: Outcome, consumer: &Consumer) -> Tried {
    match outcome {
        Outcome::Settled(Verdict::Done) | Outcome::Known => Tried::Done,
        Outcome::Settled(Verdict::Failed { reason, delay_ms }) => Tried::Failed {
            reason,
            delay: Some(Duration::from_millis(delay_ms)),
        },
        Outcome::Settled(Verdict::Returned { delay_ms }) => Tried::Returned {
            delay: Duration::from_millis(delay_ms),
        },
        Outcome::NotTaken(reason) => Tried::NotTaken {
            reason: reason.to_owned(),
            delay: None,
        },
        Outcome::NoSubscription => Tried::NotTaken {
            reason: "nobody here subscribes so".to_owned(),
            delay: None,
        },
        Outcome::Silence => Tried::Failed {
            reason: silence(consumer),
            delay: Some(Duration::ZERO),
        },
    }
}

/// What a status says. 404, 429 and 503 say "not now"; whatever else is no success is a failure.
fn of_answer(answer: &Answer, consumer: &Consumer) -> Tried {
    let Answer { status, head, text } = answer;
    let delay = delay(head);
    let told = event::text(head, names::REASON).ok().flatten();
    match *status {
        status if status.is_success() => Tried::Done,
        StatusCode::SERVICE_UNAVAILABLE if head.contains_key(names::RETRY_MS) => {
            let delay = delay.unwrap_or_default();
            Tried::Returned { delay }
        }
        StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let reason = told.unwrap_or_else(|| format!("{status}: {text}"));
            Tried::NotTaken { reason, delay }
        }
        StatusCode::GATEWAY_TIMEOUT => Tried::Failed {
            reason: silence(consumer),
            delay: Some(Duration::ZERO),
        },
        status if status.is_redirection() => Tried::Failed {
            reason: format!("{status}: events follow no redirections"),
            delay,
        },
        status => Tried::Failed {
            reason: told.unwrap_or_else(|| format!("{status}: {}", text.trim())),
            delay,
        },
    }
}

/// How long to wait before the next try, as an answer asks for: in milliseconds, or in seconds
/// by the header that all know.
fn delay(head: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| -> Option<u64> { head.get(name)?.to_str().ok()?.parse().ok() };
    let ms = number(names::RETRY_MS);
    let ms = ms.or_else(|| number(RETRY_AFTER.as_str())?.checked_mul(1000));
    ms.map(|ms| Duration::from_millis(ms).min(DELAY_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(status: u16, pairs: &[(&'static str, &'static str)], text: &str) -> Tried {
        let mut head = HeaderMap::new();
        for (name, value) in pairs {
            head.insert(*name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let text = text.to_owned();
        of_answer(&Answer { status, head, text }, &Consumer::group("t", "g"))
    }

    #[test]
    fn success_is_any_status_that_says_so_and_a_failure_has_its_reason() {
        for status in [200, 201, 202, 204, 299] {
            assert!(matches!(tried(status, &[], ""), Tried::Done), "{status}");
        }
        let failed = |status, pairs, text| match tried(status, pairs, text) {
            Tried::Failed { reason, delay } => (reason, delay),
            _ => panic!("{status} is a failure"),
        };
        let second = Some(Duration::from_secs(1));
        let (reason, delay) = failed(500, &[("retry-after", "1")], " no database\n");
        assert_eq!(
            (&*reason, delay),
            ("500 Internal Server Error: no database", second)
        );
        let own = [("nitro-reason", "no%20paper"), ("nitro-retry-ms", "7")];
        let (reason, delay) = failed(500, &own, "");
        assert_eq!(
            (&*reason, delay),
            ("no paper", Some(Duration::from_millis(7)))
        );
        let (reason, _) = failed(302, &[("location", "http://elsewhere/")], "");
        assert!(reason.contains("no redirections"), "{reason}");
        let (reason, _) = failed(504, &[], "");
        assert!(
            reason.contains("not acknowledged within 30000 ms"),
            "{reason}"
        );
        for status in [400, 401, 410, 413, 501] {
            failed(status, &[], "");
        }
    }

    #[test]
    fn not_now_is_no_failure() {
        for status in [404, 429, 503] {
            let far = [("retry-after", "99999999999")];
            let Tried::NotTaken { delay, .. } = tried(status, &far, "") else {
                panic!("{status} says not now");
            };
            assert_eq!(delay, Some(DELAY_MAX));
        }
        let returned = tried(503, &[("nitro-retry-ms", "5")], "");
        assert!(matches!(returned, Tried::Returned { delay } if delay.as_millis() == 5));
    }
}
