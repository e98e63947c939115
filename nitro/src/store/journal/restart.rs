//! The journal of a store whose file was opened anew.

use super::Journal;
use crate::store::Revision;

impl Journal {
    /// Begins anew at a revision of another epoch: all who watch must list again.
    pub(in crate::store) fn restart(&self, last: Revision) {
        let mut log = self.lock();
        log.entries.clear();
        (log.last, log.changes, log.bytes) = (last, 0, 0);
        drop(log);
        self.changed.set(());
    }
}
