//! A value that one side sets and others wait for: they see the latest, and wake in the order in
//! which they began to wait.
//!
//! tokio's `watch` is the same but for that order, which it draws from a random number of its
//! own: under a simulator whose seed it does not know, a run would not replay.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// A value, and both its sides.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            value,
            version: 0,
            is_closed: false,
        }),
        notify: Notify::new(),
    });
    let sender = Sender(Arc::clone(&shared));
    (sender, Receiver { shared, seen: 0 })
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    notify: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    version: u64,
    is_closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no panic while a value is held")
    }
}

/// Nobody sets the value any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// The side that sets. Dropping it tells the others that nothing more will come.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// A value that nobody waits for yet.
    pub fn new(value: T) -> Self {
        channel(value).0
    }

    /// Sets the value; answers the one before.
    pub fn set(&self, value: T) -> T {
        let mut state = self.0.lock();
        state.version += 1;
        let before = std::mem::replace(&mut state.value, value);
        drop(state);
        self.0.notify.notify_waiters();
        before
    }

    /// Changes the value in place.
    pub fn modify(&self, change: impl FnOnce(&mut T)) {
        let mut state = self.0.lock();
        state.version += 1;
        change(&mut state.value);
        drop(state);
        self.0.notify.notify_waiters();
    }

    /// Changes the value in place if `change` answers that it did.
    pub fn modify_if(&self, change: impl FnOnce(&mut T) -> bool) {
        let mut state = self.0.lock();
        if change(&mut state.value) {
            state.version += 1;
            drop(state);
            self.0.notify.notify_waiters();
        }
    }

    /// How many sides wait for it, or may.
    pub fn receivers(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    /// Another side that waits, having seen the value as it is.
    pub fn subscribe(&self) -> Receiver<T> {
        let shared = Arc::clone(&self.0);
        let seen = shared.lock().version;
        Receiver { shared, seen }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.notify.notify_waiters();
    }
}

/// A side that waits.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        let seen = self.seen;
        Self { shared, seen }
    }
}

impl<T: Clone> Receiver<T> {
    /// The value as it is.
    pub fn get(&self) -> T {
        self.shared.lock().value.clone()
    }

    /// Whether nobody will set the value any more.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().is_closed
    }

    /// Takes the value as it is for seen.
    pub fn mark_seen(&mut self) {
        self.seen = self.shared.lock().version;
    }

    /// Waits until the value has been set since it was last waited for.
    ///
    /// # Errors
    ///
    /// [`Closed`] when it will not be.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let seen = self.seen;
        (self.seen, _) = self.wait(|state| state.version != seen).await?;
        Ok(())
    }

    /// Waits until the value is as wanted, and answers it.
    ///
    /// # Errors
    ///
    /// [`Closed`] when it will not be.
    pub async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) -> Result<T, Closed> {
        let (version, value) = self.wait(|state| wanted(&state.value)).await?;
        self.seen = version;
        Ok(value)
    }

    async fn wait(&self, is_over: impl Fn(&State<T>) -> bool) -> Result<(u64, T), Closed> {
        loop {
            // Made before the look, so that what is set in between wakes it all the same.
            let notified = self.shared.notify.notified();
            {
                let state = self.shared.lock();
                if is_over(&state) {
                    return Ok((state.version, state.value.clone()));
                }
                if state.is_closed {
                    return Err(Closed);
                }
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiters_wake_in_the_order_they_began_to_wait() {
        for _ in 0..20 {
            let sender = Sender::new(0);
            let order = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = tokio::task::JoinSet::new();
            for waiter in 0..40 {
                let (mut receiver, order) = (sender.subscribe(), Arc::clone(&order));
                tasks.spawn(async move {
                    receiver.changed().await.unwrap();
                    order.lock().unwrap().push(waiter);
                });
            }
            tokio::task::yield_now().await;
            sender.set(1);
            tasks.join_all().await;
            assert_eq!(*order.lock().unwrap(), (0..40).collect::<Vec<_>>());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_set_before_the_wait_is_not_missed_and_an_end_is_told() {
        let (sender, mut receiver) = channel(1);
        sender.set(2);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(receiver.get(), 2);
        let clock = crate::host::tokio::host().clock;
        let waiting = clock.timeout(Duration::from_secs(1), receiver.changed());
        assert!(waiting.await.is_err());
        sender.modify(|value| *value += 1);
        assert_eq!(receiver.wait_for(|value| *value == 3).await, Ok(3));
        drop(sender);
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.wait_for(|value| *value == 3).await, Ok(3));
    }
}
