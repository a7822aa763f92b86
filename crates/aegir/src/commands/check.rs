//! `aegir check`: the API's own hop is measured here, the others are relayd's to say.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use aegir_api::{CheckReport, CheckRequest, Hop, OperationList};
use aegir_service::exit::Exit;

use super::context::{Context, read_file};
use crate::arguments::CheckArguments;
use crate::error::Error;
use crate::render::check::report;
use crate::request::hosts_to_check;

/// A closed hop is found out by waiting, and there are a few of them one after the other.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);
/// How much longer it may take for each minion.
const MINION_TIMEOUT: Duration = Duration::from_secs(75);

pub(super) async fn check(context: &Context, arguments: &CheckArguments) -> Result<ExitCode, Error> {
    let request =
        CheckRequest { backend: arguments.backend.clone(), hosts: hosts_to_check(arguments, &read_file)? };
    let started = Instant::now();
    let first = context.client.get::<OperationList>("/api/v1/operations?limit=1").await.map_err(Error::from);
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut whole = CheckReport { ok: first.is_ok(), hops: vec![api_hop(context, &first, milliseconds)] };
    if let Err(error) = first {
        show(context, &whole)?;
        // The exit code tells the two ways in which this hop can be closed apart: nobody there, or no right.
        return Ok(error.exit().into());
    }
    let timeout = CHECK_TIMEOUT + MINION_TIMEOUT * u32::try_from(request.hosts.len()).unwrap_or(1000);
    let rest: CheckReport = context.client.clone().timeout(timeout).post("/api/v1/check", &request).await?;
    whole.ok = rest.ok;
    whole.hops.extend(rest.hops);
    show(context, &whole)?;
    Ok(if whole.ok { Exit::Success } else { Exit::Unavailable }.into())
}

fn api_hop(context: &Context, first: &Result<OperationList, Error>, milliseconds: u64) -> Hop {
    let message = match first {
        Ok(_) => format!("{} answers and takes the token", context.client.address()),
        Err(error) => error.to_string(),
    };
    Hop { name: "relayd API".to_owned(), ok: first.is_ok(), milliseconds, message }
}

fn show(context: &Context, whole: &CheckReport) -> Result<(), Error> {
    context.show(whole, || report(&context.look, whole)).map(drop)
}
