//! The task that sends for a stream, as a kernel does: it waits out delays and silence.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use nitro::host::Stream;
use nitro::time::Instant;
use tokio::io::{AsyncWriteExt, WriteHalf};

use super::SILENCE_MAX;
use super::link::Peer;
use super::stream::Shared;

/// What a stream needs next.
enum Step {
    /// These bytes go.
    Send(Bytes),
    /// The other end is told that no more comes.
    Close,
    /// Nothing, until something changes or this time comes.
    Wait(Option<Instant>),
    /// Nothing, ever.
    Finish,
}

/// Sends what is written to a stream until it is dropped and its bytes are sent, or it breaks.
pub(super) async fn pump(shared: Arc<Shared>, mut write: WriteHalf<Box<dyn Stream>>) {
    let clock = Arc::clone(&shared.at.clock);
    loop {
        let mut changed = pin!(shared.at.links.changed());
        changed.as_mut().enable();
        let step = next(&shared);
        match step {
            Step::Send(bytes) => {
                tokio::select! {
                    biased;
                    sent = write.write(&bytes) => after_send(&shared, sent),
                    () = changed => shared.wake(),
                }
            }
            Step::Close => {
                // An error says that the other end is gone, which the reader notices too.
                let _ = write.shutdown().await;
                shared.lock().is_closed = true;
            }
            Step::Wait(until) => {
                let time = async {
                    match until {
                        Some(until) => clock.sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = shared.work.notified() => {}
                    () = changed => shared.wake(),
                    () = time => {}
                }
            }
            Step::Finish => return,
        }
    }
}

fn next(shared: &Shared) -> Step {
    let links = &shared.at.links;
    let now = shared.at.clock.now();
    let mut state = shared.lock();
    if state.error.is_some() {
        return Step::Finish;
    }
    let has_work = !state.queue.is_empty() || (state.is_closing && !state.is_closed);
    let peer = links.peer(shared.peer, shared.peer_incarnation);
    if let Peer::Restarted(crashed_at) = peer {
        // What the peer had not acknowledged when it crashed is sent again, and answered by a
        // reset; a stream that only reads hears nothing until it writes.
        let unacknowledged = state.last_write + links.latency_min * 2 >= crashed_at;
        if has_work || unacknowledged {
            links.touch_crash(shared.peer, shared.peer_incarnation);
            shared.fail(&mut state, io::ErrorKind::ConnectionReset);
            return Step::Finish;
        }
    }
    if !has_work {
        return match state.is_dropped {
            true => Step::Finish,
            false => Step::Wait(None),
        };
    }
    if let Some(chunk) = state.queue.front()
        && chunk.due > now
    {
        return Step::Wait(Some(chunk.due));
    }
    if peer != Peer::Same || !links.is_open(shared.at.node, shared.peer) {
        if state.stalled_since.is_none() && peer != Peer::Same {
            links.touch_crash(shared.peer, shared.peer_incarnation);
        }
        let give_up = *state.stalled_since.get_or_insert(now) + SILENCE_MAX;
        if now >= give_up {
            shared.fail(&mut state, io::ErrorKind::TimedOut);
            return Step::Finish;
        }
        return Step::Wait(Some(give_up));
    }
    state.stalled_since = None;
    match state.queue.front() {
        Some(chunk) => Step::Send(chunk.bytes.clone()),
        None => Step::Close,
    }
}

fn after_send(shared: &Shared, sent: io::Result<usize>) {
    let mut state = shared.lock();
    match sent {
        Ok(count) => {
            let is_sent = state.queue.front_mut().is_none_or(|chunk| {
                chunk.bytes.advance(count);
                chunk.bytes.is_empty()
            });
            if is_sent {
                state.queue.pop_front();
            }
            state.queued_bytes -= count;
            state.wake();
        }
        Err(error) => {
            let is_crash = shared.at.links.peer(shared.peer, shared.peer_incarnation) != Peer::Same;
            // After a crash the engine's own answer is not what a peer would see: the next step
            // waits in silence instead.
            if !is_crash {
                shared.fail(&mut state, error.kind());
            }
        }
    }
}
