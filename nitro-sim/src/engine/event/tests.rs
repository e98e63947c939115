//! The event engine, from outside.
