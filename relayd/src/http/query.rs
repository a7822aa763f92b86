//! The parameters of a query. Each route names those that it takes; whatever else is sent is refused in one way:
//! unknown ones, empty ones, ones that are sent twice, and values that are not allowed.

use std::ops::RangeInclusive;
use std::str::FromStr;

use aegir_protocol::code::Code;
use aegir_protocol::id::Attempt;
use axum::extract::{FromRequestParts, Query, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::{Answer, ProblemResponse};

/// The most things on a page of a list.
pub(super) const PAGE: RangeInclusive<u32> = 1..=500;
/// What is expected of `limit` there.
pub(super) const PAGE_SAYS: &str = "1 to 500";
/// What is expected of an attempt, a record or a count of which there is at least one.
pub(super) const FROM_ONE: &str = "1 or more";

/// The parameters of a route.
pub(super) trait FromQuery: Sized {
    /// The name of each, and what is expected of it.
    const PARAMETERS: &'static [(&'static str, &'static str)];

    /// Reads them.
    fn read(given: &QueryParameters) -> Answer<Self>;
}

/// The parameters that were sent. Each is known, is there once and is not empty.
#[derive(Debug)]
pub(super) struct QueryParameters {
    parameters: &'static [(&'static str, &'static str)],
    pairs: Vec<(String, String)>,
}

impl QueryParameters {
    /// The query of a route with these parameters. `drop_empty` leaves out what a form sends of fields that nobody
    /// has filled in.
    fn read(
        uri: &Uri,
        parameters: &'static [(&'static str, &'static str)],
        drop_empty: bool,
    ) -> Answer<Self> {
        let Query(mut pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| {
            ProblemResponse::new(Code::ParameterInvalid, format!("the query is not valid: {error}"))
        })?;
        if drop_empty {
            pairs.retain(|(_, value)| !value.is_empty());
        }
        let given = Self { parameters, pairs };
        for (index, (name, value)) in given.pairs.iter().enumerate() {
            if !parameters.iter().any(|(known, _)| known == name) {
                return Err(given.unknown(name));
            }
            if given.pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(ProblemResponse::new(
                    Code::ParameterInvalid,
                    format!("parameter {name} was sent twice: send it once"),
                ));
            }
            if value.is_empty() {
                let detail = format!("parameter {name} is empty: leave it out, or send {}", given.says(name));
                return Err(ProblemResponse::new(Code::ParameterInvalid, detail));
            }
        }
        Ok(given)
    }

    fn says(&self, name: &str) -> &'static str {
        self.parameters.iter().find(|(known, _)| *known == name).map_or("nothing", |(_, says)| says)
    }

    fn unknown(&self, name: &str) -> ProblemResponse {
        let known: Vec<_> = self.parameters.iter().map(|(known, _)| *known).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let name = cut(name);
        ProblemResponse::new(Code::ParameterInvalid, format!("unknown parameter {name:?}. Known: {known}"))
    }

    /// The parameter of this name, as `read` understands it. What it does not understand is refused.
    pub(super) fn get<T>(&self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Answer<Option<T>> {
        let Some((_, value)) = self.pairs.iter().find(|(given, _)| given == name) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(name, value, self.says(name))),
        }
    }

    /// The words of the parameter of this name, with commas between. Of several the one that is wrong is named: an empty one
    /// is easily overlooked, and most often a comma too many.
    pub(super) fn list<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Answer<Option<Vec<T>>> {
        let Some((_, value)) = self.pairs.iter().find(|(given, _)| given == name) else { return Ok(None) };
        let words: Vec<_> = value.split(',').collect();
        let wrong = |(index, word): (usize, &&str)| {
            let which = match (words.len(), *word) {
                (1, _) => String::new(),
                (of, "") => format!("word {} of {of} is empty; ", index + 1),
                (of, word) => format!("word {} of {of} is {:?}; ", index + 1, cut(word)),
            };
            invalid(name, value, &format!("{which}{}", self.says(name)))
        };
        words
            .iter()
            .enumerate()
            .map(|at| read(at.1).ok_or_else(|| wrong(at)))
            .collect::<Answer<_>>()
            .map(Some)
    }

    /// The parameter of this name, whatever its type reads.
    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Answer<Option<T>> {
        self.get(name, |text| text.parse().ok())
    }

    /// A number of which there is no 0.
    pub(super) fn at_least_one(&self, name: &str) -> Answer<Option<u64>> {
        self.get(name, |text| text.parse().ok().filter(|&number| number >= 1))
    }

    /// The `limit` of a page.
    pub(super) fn limit(&self) -> Answer<Option<u32>> {
        self.get("limit", |text| text.parse().ok().filter(|limit| PAGE.contains(limit)))
    }

    /// The parameter `attempt`.
    pub(super) fn attempt(&self) -> Answer<Option<Attempt>> {
        self.get("attempt", |text| Attempt::new(text.parse().ok()?))
    }
}

/// The refusal of a parameter's value.
pub(super) fn invalid(name: &str, value: &str, expected: &str) -> ProblemResponse {
    let detail = format!("parameter {name} can't be {:?}: {expected} is expected", cut(value));
    ProblemResponse::new(Code::ParameterInvalid, detail)
}

/// Enough of a text to recognise it by.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A route's parameters, as a program sends them.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Sync, T: FromQuery> FromRequestParts<S> for Parameters<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        T::read(&QueryParameters::read(&parts.uri, T::PARAMETERS, false)?).map(Self)
    }
}

/// The same as a browser sends them from a form: an empty one is none.
pub(super) struct FormParameters<T>(pub(super) T);

impl<S: Sync, T: FromQuery> FromRequestParts<S> for FormParameters<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        T::read(&QueryParameters::read(&parts.uri, T::PARAMETERS, true)?).map(Self)
    }
}

/// Lets only those pass who send no parameter: before routes that take none.
pub(super) async fn none(request: Request, next: Next) -> Response {
    match QueryParameters::read(request.uri(), &[], false) {
        Ok(_) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &[(&str, &str)] = &[("limit", PAGE_SAYS), ("attempt", FROM_ONE)];

    fn detail(query: &str) -> String {
        let given = QueryParameters::read(&format!("/x?{query}").parse().unwrap(), PARAMETERS, false);
        let read = given.and_then(|given| Ok((given.limit()?, given.attempt()?)));
        read.map_or_else(|refusal| refusal.0.detail, |read| format!("{read:?}"))
    }

    #[test]
    fn each_refusal_names_the_parameter_and_what_is_allowed() {
        assert_eq!(detail("limit=500"), "(Some(500), None)");
        assert_eq!(detail(""), "(None, None)");
        for wrong in ["0", "501", "-1", "x", "1.5"] {
            let expect = format!("parameter limit can't be {wrong:?}: 1 to 500 is expected");
            assert_eq!(detail(&format!("limit={wrong}")), expect);
        }
        assert_eq!(detail("attempt=0"), "parameter attempt can't be \"0\": 1 or more is expected");
        assert_eq!(detail("limit="), "parameter limit is empty: leave it out, or send 1 to 500");
        assert_eq!(detail("limit=1&limit=1"), "parameter limit was sent twice: send it once");
        assert_eq!(detail("lmit=1"), "unknown parameter \"lmit\". Known: limit, attempt");
    }

    #[test]
    fn a_form_sends_empty_fields() {
        let given = QueryParameters::read(&"/x?limit=&other=".parse().unwrap(), PARAMETERS, true).unwrap();
        assert_eq!(given.limit().unwrap(), None);
    }
}
