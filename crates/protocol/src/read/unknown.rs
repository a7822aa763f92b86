//! Fields that no type knows.

/// What becomes of a field that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is refused: for what a person or a frontend writes.
    Refuse,
    /// It is left out: for what another version of these programs writes.
    Ignore,
}
