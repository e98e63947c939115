//! A connection that nothing comes through any more, with a node behind it that works.

#![expect(
    clippy::disallowed_methods,
    reason = "the relay between two nodes is no task of a node"
)]

use std::sync::atomic::AtomicBool;

use super::*;

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_millis(100);

/// Stands between a client and its node, and can lose all that its streams carry.
#[derive(Default)]
struct Relay {
    accepted: AtomicUsize,
    loses: Mutex<Vec<Arc<AtomicBool>>>,
}

impl Relay {
    async fn start(cluster: &Cluster) -> (Arc<Self>, Address) {
        let at: Address = "client:8000".parse().unwrap();
        let (relay, network) = (Arc::new(Self::default()), cluster.client.network.clone());
        let to = cluster.nodes[0].at.clone();
        let mut listener = network.listen(&at).await.unwrap();
        let relaying = Arc::clone(&relay);
        tokio::spawn(async move {
            loop {
                let (here, _) = listener.accept().await.unwrap();
                let there = network.connect(&to).await.unwrap();
                relaying.accepted.fetch_add(1, Ordering::SeqCst);
                let loses = Arc::new(AtomicBool::new(false));
                relaying.loses.lock().unwrap().push(Arc::clone(&loses));
                let (here_in, here_out) = tokio::io::split(here);
                let (there_in, there_out) = tokio::io::split(there);
                tokio::spawn(carry(here_in, there_out, Arc::clone(&loses)));
                tokio::spawn(carry(there_in, here_out, loses));
            }
        });
        (relay, at)
    }

    /// Loses all that the streams which are open now carry from now on; later ones are whole.
    fn go_mute(&self) {
        let loses = self.loses.lock().unwrap();
        loses.iter().for_each(|it| it.store(true, Ordering::SeqCst));
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    loses: Arc<AtomicBool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !loses.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn through_a_relay() -> (Cluster, Arc<Relay>, Client<Text>, Balance) {
    let cluster = Cluster::new(1).await;
    let (relay, at) = Relay::start(&cluster).await;
    let builder = cluster.builder().attempt_timeout(ATTEMPT);
    let (client, balance) = builder.targets(Text, &[Target::at(at)]);
    client.call(&DO, "first".to_owned()).await.unwrap();
    (cluster, relay, client, balance)
}

#[tokio::test(start_paused = true)]
async fn a_mute_connection_is_replaced_after_one_call_that_is_not_answered() {
    let (cluster, relay, client, _balance) = through_a_relay().await;
    relay.go_mute();
    client.call(&DO, "lost".to_owned()).await.unwrap_err();
    // The peer has a second to say that it is there.
    cluster.sleep(millis(1_500)).await;
    assert_eq!(relay.accepted(), 2);
    client.call(&DO, "found".to_owned()).await.unwrap();
    cluster.sleep(Duration::from_secs(60)).await;
    assert_eq!(relay.accepted(), 2, "nothing more is opened");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_whole_time_is_up_has_a_mute_connection_replaced_too() {
    let (cluster, relay, client, _balance) = through_a_relay().await;
    relay.go_mute();
    let within = client.clone().timeout(ATTEMPT / 2);
    within.call(&DO, "lost".to_owned()).await.unwrap_err();
    // Nobody was left to see to it but the next call.
    within.call(&DO, "lost too".to_owned()).await.unwrap_err();
    cluster.sleep(millis(1_500)).await;
    assert_eq!(relay.accepted(), 2);
    client.call(&DO, "found".to_owned()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_however_slow_the_handlers_at_its_other_end_are() {
    let (cluster, relay, client, balance) = through_a_relay().await;
    for _ in 0..20 {
        client.call(&HANG, "slow".to_owned()).await.unwrap_err();
        cluster.sleep(millis(300)).await;
    }
    assert_eq!(relay.accepted(), 1);
    client.call(&DO, "still".to_owned()).await.unwrap();
    assert_eq!(balance.nodes().len(), 1);
}
