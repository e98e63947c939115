//! What a client learns of how fast a node is.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Waker};

use nitro::selector::{self, Candidates, Pick, Selector};

use super::*;

/// Picks the first node, and keeps hold of what is known of it.
#[derive(Clone, Default)]
struct First(Arc<OnceLock<Arc<selector::Load>>>);

impl Selector for First {
    fn select(&self, candidates: &Candidates, _: &Pick<'_>) -> Option<usize> {
        let first = candidates.as_slice().first()?;
        self.0.get_or_init(|| Arc::clone(&first.load));
        Some(0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_as_fast_as_its_answer_however_late_its_caller_looks() {
    let cluster = Cluster::new(1).await;
    let first = First::default();
    let builder = cluster.builder().selector(first.clone());
    let (client, _balance) = builder.targets(Text, &cluster.targets());
    client
        .call(&LOOK, "opens the connection".to_owned())
        .await
        .unwrap();

    let mut late = pin!(client.call(&LOOK, "looked at late".to_owned()));
    let polled = late.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    cluster.sleep(WORK * 100).await;
    late.await.unwrap();
    let load = first.0.get().unwrap();
    let latency = load.latency(cluster.client.clock.now()).unwrap();
    assert!((WORK / 2..WORK * 2).contains(&latency), "{latency:?}");
}
