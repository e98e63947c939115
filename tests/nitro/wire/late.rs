//! Calls that become late while the server works on those before them.

use std::sync::atomic::AtomicU64;

use nitro::Router;
use nitro::host::{Clock, Timer};
use nitro::time::{Instant, WallTime};

use super::*;

/// A CALL says how much of its time remains.
const DEADLINE: u8 = 8;
const REMAINS: Duration = Duration::from_millis(50);
const WORK: Method<Bytes, Bytes> = Method::unary("raw/work");

/// A clock that a handler moves on, as work without an await does.
struct Worked {
    clock: Arc<dyn Clock>,
    worked: AtomicU64,
}

impl Worked {
    fn work(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.worked.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for Worked {
    fn now(&self) -> Instant {
        self.clock.now() + Duration::from_nanos(self.worked.load(Ordering::SeqCst))
    }

    fn wall(&self) -> WallTime {
        self.clock.wall()
    }

    fn timer(&self, at: Instant) -> Box<dyn Timer> {
        self.clock.timer(at)
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_become_late_behind_the_work_of_others_is_refused_and_never_begun() {
    let machine = Machine::new();
    let own = machine.host("server");
    let clock = Arc::new(Worked {
        clock: Arc::clone(&own.clock),
        worked: AtomicU64::new(0),
    });
    let host = Host {
        clock: clock.clone(),
        ..own
    };
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let router = Router::new().unary(&WORK, Raw, move |_: Call, bytes: Bytes| {
        counted.fetch_add(1, Ordering::SeqCst);
        clock.work(REMAINS + Duration::from_millis(10));
        async { Ok(bytes) }
    });
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let service = stack(&host, &ServerSettings::default(), router);
    let server = Server::new(&host, &transport, service);
    let serving = server.listen(&AT.parse().unwrap()).await.unwrap();

    let network = machine.host("peer").network;
    let mut peer = Peer::new(network.connect(serving.address()).await.unwrap());
    let remains = u64::try_from(REMAINS.as_micros()).unwrap().to_be_bytes();
    let [mut first, again] = [
        call_payload(0, b"raw/work", &remains, &[0, 0]),
        [&[0, 0][..], &remains, &[0, 0]].concat(),
    ];
    first.extend(b"one");
    let flags = MESSAGE | IS_END | DEADLINE;
    let mut calls = [opening(), frame(CALL, flags | NAMED, FIRST, &first)].concat();
    for stream in 1..10 {
        let again = [&again[..], b"more"].concat();
        calls.extend(frame(CALL, flags, FIRST + stream, &again));
    }
    peer.send(&calls).await;

    assert_eq!(peer.next_of(REPLY).await.stream, FIRST);
    for stream in 1..10 {
        let refused = peer.next_of(END).await;
        assert_eq!(refused.stream, FIRST + stream);
        assert!(
            refused.status().contains("the deadline had passed"),
            "{refused:?}"
        );
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}
