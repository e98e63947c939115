//! What a datagram does when its link fails.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{duo, ms, noted, outcome};
use crate::system::{Node, System};

const PORT: u16 = 5353;
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));

fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))
}

/// A client that sends a datagram every 100 ms, and servers that note what they receive.
fn sending(to_group: bool) -> System {
    System::new("test")
        .role("server", |node: Node| async move {
            let socket = node.host().network.datagram(any()).await?;
            socket.join(GROUP)?;
            let mut buffer = [0; 64];
            loop {
                let (length, _) = socket.receive(&mut buffer).await?;
                node.note(format!("at {}", node.name()), buffer[..length].to_vec());
            }
        })
        .role("client", move |node: Node| async move {
            let network = &node.host().network;
            let socket = network.datagram(any()).await?;
            let server = network.lookup("server-1").await?[0];
            let to = SocketAddr::new(if to_group { GROUP } else { server }, PORT);
            for number in 0..50u8 {
                node.host()
                    .clock
                    .sleep_until(ms(50 + 100 * u64::from(number)))
                    .await;
                socket.send(&[number], to).await?;
            }
            std::future::pending().await
        })
}

fn fault(kind: &str) -> String {
    let links = match kind {
        "partition" => "groups",
        _ => "between",
    };
    format!(
        "[[fault]]\nkind = \"{kind}\"\n{links} = [[\"server-1\"], [\"client\"]]\n\
         at_s = 1\nfor_s = 2\n"
    )
}

#[test]
fn a_partition_loses_datagrams() {
    let trace = outcome(&duo(6, &fault("partition")), &sending(false)).trace;
    let received = noted(&trace, "at server-1");
    assert_eq!(received.len(), 30);
    assert!(received.iter().all(|(at, _)| !(1_000..3_000).contains(at)));
    assert_eq!(trace.touches().collect::<Vec<_>>(), [("fault-1", 20)]);
}

#[test]
fn held_datagrams_arrive_in_order_when_they_are_released() {
    let trace = outcome(&duo(6, &fault("hold")), &sending(false)).trace;
    let received = noted(&trace, "at server-1");
    let numbers: Vec<u64> = received
        .iter()
        .filter_map(|(_, value)| value[0].as_u64())
        .collect();
    assert_eq!(numbers, (0..50).collect::<Vec<u64>>());
    let at_once = received
        .iter()
        .filter(|(at, _)| (3_000..3_005).contains(at));
    assert_eq!(at_once.count(), 20);
}

#[test]
fn a_datagram_to_a_group_reaches_those_that_are_not_cut_off() {
    let text = duo(6, &fault("partition")).replace("server = 1", "server = 2");
    let trace = outcome(&text, &sending(true)).trace;
    assert_eq!(noted(&trace, "at server-1").len(), 30);
    assert_eq!(noted(&trace, "at server-2").len(), 50);
}

#[test]
fn too_long_a_datagram_is_an_error_and_one_to_nobody_is_not() {
    let system = System::new("test")
        .role("server", |_| std::future::pending())
        .role("client", |node: Node| async move {
            let socket = node.host().network.datagram(any()).await?;
            let nobody = SocketAddr::from((Ipv4Addr::new(192, 168, 9, 9), PORT));
            socket.send(b"anybody", nobody).await?;
            let error = socket.send(&[0; 70_000], nobody).await.unwrap_err();
            node.note("failed", error.kind().to_string());
            node.host().clock.sleep(Duration::from_millis(1)).await;
            Ok(())
        });
    let trace = outcome(&duo(1, ""), &system).trace;
    assert_eq!(noted(&trace, "failed").len(), 1);
}
