//! Sending one request, and once more where the first connection turned out to be closed.

use std::sync::Arc;

use futures_util::future::Either;
use http::header::{COOKIE, HOST, TE, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Response, Uri, Version, request};
use http_body::Body as _;

use crate::config::{AppProtocol, Hop};
use crate::policy::Permit;
use crate::proxy::error::ProxyError;
use crate::proxy::headers::Intent;
use crate::proxy::incoming::Incoming;
use crate::proxy::request_body::RequestBody;

use super::http1;
use super::http2::answered;
use super::large_answers::{LARGE_BODY, PathKey};
use super::pool::{Lease, Leased, Wanted};
use super::retry::{Spare, Unanswered, again};
use super::{Target, Upstream};

/// An upstream's answer and the connection that it comes on.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response<Incoming>,
    /// To be given back after its last byte.
    pub lease: Lease,
    /// True where it took a second try.
    pub retried: bool,
}

impl Upstream {
    /// Sends a permitted request. Where a pooled connection turns out to be closed, a request that cannot have been acted upon, or
    /// that may be acted upon twice (RFC 9110 section 9.2.2), is sent once more on a fresh one.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn send(
        self: Arc<Self>,
        worker: usize,
        _permit: Permit,
        mut head: request::Parts,
        mut body: RequestBody,
        intent: Intent,
    ) -> Result<impl Future<Output = Result<Answer, ProxyError>>, ProxyError> {
        let path = self.learns().then(|| PathKey::of(&head.uri));
        let is_large =
            || body.size_hint().lower() >= LARGE_BODY || path.is_some_and(|path| self.large_answers.expects(path));
        let wanted = self.wanted(intent, is_large)?;
        Ok(async move {
            let mut retried = false;
            loop {
                let mut lease = self.lease(worker, wanted, retried).await?;
                let may_retry = lease.reused && !retried;
                let unanswered = match lease.send(head, body, intent, may_retry).await {
                    Ok(response) => {
                        lease.path = path;
                        return Ok(Answer { response, lease, retried });
                    }
                    Err(unanswered) => *unanswered,
                };
                (head, body) = match again(unanswered, may_retry) {
                    Ok(again) => again,
                    Err(error) => return Err(self.no_answer(error)),
                };
                retried = true;
            }
        })
    }

    /// True where the size of answers decides how the hop is made.
    fn learns(&self) -> bool {
        matches!(self.target, Target::Peer { hop: Hop::Auto, .. })
    }

    /// Which version to look for. `is_large` says whether a large body is expected either way.
    fn wanted(&self, intent: Intent, is_large: impl Fn() -> bool) -> Result<Wanted, ProxyError> {
        Ok(match &self.target {
            Target::Service { app_protocol, .. } => match (app_protocol, intent) {
                (AppProtocol::Http2, Intent::Upgrade) => {
                    return Err(ProxyError::Upgrade("the service is spoken to in HTTP/2"));
                }
                (AppProtocol::Http2, _) | (AppProtocol::Auto, Intent::Grpc) => Wanted::Http2,
                (AppProtocol::Http1 | AppProtocol::Auto, _) => Wanted::Http1,
            },
            Target::Peer { hop, .. } => match (hop, intent) {
                (Hop::Http2, Intent::Upgrade) => return Err(ProxyError::Upgrade("the hop speaks HTTP/2")),
                (Hop::Http2, _) => Wanted::Http2,
                (Hop::Http1, _) | (Hop::Auto, Intent::Upgrade) => Wanted::Http1,
                (Hop::Auto, Intent::Exchange) if is_large() => Wanted::Http1,
                (Hop::Auto, _) => Wanted::Either,
            },
        })
    }
}

impl Lease {
    /// Sends a request and waits for its answer. It is handed over at once, and only its answer is waited for.
    fn send(
        &mut self,
        mut head: request::Parts,
        mut body: RequestBody,
        intent: Intent,
        may_retry: bool,
    ) -> impl Future<Output = Result<Response<Incoming>, Box<Unanswered>>> {
        match &mut self.connection {
            Leased::Http1(connection) => {
                write_as_http1(&mut head, intent);
                let connection = connection.take().expect("a lease is for one request");
                Either::Left(http1::send(connection, head, body))
            }
            Leased::Http2(http2) => {
                write_as_http2(&mut head);
                let spare = if may_retry { Spare::of(&head, &mut body) } else { None };
                let sending = http2.send(head, body);
                let upload = &mut self.upload;
                Either::Right(async move {
                    let (answer, carrying) = match sending {
                        Ok(sent) => sent,
                        // It was refused at once, as by a connection that has just gone away.
                        Err(unanswered) => return Err(Box::new(Unanswered { spare, ..*unanswered })),
                    };
                    match answered(answer, carrying, upload).await {
                        Ok(response) => Ok(response),
                        Err(error) => {
                            // Nobody reads the body any more before it may be sent again.
                            if let Some(upload) = upload.take() {
                                upload.stop().await;
                            }
                            Err(Box::new(Unanswered { error: error.into(), never_sent: None, spare }))
                        }
                    }
                })
            }
        }
    }
}

/// Origin form and a `Host` header (RFC 9112 section 3.2).
fn write_as_http1(head: &mut request::Parts, intent: Intent) {
    head.version = Version::HTTP_11;
    let (mut has_host, mut has_te, mut crumbs) = (false, false, 0);
    // Once through all of them costs less than looking each up.
    for (name, _) in &head.headers {
        has_host |= name == HOST;
        has_te |= name == TE;
        crumbs += usize::from(name == COOKIE);
    }
    if !has_host {
        let authority = head.uri.authority().map_or("", |authority| authority.as_str());
        // An authority that parsed has no character that a header value may not have.
        head.headers.insert(HOST, HeaderValue::from_str(authority).unwrap_or(HeaderValue::from_static("")));
    }
    if crumbs > 1 {
        join_cookies(&mut head.headers);
    }
    if head.uri.scheme().is_some() {
        let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
    }
    if intent != Intent::Upgrade && has_te {
        head.headers.insert(http::header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// HTTP/2 may split `Cookie` into several fields, HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Pseudo-header fields in place of `Host` (RFC 9113 section 8.3.1).
fn write_as_http2(head: &mut request::Parts) {
    head.version = Version::HTTP_2;
    head.headers.remove(http::header::CONNECTION);
    head.headers.remove(TRANSFER_ENCODING);
    let host = head.headers.remove(HOST);
    if head.uri.authority().is_some() {
        return;
    }
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = host.and_then(|host| host.to_str().ok()?.parse().ok());
    if parts.authority.is_none() {
        // An HTTP/1.0 request may name no host. HTTP/2 wants an authority beside the scheme, and an empty one cannot be written.
        parts.authority = Some(http::uri::Authority::from_static("localhost"));
    }
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(parts).unwrap_or_default();
}
