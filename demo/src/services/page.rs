//! The page for people: four files that are part of the program, and one with where tokens come from.
//!
//! `AdService` serves it beside its ads, as one who has a shop puts a sign over the door: a service of its own would be
//! a third program with a third sidecar for four files, and the page would have to be allowed to reach across origins.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use url::Url;

const INDEX: &str = include_str!("../../page/index.html");
const SCRIPT: &str = include_str!("../../page/app.js");
const STYLE: &str = include_str!("../../page/style.css");
const ICON: &str = include_str!("../../page/icon.svg");

/// The page of one deployment.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// The page may call its own origin, and this one.
    policy: String,
    settings: String,
}

impl Page {
    /// A page whose users sign in at `token_url`, as their browsers reach it.
    pub(super) fn new(token_url: &Url) -> Self {
        let issuer = token_url.origin().ascii_serialization();
        Self {
            policy: format!(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {issuer}; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            settings: json!({ "token_url": token_url.as_str() }).to_string(),
        }
    }

    /// `/` and everything below `/page/`.
    pub(super) fn routes(self) -> Router {
        let files = [
            ("/", "text/html; charset=utf-8", INDEX.to_owned()),
            ("/page/app.js", "text/javascript; charset=utf-8", SCRIPT.to_owned()),
            ("/page/style.css", "text/css; charset=utf-8", STYLE.to_owned()),
            ("/page/icon.svg", "image/svg+xml", ICON.to_owned()),
            ("/page/settings.json", "application/json", self.settings.clone()),
        ];
        files.into_iter().fold(Router::new(), |routes, (path, content_type, content)| {
            let page = self.clone();
            routes.route(path, get(move || async move { page.answer(content_type, content) }))
        })
    }

    fn answer(self, content_type: &'static str, content: String) -> Response {
        let headers = [
            (CONTENT_TYPE, content_type.to_owned()),
            (CONTENT_SECURITY_POLICY, self.policy),
            (CACHE_CONTROL, "no-cache".to_owned()),
            (REFERRER_POLICY, "no-referrer".to_owned()),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        ];
        (headers, content).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_may_call_its_own_origin_and_that_of_the_issuer_alone() {
        let page = Page::new(&"https://issuer.example:8445/token".parse().unwrap());
        assert!(page.policy.contains("connect-src 'self' https://issuer.example:8445; "), "{}", page.policy);
        assert!(page.policy.starts_with("default-src 'none'; "), "{}", page.policy);
    }
}
