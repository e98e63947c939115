//! A peer that keeps the other side waiting.
