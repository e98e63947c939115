//! A node making the operations that are planned for it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use nitro::error::Result;
use nitro::host::tasks::panic_message;
use nitro::time::Instant;
use serde_json::Value;

use super::Node;
use crate::operation::{PlannedOperation, TOLERANCE};
use crate::trace::{EventKind, OperationOutcome};

/// An operation to be made now.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its number within the plan.
    pub id: u64,
    /// What it does, by a name the system registered.
    pub name: String,
    /// The key it is about; 0 where the workload has no keys.
    pub key: u64,
    /// A number no other operation of the plan has.
    pub value: u64,
    /// How long it may take.
    pub timeout: Duration,
    /// When it must have ended, on the node's clock.
    pub deadline: Instant,
}

impl Node {
    /// Makes the operations planned for this node, each at its time and beside the others, and
    /// records every call and outcome. Returns when the last has ended.
    ///
    /// Those that were due while the node was down are skipped. One whose handler does not
    /// return by its deadline is recorded as unfinished and dropped: the handler has to keep
    /// its deadline, and the check `answered` tells when it does not.
    ///
    /// # Errors
    ///
    /// None so far; a handler's error is the outcome of its operation.
    pub async fn workload<F, R>(&self, handler: F) -> Result<()>
    where
        F: Fn(Operation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let started = self.host().clock.now();
        let mut running = Vec::new();
        for (place, planned) in self.parts().operations.iter().enumerate() {
            let due = Instant::ORIGIN + Duration::from_millis(planned.at_ms);
            if self.parts().recorder.is_settled(planned.id) {
                continue;
            }
            // A node that starts for the first time makes even the operations that were due while
            // it prepared; a restarted one was down.
            if due < started && self.incarnation() > 1 {
                self.record(outcome(planned.id, OperationOutcome::Skipped));
                continue;
            }
            self.host().clock.sleep_until(due).await;
            let (node, handler) = (self.clone(), Arc::clone(&handler));
            let making =
                async move { make(&node, &node.parts().operations[place], &*handler).await };
            running.push(self.host().tasks.spawn("operation", Box::pin(making)));
        }
        for task in running {
            task.join().await;
        }
        Ok(())
    }
}

async fn make<F, R>(node: &Node, planned: &PlannedOperation, handler: &F)
where
    F: Fn(Operation) -> R,
    R: Future<Output = Result<Value>>,
{
    let clock = &node.host().clock;
    let timeout = Duration::from_millis(planned.timeout_ms);
    let deadline = clock.now() + timeout;
    let PlannedOperation { id, key, value, .. } = *planned;
    let name = || planned.operation.clone();
    node.record(EventKind::Call {
        operation: id,
        name: name(),
        key,
        value,
    });
    let operation = Operation {
        id,
        name: name(),
        key,
        value,
        timeout,
        deadline,
    };
    // The handler is called within the caught future, so that a panic before its first await is
    // caught as well.
    let handled = AssertUnwindSafe(async move { handler(operation).await }).catch_unwind();
    let result = clock.timeout_at(deadline + TOLERANCE, handled).await;
    let ended = match result {
        Ok(Ok(Ok(reply))) => OperationOutcome::Ok { reply },
        Ok(Ok(Err(error))) => OperationOutcome::Failed {
            kind: error.kind().name().to_owned(),
            message: error.message().to_owned(),
        },
        Ok(Err(panic)) => {
            let message = panic_message(&*panic);
            node.record(EventKind::TaskPanicked {
                task: "operation".to_owned(),
                message: message.clone(),
            });
            let kind = "panicked".to_owned();
            OperationOutcome::Failed { kind, message }
        }
        Err(_) => OperationOutcome::Unfinished,
    };
    node.record(outcome(id, ended));
}

fn outcome(operation: u64, outcome: OperationOutcome) -> EventKind {
    EventKind::Outcome { operation, outcome }
}
