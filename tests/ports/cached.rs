//! A cache before a store, and streams of events over a store and a broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nitro::broker::{Broker, Consumer};
use nitro::cache::{Settings, cached};
use nitro::events::Events;
use nitro::host::Host;
use nitro::port::Call;
use nitro::store::{Condition, Request, Store};
use nitro::{Error, Kind};

use super::setting::{On, Setting, run};

/// A store that counts what reaches it, and takes a while for it.
fn counted(host: &Host) -> (Store, Arc<AtomicUsize>) {
    let (store, reads) = (Store::memory(host), Arc::new(AtomicUsize::new(0)));
    let (behind, counter, clock) = (store, Arc::clone(&reads), host.clock.clone());
    let slow = tower::service_fn(move |call: Call<Request>| {
        let (behind, clock) = (behind.clone(), clock.clone());
        if matches!(call.request, Request::Read { .. }) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        async move {
            clock.sleep(Duration::from_millis(10)).await;
            behind.ask(call.request).await
        }
    });
    (Store::new(slow), reads)
}

const TTL: Duration = Duration::from_secs(5);

#[test]
fn many_who_read_one_key_ask_the_store_once_until_its_time_is_over() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (store, reads) = counted(host);
        let table = cached(host, &store, Settings::default()).table("d", "t");
        store.table("d", "t").write("a", "1").await.unwrap();
        let read = || async { table.read("a").await.unwrap().unwrap().value };
        let all = futures_util::future::join_all((0..20).map(|_| read())).await;
        assert!(all.iter().all(|value| &**value == b"1"));
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        // That there is nothing is remembered as well.
        for _ in 0..3 {
            assert_eq!(table.read("b").await.unwrap(), None);
        }
        assert_eq!(reads.load(Ordering::SeqCst), 2);
        // Others' writes are seen when the time is over.
        store.table("d", "t").write("a", "2").await.unwrap();
        assert_eq!(&*read().await, b"1");
        host.clock.sleep(TTL).await;
        assert_eq!(&*read().await, b"2");
    });
}

#[test]
fn a_commit_through_the_cache_is_seen_at_once_even_by_who_was_reading() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (store, _) = counted(host);
        let table = cached(host, &store, Settings::default()).table("d", "t");
        table.write("a", "1").await.unwrap();
        for n in 2..10 {
            let reading = table.read("a");
            let writing = async {
                host.clock.sleep(Duration::from_millis(n % 4 * 5)).await;
                table.write("a", n.to_string()).await.unwrap();
            };
            let _ = futures_util::future::join(reading, writing).await;
            let read = table.read("a").await.unwrap().unwrap();
            assert_eq!(&*read.value, n.to_string().as_bytes());
        }
        table.delete("a").await.unwrap();
        assert_eq!(table.read("a").await.unwrap(), None);
        let short = Duration::from_millis(500);
        table
            .write_for(short, "c", "x", Condition::Always)
            .await
            .unwrap();
        assert!(table.read("c").await.unwrap().is_some());
        host.clock.sleep(short).await;
        assert_eq!(table.read("c").await.unwrap(), None);
    });
}

#[test]
fn a_cache_holds_no_more_than_it_may() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (store, reads) = counted(host);
        let settings = Settings {
            entries_max: 2,
            bytes_max: 1_000,
            ..Settings::default()
        };
        let table = cached(host, &store, settings).table("d", "t");
        for key in ["a", "b", "c"] {
            table.write(key, vec![1; 400]).await.unwrap();
            table.read(key).await.unwrap();
        }
        reads.store(0, Ordering::SeqCst);
        table.read("c").await.unwrap();
        table.read("b").await.unwrap();
        assert_eq!(reads.load(Ordering::SeqCst), 0);
        table.read("a").await.unwrap();
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        table.write("large", vec![1; 2_000]).await.unwrap();
        for _ in 0..2 {
            table.read("large").await.unwrap();
        }
        assert_eq!(reads.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn a_failed_read_is_told_to_who_asked_and_not_remembered() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let is_away = Arc::new(AtomicUsize::new(1));
        let (behind, away) = (Store::memory(host), Arc::clone(&is_away));
        let fickle = tower::service_fn(move |call: Call<Request>| {
            let (behind, away) = (behind.clone(), away.load(Ordering::SeqCst) == 1);
            async move {
                match away {
                    true => Err(Error::unavailable("away")),
                    false => behind.ask(call.request).await,
                }
            }
        });
        let table = cached(host, &Store::new(fickle), Settings::default()).table("d", "t");
        assert_eq!(table.read("a").await.unwrap_err().kind(), Kind::Unavailable);
        is_away.store(0, Ordering::SeqCst);
        assert_eq!(table.read("a").await.unwrap(), None);
    });
}

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
        let more = host.clock.timeout(TTL, told.next()).await;
        assert!(more.is_err());
        for stream in ["", "a.b", "a/b", ">"] {
            let error = events.append(stream, "x").await.unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
        }
    });
}
