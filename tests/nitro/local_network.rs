//! Processes of this machine that find each other with no configuration, as a user would have them:
//! this test program, started anew, is the other one.

#![expect(
    clippy::print_stdout,
    reason = "one process tells the other, and whoever reads is told what was not run"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nitro::codec::Json;
use nitro::rpc::Call;
use nitro::{Address, App, Fabric, Kind, Method, Router};

const HELLO: Method<String, String> = Method::unary("hello/hello").idempotent();

/// What the other process is to be called, in its environment.
const SERVICE: &str = "NITRO_TEST_SERVICE";

/// What the other process prints before its address.
const READY: &str = "listens at ";

/// How long the other may take to be found, and to be seen to go: far longer than it does.
const SOON: Duration = Duration::from_secs(60);

/// The fabric of the local network, or why there is none here.
fn fabric() -> Option<Fabric> {
    let fabric = Fabric::local_network();
    if let Err(error) = &fabric {
        println!("not run: processes that find each other: {error}");
    }
    fabric.ok()
}

struct Other {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Other {
    fn start(service: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "local_network::is_the_other_process",
            "--nocapture",
        ]);
        let command = command.env(SERVICE, service).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out }
    }

    /// Its address, once it listens.
    fn address(&mut self) -> Address {
        let mut lines = self.out.by_ref().lines();
        let line = lines.find_map(|line| line.unwrap().split_once(READY).map(|l| l.1.to_owned()));
        line.expect("it says where it listens").parse().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // One that has ended already is none the worse.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Does nothing, unless another test has started this program to be the other process.
#[tokio::test]
async fn is_the_other_process() {
    let Ok(service) = std::env::var(SERVICE) else {
        return;
    };
    let fabric = Fabric::local_network().unwrap();
    let hello = |_: Call, name: String| async move { Ok(format!("hello, {name}")) };
    let router = Router::new().unary(&HELLO, Json, hello);
    let app = App::new(&fabric, service).router(router).start().await;
    let app = app.unwrap();
    println!("\n{READY}{}", app.node().address);
    std::future::pending().await
}

/// Waits until so many nodes of a service are listed.
async fn listed(fabric: &Fabric, service: &str, count: usize) {
    let registry = fabric.registry();
    let within = async {
        loop {
            let listed = registry.list(Some(service)).await.unwrap();
            if listed.nodes.len() == count {
                return;
            }
            let asked = registry.watch(Some(service), listed.revision, Duration::from_secs(1));
            asked.await.unwrap();
        }
    };
    fabric.host().clock.timeout(SOON, within).await.unwrap();
}

#[tokio::test]
async fn a_client_finds_the_service_of_another_process_and_names_no_registry() {
    let Some(fabric) = fabric() else { return };
    let service = format!("hello-{}", std::process::id());
    let mut other = Other::start(&service);
    let Address::Tcp { host, port } = other.address() else {
        panic!("it listens on no network");
    };
    assert!(host != "0.0.0.0" && port != 0, "{host}:{port}");
    listed(&fabric, &service, 1).await;
    let client = fabric.client(&*service, Json);
    // The client does without the fabric.
    drop(fabric);
    let answer = client.call(&HELLO, "you".to_owned()).await.unwrap();
    assert_eq!(answer, "hello, you");
}

#[tokio::test]
async fn a_service_that_nobody_has_is_told_and_nothing_hangs() {
    let Some(fabric) = fabric() else { return };
    let client = fabric.client(format!("nobody-{}", std::process::id()), Json);
    let client = client.timeout(Duration::from_secs(1));
    let asked = client.call(&HELLO, "you".to_owned());
    let answered = fabric.host().clock.timeout(SOON, asked).await;
    let error = answered.expect("it does not hang").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("no node of"), "{error}");
}
