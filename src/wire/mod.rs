//! Wire formats: pure functions over bytes.

/// The four paths of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Submit,
    Solve,
    Result,
    Load,
}
