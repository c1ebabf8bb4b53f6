//! A feed of `_changes` as it goes over the wire: rows, what stands between them, and the end.

mod row;
mod sieve;

pub use sieve::{Framing, Malformed, Sieve, Tail};
