//! A service that knows nothing of nitro, as it is: hyper's HTTP/2 behind tower's timeout, on
//! tokio's clock and tasks. The simulator gives it streams, and all else is of the seed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::lock::Mutex;
use nitro::error::{Error, Result};
use nitro::{Address, host};
use nitro_sim::trace::{EventKind, OperationOutcome};
use nitro_sim::{Node, Operation, System, Trace};
use serde_json::Value;

/// The service and its client, as they stand in any program.
#[expect(
    clippy::disallowed_methods,
    reason = "that code which uses tokio directly runs as it is, is what is shown"
)]
mod squares {
    use std::time::Duration;

    use http_body_util::{BodyExt, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::client::conn::http2::SendRequest;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    use hyper_util::service::TowerToHyperService;
    use tokio::io::{AsyncRead, AsyncWrite};
    use tower::{BoxError, ServiceBuilder};

    /// How long the service thinks at most before tower's timeout answers for it.
    const PATIENCE: Duration = Duration::from_millis(100);

    pub(crate) type Client = SendRequest<Full<Bytes>>;

    /// Whether the service takes longer over a number than anybody waits.
    pub(crate) fn is_hard(number: u64) -> bool {
        number.is_multiple_of(10)
    }

    async fn square(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
        let body = request.into_body().collect().await?.to_bytes();
        let number: u64 = std::str::from_utf8(&body)?.parse()?;
        let thinking = if is_hard(number) { 60_000 } else { 5 };
        tokio::time::sleep(Duration::from_millis(thinking)).await;
        let square = number.wrapping_mul(number).to_string();
        Ok(Response::new(Full::from(square)))
    }

    /// What went wrong, as a response.
    fn answered(
        result: Result<Response<Full<Bytes>>, BoxError>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        Ok(result.unwrap_or_else(|error| {
            let mut response = Response::new(Full::from(error.to_string()));
            *response.status_mut() = match error.is::<tower::timeout::error::Elapsed>() {
                true => StatusCode::GATEWAY_TIMEOUT,
                false => StatusCode::BAD_REQUEST,
            };
            response
        }))
    }

    /// Serves one connection.
    pub(crate) async fn serve<S>(stream: S) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = ServiceBuilder::new()
            .map_result(answered)
            .timeout(PATIENCE)
            .service_fn(square);
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .await
    }

    /// Opens a connection, which a task of tokio's drives.
    pub(crate) async fn connect<S>(stream: S) -> hyper::Result<Client>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (client, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Asks for a square: the status and what is said.
    pub(crate) async fn ask(
        client: &mut Client,
        number: u64,
    ) -> Result<(StatusCode, String), BoxError> {
        let request = Request::post("http://squares/").body(Full::from(number.to_string()))?;
        let response = client.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec())?))
    }
}

const PORT: u16 = 8080;

async fn server(node: Node) -> Result<()> {
    let address = Address::tcp("0.0.0.0", PORT);
    let mut listener = node.host().network.listen(&address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let serving = async move {
            // A connection that breaks is the client's to notice.
            let _ = squares::serve(stream).await;
        };
        drop(node.host().tasks.spawn("connection", Box::pin(serving)));
    }
}

type Slot = Arc<Mutex<Option<squares::Client>>>;

async fn client(node: Node) -> Result<()> {
    let (host, slot) = (node.host().clone(), Slot::default());
    node.workload(move |operation| {
        let (host, slot) = (host.clone(), Arc::clone(&slot));
        async move {
            let asking = ask(&host, &slot, &operation);
            let asked = host.clock.timeout_at(operation.deadline, asking).await;
            if asked.is_err() {
                // Whatever it waits for, the next one tries a connection of its own.
                slot.lock().await.take();
            }
            asked.unwrap_or_else(|_| Err(Error::deadline_exceeded("nobody answered in time")))
        }
    })
    .await
}

async fn ask(host: &host::Host, slot: &Slot, operation: &Operation) -> Result<Value> {
    let open = slot.lock().await.clone().filter(|open| !open.is_closed());
    let mut client = match open {
        Some(client) => client,
        None => {
            let stream = host
                .network
                .connect(&Address::tcp("server-1", PORT))
                .await?;
            let client = squares::connect(stream).await;
            let client = client.map_err(|error| Error::unavailable(error.to_string()))?;
            slot.lock().await.insert(client).clone()
        }
    };
    let asked = squares::ask(&mut client, operation.value).await;
    let (status, said) = asked.map_err(|error| Error::unavailable(error.to_string()))?;
    match status.as_u16() {
        200 | 504 => Ok(Value::from(said)),
        _ => Err(Error::internal(said)),
    }
}

/// What is answered is right, and where the service thinks too long tower's timeout answers.
fn answers_are_right(trace: &Trace) -> Vec<String> {
    let mut expected = BTreeMap::new();
    let mut wrong = Vec::new();
    for event in trace.events() {
        match &event.kind {
            EventKind::Call {
                operation, value, ..
            } => {
                let answer = match squares::is_hard(*value) {
                    true => "request timed out".to_owned(),
                    false => value.wrapping_mul(*value).to_string(),
                };
                expected.insert(*operation, Value::from(answer));
            }
            EventKind::Outcome {
                operation,
                outcome: OperationOutcome::Ok { reply },
            } if expected.get(operation) != Some(reply) => {
                wrong.push(format!("operation {operation} was answered {reply}"));
            }
            _ => {}
        }
    }
    wrong
}

fn system() -> System {
    System::new("squares")
        .operation("square")
        .role("server", server)
        .role("client", client)
        .invariant("every answer is right", answers_are_right)
}

fn main() -> ExitCode {
    nitro_sim::main(|| vec![system()])
}

#[test]
fn hyper_and_tower_survive_a_partition_as_they_are() {
    nitro_sim::assert_passes("nitro-sim/examples/http2.toml", 7, || vec![system()]);
}
