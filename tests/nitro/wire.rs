//! Strangers on the wire: every wrong frame is a clean close.
