//! What every engine records alike: a message is sent, then read, once and by its receiver.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nitro::address::Address;
use nitro::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::turmoil::tests::echoes;
use super::{NAMES, Outcome, by_name};
use crate::builtin::echo;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::system::{Node, System, Systems};
use crate::trace::{EventKind, MessageOutcome, Trace};

const DATAGRAMS: &str = r#"
name = "pairs"
system = "test"
duration_s = 4
[nodes]
server = 2
client = 1
[network]
latency_ms = 2
[[fault]]
kind = "hold"
between = [["server-1"], ["client"]]
at_s = 1
for_s = 1
[[fault]]
kind = "partition"
groups = [["server-2"], ["client"]]
at_s = 1
for_s = 1
"#;

fn runs(text: &str, system: &System) -> Vec<(&'static str, Outcome)> {
    let systems = Systems::new([system.clone()]);
    let scenario = Scenario::parse("test.toml", text, &systems.catalogue()).unwrap();
    let plan = Plan::new(&scenario, 7).unwrap();
    let run = |name| (name, by_name(name).unwrap().run(&plan, system));
    NAMES.into_iter().map(run).collect()
}

/// How many messages there were and how many were read, of a trace that pairs them as it must.
fn pairs(engine: &str, trace: &Trace) -> (usize, usize) {
    let events = trace.events();
    let mut read = BTreeSet::new();
    for (place, event) in events.iter().enumerate() {
        let EventKind::Received { message } = event.kind else {
            continue;
        };
        assert!(read.insert(message), "{engine}: {message} is read twice");
        let sent = &events[message as usize];
        let EventKind::Message { to, outcome, .. } = &sent.kind else {
            panic!("{engine}: {message} is no message");
        };
        assert!((message as usize) < place && sent.at_us <= event.at_us);
        assert_eq!(event.node.as_deref(), Some(&**to), "{engine}");
        assert_ne!(*outcome, MessageOutcome::Dropped, "{engine}");
    }
    let is_message = |event: &&crate::trace::Event| matches!(event.kind, EventKind::Message { .. });
    (events.iter().filter(is_message).count(), read.len())
}

#[test]
fn what_is_read_from_a_stream_was_sent_to_its_reader() {
    for (engine, outcome) in runs(&echoes(4, 2), &echo::system()) {
        let (sent, read) = pairs(engine, &outcome.trace);
        // Some is on its way to a node when that crashes.
        assert!(sent > 200 && read < sent, "{engine}: {read} of {sent}");
        assert!(read * 10 > sent * 9, "{engine}: {read} of {sent}");
    }
}

#[test]
fn a_message_is_received_when_something_of_it_is_read_and_not_before() {
    const PORT: u16 = 7000;
    let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
    let system = System::new("test")
        .role("server", move |node: Node| async move {
            let host = node.host();
            let any = Address::tcp("0.0.0.0", PORT);
            let mut listener = host.network.listen(&any).await?;
            let accepting = poll_fn(|context| listener.poll_accept(context));
            let (mut stream, _) = accepting.await?;
            for (ms, count) in [(1_000, 3), (2_000, 2), (3_000, 3)] {
                host.clock.sleep_until(at(ms)).await;
                stream.read_exact(&mut vec![0; count]).await?;
            }
            std::future::pending().await
        })
        .role("client", move |node: Node| async move {
            let host = node.host();
            host.clock.sleep_until(at(100)).await;
            let to = Address::tcp("server-1", PORT);
            let mut stream = host.network.connect(&to).await?;
            for ms in [200, 300] {
                host.clock.sleep_until(at(ms)).await;
                stream.write_all(b"four").await?;
            }
            std::future::pending().await
        });
    let text = "name = \"pairs\"\nsystem = \"test\"\nduration_s = 4\n\
                [nodes]\nserver = 1\nclient = 1\n[network]\nlatency_ms = 2\n";
    for (engine, outcome) in runs(text, &system) {
        let events = outcome.trace.events();
        let read = events.iter().filter_map(|event| match event.kind {
            EventKind::Received { message } => {
                let sent = &events[message as usize];
                Some([sent.at_us / 10_000, event.at_us / 10_000])
            }
            _ => None,
        });
        let read: Vec<[u64; 2]> = read.collect();
        // The second read takes the last byte of the first message and one of the second.
        assert_eq!(read, [[20, 100], [30, 200]], "{engine}");
    }
}

#[test]
fn what_is_read_from_a_socket_for_datagrams_was_sent_to_its_reader() {
    const PORT: u16 = 5353;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let system = System::new("test")
        .role("server", move |node: Node| async move {
            let socket = node.host().network.datagram(any).await?;
            loop {
                socket.receive(&mut [0; 64]).await?;
            }
        })
        .role("client", move |node: Node| async move {
            let host = node.host();
            let socket = host.network.datagram(any).await?;
            for number in 0..30 {
                let at = Duration::from_millis(50 + 100 * number);
                host.clock.sleep_until(Instant::ORIGIN + at).await;
                for server in node.peers("server") {
                    let server = host.network.lookup(server).await?[0];
                    socket.send(b"ping", SocketAddr::new(server, PORT)).await?;
                }
            }
            std::future::pending().await
        });
    for (engine, outcome) in runs(DATAGRAMS, &system) {
        // The ten of the partition are gone; those of the hold come late.
        assert_eq!(pairs(engine, &outcome.trace), (60, 50), "{engine}");
    }
}
