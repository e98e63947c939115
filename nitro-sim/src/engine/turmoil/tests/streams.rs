//! What a stream does when its link or its peer fails.

use std::io::ErrorKind;
use std::time::Duration;

use nitro::address::Address;
use nitro::host::Stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CRASH, duo, ms, noted, outcome};
use crate::system::{Node, System};
use crate::trace::{EventKind, MessageOutcome, Trace};

const PORT: u16 = 80;

/// A server that notes what it reads and how each stream ends, and a client that is given.
fn listening<F, R>(client: F) -> System
where
    F: Fn(Node) -> R + Send + Sync + 'static,
    R: Future<Output = nitro::Result<()>> + Send + 'static,
{
    System::new("test")
        .role("client", client)
        .role("server", |node: Node| async move {
            let any = Address::tcp("0.0.0.0", PORT);
            let mut listener = node.host().network.listen(&any).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                let reading = read(node.clone(), stream);
                drop(node.host().tasks.spawn("read", Box::pin(reading)));
            }
        })
}

async fn read(node: Node, mut stream: Box<dyn Stream>) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => {
                node.note("end", true);
                // The answer to a half-closed stream.
                let _ = stream.write_all(b"bye").await;
                return;
            }
            Ok(length) => node.note("read", length),
            Err(error) => return node.note("broke", error.kind().to_string()),
        }
    }
}

async fn connect(node: &Node) -> std::io::Result<Box<dyn Stream>> {
    let server = Address::tcp("server-1", PORT);
    node.host().network.connect(&server).await
}

fn fault(kind: &str, rest: &str) -> String {
    format!("[[fault]]\nkind = \"{kind}\"\n{rest}\n")
}

fn partition(from_s: u32, for_s: u32) -> String {
    let rest = format!("groups = [[\"server\"], [\"client\"]]\nat_s = {from_s}\nfor_s = {for_s}");
    fault("partition", &rest)
}

fn kinds(trace: &Trace, name: &str) -> Vec<(u64, String)> {
    let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let notes = noted(trace, name).into_iter();
    notes.map(|(at, value)| (at, text(value))).collect()
}

#[test]
fn a_partition_is_silence_and_when_it_heals_the_bytes_flow() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        node.host().clock.sleep_until(ms(2_500)).await;
        stream.write_all(b"hello").await?;
        std::future::pending().await
    });
    let trace = outcome(&duo(10, &partition(2, 2)), &system).trace;
    let read = noted(&trace, "read");
    assert_eq!(read.len(), 1);
    assert!((4_000..4_010).contains(&read[0].0), "{read:?}");
    assert_eq!(trace.touches().collect::<Vec<_>>(), [("fault-1", 1)]);
}

#[test]
fn a_stream_with_bytes_to_send_times_out_after_a_minute_of_silence() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        node.host().clock.sleep_until(ms(3_000)).await;
        stream.write_all(b"hello").await?;
        let error = stream.read_u8().await.unwrap_err();
        node.note("failed", error.kind().to_string());
        let error = stream.write_all(b"more").await.unwrap_err();
        node.note("failed", error.kind().to_string());
        std::future::pending().await
    });
    let trace = outcome(&duo(80, &partition(2, 75)), &system).trace;
    let timed_out = ErrorKind::TimedOut.to_string();
    let failed = kinds(&trace, "failed");
    assert_eq!(failed.len(), 2);
    for (at, error) in failed {
        // The silence may begin when the bytes would have arrived.
        assert!((63_000..=63_002).contains(&at), "{at}");
        assert_eq!(error, timed_out);
    }
    assert!(noted(&trace, "end").is_empty());
}

#[test]
fn in_a_partition_a_writer_waits_once_the_buffer_is_full() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        node.host().clock.sleep_until(ms(2_500)).await;
        for _ in 0..200 {
            stream.write_all(&[0; 1024]).await?;
            node.note("wrote", true);
        }
        Ok(())
    });
    let trace = outcome(&duo(10, &partition(2, 2)), &system).trace;
    let wrote = noted(&trace, "wrote");
    let before_heal = wrote.iter().filter(|(at, _)| *at < 4_000).count();
    assert_eq!((before_heal, wrote.len()), (64, 200));
}

#[test]
fn opening_a_stream_in_a_partition_times_out_and_touches_it() {
    let system = listening(|node| async move {
        node.host().clock.sleep_until(ms(3_000)).await;
        let error = connect(&node).await.err().unwrap();
        node.note("failed", error.kind().to_string());
        std::future::pending().await
    });
    let trace = outcome(&duo(40, &partition(2, 30)), &system).trace;
    let timed_out = ErrorKind::TimedOut.to_string();
    assert_eq!(kinds(&trace, "failed"), [(23_000, timed_out)]);
    assert_eq!(trace.touches().collect::<Vec<_>>(), [("fault-1", 1)]);
}

#[test]
fn one_way_silence_stops_the_handshake_but_not_what_flows_the_other_way() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        node.host().clock.sleep_until(ms(3_000)).await;
        stream.write_all(b"heard").await?;
        let opened = node
            .host()
            .clock
            .timeout(Duration::from_secs(1), connect(&node))
            .await;
        node.note("opened", opened.is_ok());
        std::future::pending().await
    });
    let rest = "from = [\"server\"]\nto = [\"client\"]\nat_s = 2\nfor_s = 5";
    let trace = outcome(&duo(10, &fault("partition_one_way", rest)), &system).trace;
    assert_eq!(noted(&trace, "read")[0].0, 3_002);
    assert_eq!(noted(&trace, "opened")[0].1, Value::from(false));
}

