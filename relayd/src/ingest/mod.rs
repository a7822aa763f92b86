//! What comes from nodes: transcripts, claims, reports, catalogs, heartbeats.

pub mod chunks;
pub mod echoes;
pub mod nodes;
pub mod status;
pub mod transcripts;
