//! What a layer may know of any call, to a remote service or to a port.

use std::sync::Arc;

use crate::metadata::Metadata;
use crate::name::Name;
use crate::time::Instant;

/// A call as a value: layers time it, repeat it and trace it without knowing what it does.
pub trait Operation: Sized + Send + 'static {
    /// What is called, such as `greeter/hello` or `store/read`.
    fn name(&self) -> &str;

    /// The same, to be kept for when the call is gone. Where it is static or shared there is nothing
    /// to copy.
    fn kept_name(&self) -> Name {
        Name::from(self.name().to_owned())
    }

    /// Whether doing it twice is the same as doing it once.
    fn is_idempotent(&self) -> bool;

    /// The same call once more; `None` when it cannot be repeated, as when its body is a stream.
    fn try_clone(&self) -> Option<Self>;

    /// When the caller stops waiting, on the clock of this host.
    fn deadline(&self) -> Option<Instant>;

    /// Sets when the caller stops waiting.
    fn set_deadline(&mut self, deadline: Instant);

    /// When it began, where a layer has looked at the clock just now, so that those below need not.
    fn begun(&self) -> Option<Instant> {
        None
    }

    /// Takes note of when it began. Whoever holds it back afterwards sets it to `None`; a clone
    /// that is sent later has none.
    fn set_begun(&mut self, _begun: Option<Instant>) {}

    /// The pairs that travel with it.
    fn metadata_mut(&mut self) -> &mut Metadata;

    /// Asks that this node be passed over, because a try there has failed.
    /// An operation that goes to no node ignores it.
    fn avoid(&mut self, node: &Arc<str>);
}
