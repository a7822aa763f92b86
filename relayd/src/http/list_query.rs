//! Which Operations a list has: the query of the API's, of the page's, and of the page's events.

use aegir_protocol::state::State as OperationState;

use super::answer::Answer;
use super::query::{FromQuery, PAGE_SAYS, QueryParameters};
use crate::store::{OperationFilter, TargetFilter};

/// The query of `GET /operations`.
pub(crate) struct OperationListQuery(pub(crate) OperationFilter);

impl FromQuery for OperationListQuery {
    const PARAMETERS: &'static [(&'static str, &'static str)] = &[
        (
            "state",
            "one or more, with commas between, of waiting, queued, claimed, running, succeeded, failed, canceled, \
             rejected and lost",
        ),
        ("target", "KIND or KIND:NAME, as in site:example.test,"),
        ("name", "ROLE.OPERATION, as in static_site.deploy,"),
        ("limit", PAGE_SAYS),
        ("before", "the id of an Operation"),
    ];

    fn read(given: &QueryParameters) -> Answer<Self> {
        Ok(Self(OperationFilter {
            states: given.list("state", OperationState::from_word)?.unwrap_or_default(),
            target: given.get("target", target)?,
            name: given.parsed("name")?,
            limit: given.limit()?,
            before: given.parsed("before")?,
            ids: Vec::new(),
        }))
    }
}

/// `KIND`, or `KIND:NAME`.
fn target(text: &str) -> Option<TargetFilter> {
    let (kind, name) = match text.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (text, None),
    };
    Some(TargetFilter { kind: kind.parse().ok()?, name: name.map(str::parse).transpose().ok()? })
}
