//! Which route a request takes: by its host, its path and its method, the first that fits.

use std::sync::Arc;

use http::Method;

use crate::policy::{HostPattern, MethodName, Methods, PathPattern, RequestPath, RouteAccess};
use crate::proxy::upstream::Upstream;
use crate::token::Accepted;

use super::refusal::EdgeRefusal;
use super::throttle::Limit;

/// The routes of one listener, in the order in which they are tried.
#[derive(Debug)]
pub(in crate::proxy) struct Routes {
    routes: Vec<Arc<Route>>,
    /// Whether any of them looks at paths, so that no path may be one to us and another to a service.
    looks_at_paths: bool,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    pub(super) name: Arc<str>,
    /// Absent for any.
    pub(super) host: Option<HostPattern>,
    /// Empty for any.
    pub(super) paths: Vec<PathPattern>,
    pub(super) methods: Methods,
    pub(super) access: RouteAccess,
    /// Whose tokens are accepted.
    pub(super) issuers: Accepted,
    /// Whether `Authorization` is passed on.
    pub(super) forward_token: bool,
    /// Most bytes of a body.
    pub(super) max_body: Option<u64>,
    pub(super) upstream: Arc<Upstream>,
    /// The bucket that all of its requests share.
    pub(super) limit: Option<Arc<Limit>>,
}

/// What routes look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// As [`crate::policy::host_of`] gives it.
    pub(super) host: &'a str,
    /// As it was received, without the query.
    pub(super) path: &'a str,
    pub(super) method: &'a Method,
}

impl Routes {
    pub(super) fn new(routes: Vec<Arc<Route>>) -> Self {
        Self { looks_at_paths: routes.iter().any(|route| !route.paths.is_empty()), routes }
    }

    /// A route by its name.
    pub(super) fn named(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| *route.name == *name).map(|route| &**route)
    }

    /// The first route that fits.
    ///
    /// # Errors
    /// How far the request came.
    pub(super) fn find(&self, asked: Asked<'_>) -> Result<&Arc<Route>, EdgeRefusal> {
        let of_path = self.of_path(asked)?;
        if let Some(route) = of_path.iter().find(|route| route.methods.contain(asked.method.as_str())) {
            return Ok(route);
        }
        let mut allow: Vec<&str> = Vec::new();
        for name in of_path.iter().flat_map(|route| route.methods.names()).map(MethodName::as_str) {
            if !allow.contains(&name) {
                allow.push(name);
            }
        }
        Err(EdgeRefusal::MethodNotAllowed { allow: allow.join(", ") })
    }

    /// The routes that fit in host and path; never none.
    ///
    /// # Errors
    /// How far the request came.
    pub(super) fn of_path(&self, asked: Asked<'_>) -> Result<Vec<&Arc<Route>>, EdgeRefusal> {
        let is_for_host = |route: &&Arc<Route>| route.host.as_ref().is_none_or(|host| host.matches(asked.host));
        let mut of_host = self.routes.iter().filter(is_for_host).peekable();
        if of_host.peek().is_none() {
            return Err(EdgeRefusal::Misdirected);
        }
        let path = match RequestPath::parse(asked.path) {
            Ok(path) => Some(path),
            Err(ambiguity) if self.looks_at_paths => return Err(EdgeRefusal::AmbiguousPath(ambiguity)),
            Err(_) => None,
        };
        let is_for_path = |route: &&Arc<Route>| {
            route.paths.is_empty()
                || path.as_ref().is_some_and(|path| route.paths.iter().any(|pattern| pattern.matches(path)))
        };
        let of_path: Vec<&Arc<Route>> = of_host.filter(is_for_path).collect();
        if of_path.is_empty() { Err(EdgeRefusal::NoRoute) } else { Ok(of_path) }
    }
}
