//! Signing in: the API's token, one-time links, and the sessions of browsers.

use aegir_api::SignInLink;
use aegir_protocol::problem::Problem;
use jiff::Timestamp;

use crate::sign_in::{self, Token};
use crate::store::Store;
use crate::store::write::{AddCode, EndSession, RedeemCode};

/// Who may use the API and the page.
pub struct Sessions {
    /// Where codes and sessions are, as hashes.
    pub store: Store,
    /// The API's token.
    pub token: Token,
}

impl Sessions {
    /// Whether this is the API's token.
    #[must_use]
    pub fn is_token(&self, shown: &str) -> bool {
        self.token.is(shown)
    }

    /// A new link that signs in once, within ten minutes.
    ///
    /// # Errors
    /// When it can't be stored.
    pub async fn sign_in_link(&self) -> Result<SignInLink, Problem> {
        let code = sign_in::random();
        let expires_at = Timestamp::now() + sign_in::CODE_LIFETIME;
        self.store.write(AddCode { hash: sign_in::hash(&code), expires_at }).await?;
        Ok(SignInLink { path: format!("/sign-in?code={code}"), expires_at })
    }

    /// Exchanges a code for a session's id; `None` when the code does not work (any more).
    ///
    /// # Errors
    /// When that can't be stored.
    pub async fn redeem(&self, code: &str) -> Result<Option<String>, Problem> {
        let session = sign_in::random();
        let redeem = RedeemCode {
            code: sign_in::hash(code),
            session: sign_in::hash(&session),
            expires_at: Timestamp::now() + sign_in::SESSION_LIFETIME,
        };
        Ok(self.store.write(redeem).await?.then_some(session))
    }

    /// Whether a session with this id is open.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn is_session(&self, session: &str) -> Result<bool, Problem> {
        Ok(self.store.session_is_open(&sign_in::hash(session)).await?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When that can't be stored.
    pub async fn sign_out(&self, session: &str) -> Result<(), Problem> {
        Ok(self.store.write(EndSession { session: sign_in::hash(session) }).await?)
    }
}