#[test]
fn nobody_listening_on_a_living_node_is_refused_after_a_round_trip() {
    let system = System::new("test")
        .role("server", |_| std::future::pending())
        .role("client", |node: Node| async move {
            node.host().clock.sleep_until(ms(1_000)).await;
            let error = connect(&node).await.err().unwrap();
            node.note("failed", error.kind().to_string());
            std::future::pending().await
        });
    let trace = outcome(&duo(3, ""), &system).trace;
    let failed = kinds(&trace, "failed");
    assert_eq!(failed[0].1, ErrorKind::ConnectionRefused.to_string());
    assert!((1_002..1_006).contains(&failed[0].0), "{failed:?}");
}

#[test]
fn a_stopped_role_closes_its_streams_and_refuses_new_ones() {
    let system = System::new("test")
        .role("server", |node: Node| async move {
            let any = Address::tcp("0.0.0.0", PORT);
            let mut listener = node.host().network.listen(&any).await?;
            let (_stream, _) = listener.accept().await?;
            node.host().clock.sleep_until(ms(2_000)).await;
            Ok(())
        })
        .role("client", |node: Node| async move {
            let mut stream = connect(&node).await?;
            node.note("end", stream.read(&mut [0]).await?);
            let error = connect(&node).await.err().unwrap();
            node.note("failed", error.kind().to_string());
            std::future::pending().await
        });
    let trace = outcome(&duo(5, ""), &system).trace;
    let end = noted(&trace, "end");
    assert!((2_000..2_010).contains(&end[0].0), "{end:?}");
    let refused = ErrorKind::ConnectionRefused.to_string();
    assert_eq!(kinds(&trace, "failed")[0].1, refused);
}

#[test]
fn a_crash_is_silence_until_the_peer_is_back_and_then_a_reset() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        node.host().clock.sleep_until(ms(2_500)).await;
        stream.write_all(b"hello").await?;
        let error = stream.read_u8().await.unwrap_err();
        node.note("failed", error.kind().to_string());
        std::future::pending().await
    });
    let trace = outcome(&duo(6, CRASH), &system).trace;
    let failed = kinds(&trace, "failed");
    assert_eq!(failed[0].1, ErrorKind::ConnectionReset.to_string());
    assert!((3_000..3_010).contains(&failed[0].0), "{failed:?}");
}

#[test]
fn who_only_reads_hears_nothing_of_a_crash_until_it_writes() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        let waited = node
            .host()
            .clock
            .timeout_at(ms(5_000), stream.read_u8())
            .await;
        node.note("heard", waited.is_ok());
        stream.write_all(b"are you there").await?;
        let error = stream.read_u8().await.unwrap_err();
        node.note("failed", error.kind().to_string());
        std::future::pending().await
    });
    let trace = outcome(&duo(6, CRASH), &system).trace;
    assert_eq!(noted(&trace, "heard"), [(5_000, Value::from(false))]);
    let failed = kinds(&trace, "failed");
    assert_eq!(failed[0].1, ErrorKind::ConnectionReset.to_string());
}

#[test]
fn opening_a_stream_to_a_crashed_node_waits_for_its_return() {
    let system = listening(|node| async move {
        node.host().clock.sleep_until(ms(2_200)).await;
        let opened = connect(&node).await;
        node.note("opened", opened.is_ok());
        std::future::pending().await
    });
    let trace = outcome(&duo(6, CRASH), &system).trace;
    let opened = noted(&trace, "opened");
    assert!((3_000..3_010).contains(&opened[0].0), "{opened:?}");
    assert_eq!(trace.touches().collect::<Vec<_>>(), [("fault-1", 2)]);
}

#[test]
fn a_half_closed_stream_still_carries_the_answer() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        stream.write_all(b"all of it").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        node.note("answer", answer);
        std::future::pending().await
    });
    let trace = outcome(&duo(2, ""), &system).trace;
    assert_eq!(kinds(&trace, "answer")[0].1, "bye");
}

#[test]
fn the_end_of_a_stream_waits_for_the_partition_to_heal() {
    let system = listening(|node| async move {
        let stream = connect(&node).await?;
        node.host().clock.sleep_until(ms(2_500)).await;
        drop(stream);
        std::future::pending().await
    });
    let trace = outcome(&duo(6, &partition(2, 2)), &system).trace;
    let end = noted(&trace, "end");
    assert!((4_000..4_010).contains(&end[0].0), "{end:?}");
}

#[test]
fn the_end_of_a_process_in_a_partition_is_not_heard_before_it_heals() {
    let system = listening(|node| async move {
        let _stream = connect(&node).await?;
        node.host().clock.sleep_until(ms(2_500)).await;
        Ok(())
    });
    let trace = outcome(&duo(6, &partition(2, 2)), &system).trace;
    let end = noted(&trace, "end");
    assert!((4_000..4_010).contains(&end[0].0), "{end:?}");
}

#[test]
fn one_percent_loss_delays_one_percent_of_writes_and_breaks_no_stream() {
    let system = listening(|node| async move {
        let mut stream = connect(&node).await?;
        for _ in 0..5_000 {
            stream.write_all(b"x").await?;
            node.host().clock.sleep(Duration::from_millis(3)).await;
        }
        std::future::pending().await
    });
    let rest = "between = [[\"server\"], [\"client\"]]\nloss = 0.01\nat_s = 0.5\nfor_s = 20";
    let trace = outcome(&duo(25, &fault("loss", rest)), &system).trace;
    let delayed = trace.events().iter().filter(|event| {
        matches!(&event.kind, EventKind::Message { outcome, .. }
            if *outcome == MessageOutcome::Delayed)
    });
    let delayed = delayed.count();
    assert!((25..80).contains(&delayed), "{delayed}");
    let bytes: u64 = noted(&trace, "read")
        .iter()
        .filter_map(|(_, n)| n.as_u64())
        .sum();
    assert_eq!(bytes, 5_000);
}
