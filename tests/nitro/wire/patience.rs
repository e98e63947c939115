//! A peer that keeps the other side waiting.
//!
//! The tick is 5 seconds, on tokio's paused clock: minutes pass at once.

use nitro::host::tokio::host;
use nitro::rpc::wire::Connection;
use nitro::server::ServerCounts;
use nitro::transport::Link;

use super::*;

async fn sleep(time: Duration) {
    host().clock.sleep(time).await;
}

impl Served {
    /// Waits until the server has closed the connection of a peer; answers after how long.
    async fn closed(&self, most: Duration) -> Duration {
        let clock = host().clock;
        let began = clock.now();
        loop {
            sleep(Duration::from_millis(100)).await;
            let so_far = clock.now().since(began);
            if self.serving.counts().connections == 0 {
                return so_far;
            }
            assert!(so_far < most, "open after {so_far:?}");
        }
    }
}

/// Sends a byte of `bytes` every so often, for as long as the other end takes them.
async fn trickle(peer: &mut Peer, bytes: &[u8], every: Duration) -> String {
    for byte in bytes {
        peer.send(&[*byte]).await;
        sleep(every).await;
    }
    peer.reason().await
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_open_is_closed_within_a_tick() {
    for (what, bytes, every) in [
        ("nothing", vec![], second(0)),
        ("a byte a minute", opening(), second(60)),
        ("a byte a second", opening(), second(1)),
        ("no SETTINGS", PREFACE.to_vec(), second(0)),
    ] {
        let served = Served::new(Limits::default()).await;
        let mut peer = served.peer().await;
        let trickling = trickle(&mut peer, &bytes, every);
        let closed = served.closed(second(6));
        let (reason, _) = futures_util::future::join(trickling, closed).await;
        let expected = "the peer did not open the connection in time";
        assert!(reason.contains(expected), "{what}: {reason}");
        drop(peer);
        served.is_unharmed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_a_frame_unfinished_is_closed() {
    for every in [60, 4, 1] {
        let served = Served::new(Limits::default()).await;
        let mut peer = served.open_peer().await;
        let bytes = call(MESSAGE, FIRST, "raw/echo", &[0; 100]);
        let trickling = trickle(&mut peer, &bytes, second(every));
        let closed = served.closed(second(16));
        let (reason, _) = futures_util::future::join(trickling, closed).await;
        let expected = "the peer left a frame unfinished";
        assert!(reason.contains(expected), "every {every} s: {reason}");
        drop(peer);
        served.is_unharmed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_is_asked_and_then_closed() {
    let served = Served::new(Limits::default()).await;
    let mut peer = served.open_peer().await;
    peer.send(&call(MESSAGE, FIRST, "raw/sink", b"x")).await;
    peer.next_of(PING).await;
    assert!(peer.reason().await.contains("the peer is silent"));
    assert!(served.closed(second(1)).await < second(1));
    served.is_unharmed().await;
}

/// Answers PING, and reads what else comes, until the connection ends or `enough` says so.
async fn keep_alive(peer: &mut Peer, mut enough: impl FnMut(&Read) -> bool) -> Option<Read> {
    while let Some(read) = peer.next().await {
        if read.kind == PING {
            peer.send(&frame(PONG, 0, 0, &read.payload)).await;
        }
        if enough(&read) {
            return Some(read);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_lives_but_calls_nothing_is_sent_away_after_five_minutes() {
    let served = Served::new(Limits::default()).await;
    let clock = host().clock;
    let began = clock.now();
    let mut peer = served.open_peer().await;
    let left = keep_alive(&mut peer, |read| read.kind == GOAWAY).await;
    assert_eq!(left.unwrap().status(), "the connection was not used");
    assert_eq!(clock.now().since(began).as_secs(), 300);
    let expected = "the peer did not close after GOAWAY";
    assert!(peer.reason().await.contains(expected));
    assert!(clock.now().since(began) <= second(316));
    served.is_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_bounded_and_ends_with_the_time_of_its_call() {
    let served = Served::new(Limits::default()).await;
    let mut peer = served.open_peer().await;
    // No deadline of its own, and no credit given, but every PING is answered.
    peer.send(&call(MESSAGE | IS_END, FIRST, "raw/pour", b""))
        .await;
    let clock = host().clock;
    let began = clock.now();
    let alive = keep_alive(&mut peer, |read| read.kind == END);
    let ended = clock.timeout(second(200), alive).await;
    let ended = ended
        .expect("the answer holds its stream for ever")
        .unwrap();
    assert_eq!(ended.payload[0], nitro::Kind::DeadlineExceeded.code());
    // The time limit of a server for calls that have none.
    assert_eq!(clock.now().since(began).as_secs(), 60);
    assert_eq!(served.serving.counts().in_flight, 0);
    // The window, and the messages that wait in the pipe of the handler.
    let poured = served.poured.load(Ordering::SeqCst) * POURED_BYTES;
    assert!(poured < 2 * 1024 * 1024, "{poured} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_closed_and_costs_little() {
    let served = Served::new(Limits::default()).await;
    let mut peer = served.peer().await;
    let wide = [setting(1, 1 << 30), setting(2, 1 << 30)].concat();
    peer.send(&[PREFACE, &frame(SETTINGS, 0, 0, &wide)].concat())
        .await;
    peer.send(&call(MESSAGE | IS_END, FIRST, "raw/pour", b""))
        .await;
    let talking = async {
        for _ in 0..60 {
            peer.send(&frame(PONG, 0, 0, &[])).await;
            sleep(second(1)).await;
        }
    };
    let closed = served.closed(second(36));
    let (_, took) = futures_util::future::join(talking, closed).await;
    assert!(took > second(15), "it was given its time: {took:?}");
    let poured = served.poured.load(Ordering::SeqCst) * POURED_BYTES;
    assert!(poured < 4 * 1024 * 1024, "{poured} bytes");
    drop(peer);
    served.is_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_whose_answers_are_not_read_is_bounded_and_closed() {
    let served = Served::new(Limits::default()).await;
    let mut peer = served.open_peer().await;
    let ping = frame(PING, 0, 0, &[1; 8]);
    let mut taken = 0;
    let flooding = async {
        while peer.stream.write_all(&ping).await.is_ok() {
            taken += ping.len();
        }
    };
    let closed = served.closed(second(36));
    futures_util::future::join(flooding, closed).await;
    assert!(taken < 4 * 1024 * 1024, "{taken} bytes were taken");
    drop(peer);
    served.is_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_that_are_read_keeps_nobody_from_being_answered() {
    let served = Served::new(Limits::default()).await;
    let peer = served.open_peer().await;
    let (mut reading, mut writing) = tokio::io::split(peer.stream);
    let flooding = async {
        let pings = frame(PING, 0, 0, &[1; 8]).repeat(100_000);
        writing.write_all(&pings).await.unwrap();
    };
    let reading = async {
        let mut pongs = vec![0; 18 * 100_000];
        reading.read_exact(&mut pongs).await.unwrap();
        assert!(pongs.chunks(18).all(|pong| pong[8] == PONG));
    };
    let calling = async {
        for _ in 0..100 {
            let sent = Bytes::from_static(b"x");
            assert_eq!(served.client.call(&ECHO, sent.clone()).await.unwrap(), sent);
        }
    };
    futures_util::future::join3(flooding, reading, calling).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_taken_for_a_silent_one() {
    let served = Served::new(Limits::default()).await;
    let peer = served.open_peer().await;
    let (mut reading, mut writing) = tokio::io::split(peer.stream);
    const CALLS: u32 = 150;
    let calling = async {
        let message = [7; 16 * 1024];
        for at in 0..CALLS {
            let id = (at + 1) << 16;
            let bytes = match at {
                0 => call(MESSAGE | IS_END, id, "raw/echo", &message),
                _ => call_again(MESSAGE | IS_END, id, &message),
            };
            let _ = writing.write_all(&bytes).await;
        }
        let pong = frame(PONG, 0, 0, &[]);
        loop {
            let _ = writing.write_all(&pong).await;
            sleep(second(1)).await;
        }
    };
    let reading = async {
        let answer = 10 + 2 + 16 * 1024;
        let mut left = CALLS as usize * answer;
        let mut buffer = vec![0; 16 * 1024];
        while left > 0 {
            let count = reading.read(&mut buffer).await.unwrap();
            assert!(count > 0, "closed with {left} bytes to come");
            left = left.saturating_sub(count);
            sleep(second(1)).await;
        }
    };
    let (calling, reading) = (std::pin::pin!(calling), std::pin::pin!(reading));
    futures_util::future::select(calling, reading).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_crosses_goaway_is_refused_however_long_the_connection_was_idle() {
    let served = Served::new(Limits::default()).await;
    let mut peer = served.open_peer().await;
    let clock = host().clock;
    // Shortly before a tick, of which many have passed without a call.
    let alive = keep_alive(&mut peer, |_| false);
    let _ = clock.timeout(Duration::from_millis(49_900), alive).await;
    let Served { serving, .. } = served;
    let stopping = serving.stop(second(60));
    let crossing = async {
        sleep(Duration::from_millis(200)).await;
        peer.send(&call(MESSAGE | IS_END, FIRST, "raw/echo", b"x"))
            .await;
        let refused = keep_alive(&mut peer, |read| read.kind == END).await;
        let refused = refused.expect("closed before the call could be refused");
        assert_eq!(refused.payload[1], 1, "safe to repeat");
    };
    let (cut, ()) = futures_util::future::join(stopping, crossing).await;
    assert_eq!(cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_does_not_wait_for_a_server_that_says_nothing() {
    let host = host();
    let (near, _far) = tokio::io::duplex(1024);
    let began = host.clock.now();
    let link = Link::over(Box::new(near));
    let opened = Connection::open(&host, link, "peer".to_owned(), Limits::default()).await;
    let error = opened.unwrap_err();
    assert!(error.is_unsent());
    let expected = "the peer did not open the connection in time";
    assert!(error.message().contains(expected), "{error}");
    assert!(host.clock.now().since(began) < second(6));
}

#[tokio::test(start_paused = true)]
async fn a_client_gives_up_a_server_that_has_fallen_silent() {
    let host = host();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let mut peer = Peer::new(Box::new(far));
    peer.send(&opening()).await;
    let link = Link::over(Box::new(near));
    let opened = Connection::open(&host, link, "peer".to_owned(), Limits::default()).await;
    let client = Client::new(&host, nitro::rpc::Rpc::new(opened.unwrap()), Raw);
    let began = host.clock.now();
    let error = client.call(&ECHO, Bytes::new()).await.unwrap_err();
    assert!(error.message().contains("the peer is silent"), "{error}");
    assert!(!error.is_unsent(), "the call did leave");
    assert!(host.clock.now().since(began) <= second(20));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_always_has_more_to_say_leaves_others_their_turn() {
    let host = host();
    let flood = [opening(), frame(PING, 0, 0, &[1; 8]).repeat(10_000)].concat();
    let reading = std::io::Cursor::new(flood);
    let stream = tokio::io::join(reading, tokio::io::sink());
    let service = nitro::rpc::Rpc::new(nitro::Router::new());
    let link = Link::over(Box::new(stream));
    let (_, driver) =
        nitro::rpc::wire::serve(&host, link, "peer".to_owned(), service, Limits::default());
    let mut driver = Box::pin(tokio::task::unconstrained(driver));
    let mut turns = 0;
    // Each time that it is polled, the others have been.
    std::future::poll_fn(|context| {
        turns += 1;
        driver.as_mut().poll(context)
    })
    .await;
    assert!(turns > 10_000 / 1_000, "{turns} turns for 10,000 frames");
}

#[tokio::test(start_paused = true)]
async fn limits_that_make_no_sense_are_brought_to_the_nearest_that_do() {
    let served = Served::new(Limits {
        stream_window: 0,
        connection_window: 1,
        streams_max: u32::MAX,
        tick: Duration::ZERO,
        ..Limits::default()
    })
    .await;
    let clock = host().clock;
    let sent = Bytes::from(vec![1; 100_000]);
    let calling = served.client.call(&ECHO, sent.clone());
    let answer = clock.timeout(second(5), calling).await;
    assert_eq!(answer.expect("no answer").unwrap(), sent);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_that_open_and_stay_silent_are_all_given_up() {
    let served = Served::new(Limits::default()).await;
    let mut peers = Vec::new();
    for _ in 0..1_000 {
        peers.push(served.open_peer().await);
    }
    let held: ServerCounts = served.serving.counts();
    assert_eq!(held.connections, 1_000);
    assert!(served.closed(second(21)).await > second(10));
    served.is_unharmed().await;
}
