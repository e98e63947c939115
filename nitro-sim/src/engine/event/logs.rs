//! The nodes' logs: tracing events at INFO and above become events of the trace.

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::watch;
use crate::engine::logs::log_of;
use crate::record::Recorder;

/// Runs `run` with the nodes' logs going to the recorder, on this thread only.
pub(super) fn recorded<T>(recorder: &Recorder, names: Vec<Arc<str>>, run: impl FnOnce() -> T) -> T {
    let layer = LogLayer {
        recorder: recorder.clone(),
        names,
    };
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, run)
}

struct LogLayer {
    recorder: Recorder,
    names: Vec<Arc<str>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(node) = watch::node() {
            // The recorder has a time of its own.
            self.recorder
                .record(0, Some(&self.names[node]), log_of(event));
        }
    }
}
