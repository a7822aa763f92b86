//! What comes from nodes: transcripts, claims, reports, catalogs, heartbeats.

pub mod status;
pub mod transcripts;
