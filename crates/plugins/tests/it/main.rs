//! The runners as dispatcherd starts them: kubectl is real and the cluster is not; OpenTofu's part is told in `aegir_testkit::opentofu`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod kubernetes;
mod kubernetes_record;
mod opentofu;
mod protocol;
mod runner;

/// Must be seen nowhere.
const SECRET: &str = "hunter22-and-more";
