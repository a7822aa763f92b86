//! The Operation that a person means.

use aegir_api::OperationList;
use aegir_client::Client;
use aegir_protocol::id::OperationId;

use crate::error::Error;

/// How many Operations are looked through at a time for an id that starts as was typed.
const PAGE: u32 = 500;

/// The Operation of a whole id, the start of one, or `latest`.
///
/// # Errors
/// When there is none, or more than one.
pub async fn resolve(client: &Client, text: &str) -> Result<OperationId, Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if text == "latest" {
        let list: OperationList = client.get("/api/v1/operations?limit=1").await?;
        return list.operations.first().map(|operation| operation.id).ok_or(Error::NoneYet);
    }
    let prefix = Prefix::parse(text)?;
    let mut fitting: Vec<OperationId> = Vec::new();
    let mut path = format!("/api/v1/operations?limit={PAGE}");
    loop {
        let list: OperationList = client.get(&path).await?;
        let ids = list.operations.iter().map(|operation| operation.id);
        fitting.extend(ids.clone().filter(|id| prefix.fits(id)));
        let passed = ids.clone().all(|id| prefix.is_behind(&id));
        match list.next {
            Some(next) if fitting.len() < 2 && !passed => {
                path = format!("/api/v1/operations?limit={PAGE}&before={next}");
            }
            Some(_) | None => return prefix.choose(&fitting),
        }
    }
}

/// The start of an id: hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
struct Prefix(String);

impl Prefix {
    fn parse(text: &str) -> Result<Self, Error> {
        let digits: String = text.chars().filter(|&c| c != '-').map(|c| c.to_ascii_lowercase()).collect();
        if (1..=32).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit()) {
            Ok(Self(digits))
        } else {
            let message = format!(
                "{:?} is not an Operation's id: give an id, the start of one, or `latest`",
                text.chars().take(64).collect::<String>()
            );
            Err(Error::Usage(message))
        }
    }

    fn fits(&self, id: &OperationId) -> bool {
        digits(id).starts_with(&self.0)
    }

    /// Whether this one is older than every one that fits. Ids sort by time, and lists start with the newest,
    /// so a page of such ends the search.
    fn is_behind(&self, id: &OperationId) -> bool {
        digits(id)[..self.0.len()] < *self.0
    }

    fn choose(&self, fitting: &[OperationId]) -> Result<OperationId, Error> {
        match fitting {
            [] => Err(Error::NoSuchPrefix(self.0.clone())),
            [id] => Ok(*id),
            [first, second, ..] => {
                let ids = vec![first.to_string(), second.to_string()];
                Err(Error::Ambiguous { prefix: self.0.clone(), ids })
            }
        }
    }
}

fn digits(id: &OperationId) -> String {
    id.as_uuid().as_simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_stands_for_one_operation_or_says_why_not() {
        let id = |text: &str| text.parse::<OperationId>().unwrap();
        let one = id("019235f0-7a3c-7def-8000-000000000001");
        let two = id("019235f0-7a3d-7def-8000-000000000001");
        let older = id("019235f0-7000-7def-8000-000000000001");
        let prefix = Prefix::parse("019235F0-7a3").unwrap();
        assert!(prefix.fits(&one) && prefix.fits(&two) && !prefix.fits(&older));
        assert!(prefix.is_behind(&older) && !prefix.is_behind(&one));
        assert_eq!(prefix.choose(&[one]).unwrap(), one);
        assert!(matches!(prefix.choose(&[two, one]), Err(Error::Ambiguous { .. })));
        assert!(matches!(prefix.choose(&[]), Err(Error::NoSuchPrefix(_))));
        for wrong in ["", "xyz", "last", "--", &"0".repeat(33)] {
            assert!(matches!(Prefix::parse(wrong), Err(Error::Usage(_))), "{wrong:?} was taken");
        }
    }
}
