//! What a request is answered with.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use crate::broker::{BODY_BYTES_MAX, Verdict};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::http::event::{self, names};
use crate::http::inbox::{Arrival, Outcome};
use crate::http::node::Node;

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long publishing waits for room in a group that blocks its publishers: less than most
/// clients wait for an answer.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);

type Answer = Response<Full<Bytes>>;

/// Answers a request, whatever it is.
pub(super) async fn answer(host: &Host, node: &Node, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let topic = match path.strip_prefix("/publish") {
        Some("" | "/") => Some(None),
        Some(rest) => rest.strip_prefix('/').map(Some),
        None => None,
    };
    if topic.is_none() && path != "/deliver" && path != "/forget" {
        let text = "POST to /publish/<topic>, /deliver or /forget";
        return plain(StatusCode::NOT_FOUND, text);
    }
    if head.method != Method::POST {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered");
        let allowed = HeaderValue::from_static("POST");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    if event::is_structured(&head.headers) {
        let text = "events are taken in binary mode: what is about them in headers, their data \
                    as the body";
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    }
    let answered = match topic {
        Some(topic) => publish(host, node, &head.headers, topic, body).await,
        None if path == "/deliver" => deliver(host, node, &head.headers, body).await,
        None => forget(node, &head.headers).await,
    };
    answered.unwrap_or_else(|refused| refused)
}

async fn publish(
    host: &Host,
    node: &Node,
    head: &HeaderMap,
    topic: Option<&str>,
    body: Incoming,
) -> Result<Answer, Answer> {
    let topic = topic.map(event::topic_of_path).transpose();
    let topic = topic.map_err(refused)?;
    let read = event::read_published(head, topic.as_deref(), || node.fresh_id());
    let mut message = read.map_err(refused)?;
    message.body = read_body(host, body).await?;
    let published = node.publish_one(message, PUBLISH_WAIT).await;
    published.map_err(refused)?;
    Ok(empty(StatusCode::ACCEPTED))
}

async fn deliver(
    host: &Host,
    node: &Node,
    head: &HeaderMap,
    body: Incoming,
) -> Result<Answer, Answer> {
    let (mut message, about) = event::read(head).map_err(refused)?;
    message.body = read_body(host, body).await?;
    let outcome = node.receive(Arrival { message, about }).await;
    Ok(match outcome {
        Outcome::Settled(Verdict::Done) | Outcome::Known => empty(StatusCode::NO_CONTENT),
        Outcome::Settled(Verdict::Failed { reason, delay_ms }) => {
            let mut failed = plain(StatusCode::INTERNAL_SERVER_ERROR, reason.clone());
            event::set(failed.headers_mut(), names::REASON, &reason);
            retry_after(failed, delay_ms)
        }
        Outcome::Settled(Verdict::Returned { delay_ms }) => {
            let returned = plain(StatusCode::SERVICE_UNAVAILABLE, "given back");
            retry_after(returned, delay_ms)
        }
        Outcome::NotTaken(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
        Outcome::NoSubscription => plain(StatusCode::NOT_FOUND, "nobody here subscribes so"),
        Outcome::Silence => plain(StatusCode::GATEWAY_TIMEOUT, "not acknowledged in time"),
    })
}

async fn forget(node: &Node, head: &HeaderMap) -> Result<Answer, Answer> {
    let name = event::required(head, names::SUBSCRIPTION).map_err(refused)?;
    let member = event::text(head, names::MEMBER).map_err(refused)?;
    node.forget(&name, &member.unwrap_or_default()).await;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Reads a body of a message's size in time.
async fn read_body(host: &Host, body: Incoming) -> Result<Bytes, Answer> {
    let too_large = || {
        let text = format!("a body of more than {BODY_BYTES_MAX} bytes");
        plain(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    // One that says how long it is need not be read to be refused.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let reading = Limited::new(body, BODY_BYTES_MAX).collect();
    match host.clock.timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(plain(StatusCode::BAD_REQUEST, format!("the body: {error}"))),
        Err(_) => {
            let text = format!("the body took longer than {BODY_TIMEOUT:?}");
            Err(plain(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut text = text.into();
    text.push('\n');
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn retry_after(mut answer: Answer, delay_ms: u64) -> Answer {
    event::set(answer.headers_mut(), names::RETRY_MS, &delay_ms.to_string());
    answer
}

/// An error as a status, with its text.
fn refused(error: Error) -> Answer {
    let status = match error.kind() {
        Kind::InvalidArgument | Kind::OutOfRange => StatusCode::BAD_REQUEST,
        Kind::ResourceExhausted | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut answer = plain(status, error.message());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let second = HeaderValue::from_static("1");
        answer.headers_mut().insert(RETRY_AFTER, second);
    }
    answer
}
