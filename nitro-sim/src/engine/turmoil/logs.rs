//! The nodes' logs: tracing events at INFO and above, and points of the program, become events of
//! the trace.

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::engine::logs::{Fields, MOST, event_of, interest, is_heard};
use crate::record::Recorder;

/// Runs `run` with the nodes' logs going to the recorder, on this thread only.
pub(super) fn recorded<T>(recorder: &Recorder, run: impl FnOnce() -> T) -> T {
    let layer = LogLayer(recorder.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, run)
}

struct LogLayer(Recorder);

/// The node whose turn it is, which turmoil names in a span around each of its ticks.
struct NodeName(Arc<str>);

/// Turmoil's own events tell of its sockets, which the links record already.
fn is_of_nodes(target: &str) -> bool {
    !target.starts_with("turmoil")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        interest(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_heard(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(MOST)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.name() != "node" || is_of_nodes(metadata.target()) {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(name), Some(span)) = (fields.name, context.span(id)) {
            span.extensions_mut().insert(NodeName(name.into()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_of_nodes(metadata.target()) {
            return;
        }
        // A span of the node's own may have come from another node, with a message; the one that
        // turmoil entered is the outermost of the current ones.
        let spans = context.lookup_current().map(|span| span.scope());
        let name = spans.into_iter().flatten().find_map(|span| {
            let extensions = span.extensions();
            extensions.get::<NodeName>().map(|name| Arc::clone(&name.0))
        });
        let (Some(name), Some(elapsed)) = (name, turmoil::sim_elapsed()) else {
            return;
        };
        let at_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.0.record(at_us, Some(&name), event_of(event));
    }
}
