//! Streams of events over a store and a broker.

use std::time::Duration;

use nitro::broker::{Broker, Consumer};
use nitro::events::Events;
use nitro::port::Call;
use nitro::store::Store;
use nitro::{Error, Kind};

use super::setting::{On, Setting, run};

#[test]
fn events_are_kept_in_order_and_told_once_even_after_an_outage() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (store, broker) = (Store::memory(host), Broker::memory(host));
        let consumer = Consumer::group(Events::topic("orders"), "mails");
        let mut told = broker.subscribe(host, consumer).await.unwrap();
        let events = Events::new(host, &store, &broker);
        assert_eq!(events.append("orders", "one").await.unwrap(), 1);

        let away = tower::service_fn(async |_: Call<nitro::broker::Request>| {
            Err::<nitro::broker::Reply, _>(Error::unavailable("away"))
        });
        let cut_off = Events::new(host, &store, &Broker::new(away));
        let error = cut_off.append("orders", "two").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        // Many at once get in each other's way, and lose nothing.
        let append = |n: u64| events.append("orders", n.to_string());
        let appended = futures_util::future::join_all((3..8).map(append)).await;
        let mut numbers: Vec<u64> = appended.into_iter().map(Result::unwrap).collect();
        numbers.sort();
        assert_eq!(numbers, [3, 4, 5, 6, 7]);

        let read = events.read("orders", 0).await.unwrap();
        assert_eq!(read.len(), 7);
        assert_eq!((read[1].number, &*read[1].data), (2, &b"two"[..]));
        assert_eq!(events.read("orders", 5).await.unwrap().len(), 2);
        for event in &read {
            let delivery = told.next().await.unwrap();
            assert_eq!(delivery.message().body, event.data);
            delivery.acknowledge().await.unwrap();
        }
        let more = host
            .clock
            .timeout(Duration::from_secs(5), told.next())
            .await;
        assert!(more.is_err());
        for stream in ["", "a.b", "a/b", ">"] {
            let error = events.append(stream, "x").await.unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
        }
    });
}
