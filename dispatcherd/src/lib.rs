//! dispatcherd: turns Operations into Tasks and carries them out on minions.

pub mod journal;
pub mod plan;
