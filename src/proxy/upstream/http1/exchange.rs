//! One request on a connection, up to the header section of its answer.

use std::future::poll_fn;

use http::{Response, request};

use crate::proxy::incoming::Incoming;
use crate::proxy::request_body::RequestBody;
use crate::proxy::upstream::retry::{Spare, Unanswered};

use super::body::Http1Body;
use super::connection::Connection;

/// Sends a request and waits for its answer, whose body takes the connection with it.
pub(in crate::proxy::upstream) fn send(
    mut connection: Box<Connection>,
    mut head: request::Parts,
    body: RequestBody,
) -> impl Future<Output = Result<Response<Incoming>, Box<Unanswered>>> {
    let has_no_body = body.is_empty();
    let begun = connection.begin(&mut head, body);
    async move {
        let answered = match begun {
            Ok(()) => poll_fn(|cx| connection.poll_answer(cx)).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(response) => Ok(response.map(|()| Incoming::Http1Answer(Http1Body::on(connection)))),
            Err(error) => {
                let mut unanswered = Unanswered { error: error.into(), never_sent: None, spare: None };
                match connection.take_back() {
                    Some(body) => unanswered.never_sent = Some((head, body)),
                    None => unanswered.spare = has_no_body.then(|| Spare::without_body(head)),
                }
                Err(Box::new(unanswered))
            }
        }
    }
}
