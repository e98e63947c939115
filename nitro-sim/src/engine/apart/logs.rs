//! The nodes' logs: tracing events at INFO and above, and points of the program, become events of
//! the trace.

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::watch;
use crate::engine::logs::{MOST, event_of, interest, is_heard};
use crate::record::Recorder;

/// Runs `run` with the nodes' logs going to the recorder, which has a time of its own, on this
/// thread only.
pub(in crate::engine) fn recorded<T>(
    recorder: &Recorder,
    names: Vec<Arc<str>>,
    run: impl FnOnce() -> T,
) -> T {
    let logs = Logs {
        recorder: recorder.clone(),
        names,
    };
    tracing::subscriber::with_default(logs, run)
}

/// Takes events, and of spans no notice: nodes make them as they would anywhere, but a trace has no
/// use for them, and to keep them would be a good part of what a call costs.
struct Logs {
    recorder: Recorder,
    names: Vec<Arc<str>>,
}

/// What every span is called.
const SPAN: u64 = 1;

impl Subscriber for Logs {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        interest(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_heard(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(MOST)
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(node) = watch::node() {
            // The recorder has a time of its own.
            self.recorder
                .record(0, Some(&self.names[node]), event_of(event));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(SPAN)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
