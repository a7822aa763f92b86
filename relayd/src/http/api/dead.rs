//! Dead letters.

use aegir_protocol::dead_letter::{DeadLetter, DeadLetterDetail, DeadLetterList};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::http::Site;
use crate::http::answer::Answer;
use crate::http::extract::{LetterId, Parameters};
use crate::store::DeadLetterFilter;

/// The query of `GET /dead`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    code: Option<String>,
    queue: Option<String>,
    limit: Option<u32>,
    before: Option<u64>,
}

/// `GET /dead`.
pub(super) async fn list(
    State(site): State<Site>,
    Parameters(query): Parameters<ListQuery>,
) -> Answer<axum::Json<DeadLetterList>> {
    let ListQuery { code, queue, limit, before } = query;
    Ok(axum::Json(site.relay.dead_letters(&DeadLetterFilter { code, queue, limit, before }).await?))
}

/// `GET /dead/{id}`.
pub(super) async fn show(
    State(site): State<Site>,
    LetterId(id): LetterId,
) -> Answer<axum::Json<DeadLetterDetail>> {
    Ok(axum::Json(site.relay.dead_letter(id).await?))
}

/// `POST /dead/{id}/replay`: the letter that was published again and is gone from here.
pub(super) async fn replay(
    State(site): State<Site>,
    LetterId(id): LetterId,
) -> Answer<axum::Json<DeadLetter>> {
    Ok(axum::Json(site.relay.replay_dead_letter(id).await?))
}

/// `DELETE /dead/{id}`.
pub(super) async fn remove(State(site): State<Site>, LetterId(id): LetterId) -> Answer<StatusCode> {
    site.relay.drop_dead_letter(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
