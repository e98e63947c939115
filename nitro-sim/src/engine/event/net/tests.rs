//! The network by itself, moved by a few lines of driver instead of an engine.

mod datagrams;
mod driver;
mod faults;
mod parity;
mod programs;
mod streams;
