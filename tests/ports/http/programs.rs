//! Programs that are on many machines and know nothing of nitro: one publishes, one is a member.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nitro::Address;
use nitro::broker::{Delivery, Message};
use nitro::host::Host;
use nitro::registry::Registry;
use serde_json::Value;
use tokio::sync::oneshot;

use super::stranger::register;
use super::{On, Setting, quick, run, start};
use crate::setting::not_run;

const LONG: Duration = Duration::from_secs(20);

/// What a program says, with what it is told; none when it is not on this machine. It runs beside
/// this thread, which has to answer it.
async fn said(host: &Host, name: &'static str, arguments: &[&str], told: &str) -> Option<String> {
    let mut command = Command::new(name);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            not_run(name, &error.to_string());
            return None;
        }
    };
    let (sender, receiver) = oneshot::channel();
    let told = told.to_owned();
    let waiting = move || {
        let _ = child.stdin.take().unwrap().write_all(told.as_bytes());
        let output = child.wait_with_output().unwrap();
        let _ = sender.send(String::from_utf8(output.stdout).unwrap());
    };
    drop(host.tasks.block("wait for a program", Box::new(waiting)));
    let said = host.clock.timeout(LONG, receiver).await;
    Some(said.expect("the program ends in time").unwrap())
}

/// What curl is answered, with the status as the last line.
async fn curl(host: &Host, to: &Address, path: &str, more: &[&str], body: &str) -> Option<String> {
    let url = format!("http://{to}{path}");
    let mut arguments = vec!["-sS", "--noproxy", "*", "-w", "\n%{http_code}", &url];
    arguments.extend(more);
    said(host, "curl", &arguments, body).await
}

#[test]
fn curl_publishes_and_is_told_what_it_does_wrong() {
    run(On::Machine, async |setting: Setting| {
        let host = &setting.host;
        let node = start(host, &Registry::memory(host)).await;
        let to = node.address().clone();
        let received = node.broker().subscribe(host, quick("t.>", "g")).await;
        let mut received = received.unwrap();
        let post = ["--data-binary", "@-", "-H", "content-type: text/plain"];
        let Some(answer) = curl(host, &to, "/publish/t.a", &post, "number 7").await else {
            return;
        };
        assert_eq!(answer, "\n202");
        let delivery = next(host, &mut received).await;
        let Message {
            topic,
            body,
            content_type,
            ..
        } = delivery.message();
        assert_eq!((&**topic, &**body), ("t.a", &b"number 7"[..]));
        assert_eq!(content_type, "text/plain");
        delivery.acknowledge().await.unwrap();

        // Of this length curl asks first whether it may.
        let large = "x".repeat(2 * 1024 * 1024);
        let long = format!("x-long: {}", "y".repeat(100_000));
        let wrong: [(&str, &[&str], &str, &str); 6] = [
            ("/publish/t.a", &post, &large, "413"),
            ("/publish/t.a", &["-d", "x", "-H", &long], "", "431"),
            ("/publish/t.a", &["-X", "DELETE"], "", "405"),
            ("/publish/t.a", &[], "", "405"),
            ("/publish/a..b", &post, "x", "400"),
            ("/elsewhere", &post, "x", "404"),
        ];
        for (path, arguments, body, status) in wrong {
            let answer = curl(host, &to, path, arguments, body).await.unwrap();
            assert!(answer.ends_with(&format!("\n{status}")), "{path}: {answer}");
        }
        let structured = [
            "-d",
            "{}",
            "-H",
            "content-type: application/cloudevents+json",
        ];
        let answer = curl(host, &to, "/publish/t.a", &structured, "")
            .await
            .unwrap();
        assert!(
            answer.contains("binary mode") && answer.ends_with("415"),
            "{answer}"
        );
    });
}

async fn next(host: &Host, from: &mut nitro::broker::Subscription) -> Delivery {
    let next = host.clock.timeout(LONG, from.next()).await;
    next.expect("a message comes").unwrap()
}

/// A server of a few lines: it says its port, then each event on a line; it fails at the first
/// attempt and takes the second.
const MEMBER: &str = r#"
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Member(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        event = {name.lower(): value for name, value in self.headers.items()}
        print(json.dumps(event | {"body": body, "path": self.path}), flush=True)
        self.send_response(500 if event["nitro-attempt"] == "1" else 204)
        self.end_headers()

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Member)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A publisher of a few lines, with nothing but what comes with the language.
const PUBLISHER: &str = r#"
import sys, urllib.request
head = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "t",
        "content-type": "application/json"}
for _ in range(2):
    request = urllib.request.Request(sys.argv[1], b'{"total": 7}', head)
    print(urllib.request.urlopen(request, timeout=10).status)
"#;

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn python_publishes_an_event_and_is_a_member_that_gets_it() {
    run(On::Machine, async |setting: Setting| {
        let host = &setting.host;
        let mut command = Command::new("python3");
        let command = command.args(["-c", MEMBER]).stdout(Stdio::piped());
        let mut member = match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => return not_run("python3", &error.to_string()),
        };
        let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let output = BufReader::new(member.0.stdout.take().unwrap());
        let reading = move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        };
        drop(host.tasks.block("read a program", Box::new(reading)));
        let port = host.clock.timeout(LONG, lines.recv()).await.unwrap();
        let address = Address::tcp("127.0.0.1", port.unwrap().parse().unwrap());

        let registry = Registry::memory(host);
        let node = start(host, &registry).await;
        let _listed = register(host, &registry, "python", &address, &[]).await;
        node.knows("g").await;
        let url = format!("http://{}/publish", node.address());
        let published = said(host, "python3", &["-c", PUBLISHER, &url], "").await;
        assert_eq!(published.unwrap(), "202\n202\n");

        // Published twice it is one, and comes again because it failed.
        for attempt in ["1", "2"] {
            let line = host.clock.timeout(LONG, lines.recv()).await.unwrap();
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            for (name, expected) in [
                ("nitro-attempt", attempt),
                ("ce-specversion", "1.0"),
                ("ce-id", "/shop#1"),
                ("ce-type", "t"),
                ("content-type", "application/json"),
                ("body", "{\"total\": 7}"),
            ] {
                assert_eq!(event[name], expected, "{name} of {event}");
            }
        }
        let more = host.clock.timeout(Duration::from_millis(500), lines.recv());
        assert!(more.await.is_err(), "it was taken");
        drop(member);
    });
}
