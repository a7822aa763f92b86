//! Dead letters.

use aegir_api::{DeadLetter, DeadLetterDetail, DeadLetterList};
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::answer::Answer;
use crate::http::extract::LetterId;
use crate::http::query::{FromQuery, PAGE_SAYS, Parameters, QueryParameters};
use crate::http::state::HttpState;
use crate::store::DeadLetterFilter;

/// The query of `GET /dead`.
pub(super) struct DeadLetterListQuery(DeadLetterFilter);

impl FromQuery for DeadLetterListQuery {
    const PARAMETERS: &'static [(&'static str, &'static str)] = &[
        ("code", "a code, as in message_malformed"),
        ("queue", "the name of a queue"),
        ("limit", PAGE_SAYS),
        ("before", "the id of a dead letter, a number"),
    ];

    fn read(given: &QueryParameters) -> Answer<Self> {
        Ok(Self(DeadLetterFilter {
            code: given.parsed("code")?,
            queue: given.parsed("queue")?,
            limit: given.limit()?,
            before: given.at_least_one("before")?,
        }))
    }
}

/// `GET /dead`.
pub(super) async fn list(
    State(site): State<HttpState>,
    Parameters(DeadLetterListQuery(filter)): Parameters<DeadLetterListQuery>,
) -> Answer<axum::Json<DeadLetterList>> {
    Ok(axum::Json(site.dead_letters.list(&filter).await?))
}

/// `GET /dead/{id}`.
pub(super) async fn show(
    State(site): State<HttpState>,
    LetterId(id): LetterId,
) -> Answer<axum::Json<DeadLetterDetail>> {
    Ok(axum::Json(site.dead_letters.show(id).await?))
}

/// `POST /dead/{id}/replay`: the letter that was published again and is gone from here.
pub(super) async fn replay(
    State(site): State<HttpState>,
    LetterId(id): LetterId,
) -> Answer<axum::Json<DeadLetter>> {
    Ok(axum::Json(site.dead_letters.replay(id).await?))
}

/// `DELETE /dead/{id}`.
pub(super) async fn remove(State(site): State<HttpState>, LetterId(id): LetterId) -> Answer<StatusCode> {
    site.dead_letters.drop_letter(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
