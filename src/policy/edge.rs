//! Who may use a route of an edge listener.

use thiserror::Error;

use crate::identity::User;

use super::{ClaimRules, Permit};

/// Who may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAccess {
    /// Anybody: no user is needed, and none is told.
    Public,
    /// Users whose claims say all of this.
    Users(ClaimRules),
}

/// Why a request may not use its route.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteDenial {
    /// The client's certificate was revoked since its handshake, or whether it was is no longer known.
    #[error("the client's certificate was withdrawn since its handshake")]
    CertificateWithdrawn,
    /// The route needs a user, and there is none.
    #[error("the route needs a user")]
    NoUser,
    /// A claim of the user says something else, or nothing.
    #[error("the route needs a user with {needed}")]
    Claims {
        /// What the first such claim has to say.
        needed: String,
    },
}

impl RouteAccess {
    /// Decides about one request. `is_withdrawn` says that the client's certificate was withdrawn.
    ///
    /// # Errors
    /// Why not.
    pub fn authorize(&self, user: Option<&User>, is_withdrawn: bool) -> Result<Permit, RouteDenial> {
        if is_withdrawn {
            return Err(RouteDenial::CertificateWithdrawn);
        }
        let Self::Users(claims) = self else { return Ok(Permit { rule: None }) };
        let user = user.ok_or(RouteDenial::NoUser)?;
        match claims.first_unmet(&user.claims) {
            None => Ok(Permit { rule: None }),
            Some(unmet) => Err(RouteDenial::Claims { needed: unmet.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{ClaimRule, ClaimValue};
    use super::*;

    fn sellers() -> RouteAccess {
        let one_of = vec![ClaimValue::Text("seller".into())];
        RouteAccess::Users(ClaimRules::new(vec![ClaimRule { path: vec!["role".into()], one_of }]))
    }

    fn user(role: &str) -> User {
        let claims = json!({ "role": role }).as_object().cloned().unwrap_or_default();
        User { issuer: "https://issuer".into(), subject: "ana".into(), claims }
    }

    #[test]
    fn a_route_that_is_not_public_needs_a_user_with_its_claims() {
        assert!(sellers().authorize(Some(&user("seller")), false).is_ok());
        assert_eq!(sellers().authorize(None, false), Err(RouteDenial::NoUser));
        let needed = "role = \"seller\"".to_owned();
        assert_eq!(sellers().authorize(Some(&user("buyer")), false), Err(RouteDenial::Claims { needed }));
    }

    #[test]
    fn a_withdrawn_certificate_may_not_even_use_a_public_route() {
        assert_eq!(RouteAccess::Public.authorize(None, true), Err(RouteDenial::CertificateWithdrawn));
        assert!(RouteAccess::Public.authorize(None, false).is_ok());
    }
}
