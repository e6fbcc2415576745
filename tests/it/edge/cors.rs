//! Pages of other origins.

use crate::support::gateway::{Gateway, OPEN};

const CORS: &str = "cors_origins = [\"https://market.example\"]\ncors_credentials = true\ncors_max_age = \"1h\"";
const PREFLIGHT: [&str; 2] = ["Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization"];

#[test]
fn a_preflight_is_answered_at_the_edge_for_listed_origins_alone() {
    // The route needs a user; a browser sends no token with its question.
    let gateway = Gateway::open(CORS);
    let ask = |origin: &str| gateway.ask("OPTIONS /ads", &[PREFLIGHT[0], PREFLIGHT[1], &format!("Origin: {origin}")]);
    let answer = ask("https://market.example");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, vec!["https://market.example"]));
    assert_eq!(answer.header("access-control-allow-methods"), ["GET, HEAD, POST, PUT, PATCH, DELETE"]);
    assert_eq!(answer.header("access-control-allow-headers"), ["authorization, content-type"]);
    assert_eq!(answer.header("access-control-max-age"), ["3600"]);
    assert_eq!(
        (answer.header("access-control-allow-credentials"), answer.header("vary")),
        (vec!["true"], vec!["Origin"])
    );
    for origin in [
        "https://evil.example",
        "https://market.example.evil",
        "http://market.example",
        "null",
        "https://MARKET.example",
    ] {
        let refused = ask(origin);
        assert_eq!(
            (refused.status, refused.header("access-control-allow-origin")),
            (403, vec![]),
            "{origin} {refused:?}"
        );
        assert_eq!(refused.header("vary"), ["Origin"], "{origin}");
    }
    assert!(!gateway.inbound.events().iter().any(|event| event["message"] == "request"));
}

#[test]
fn only_the_answer_to_a_listed_origin_says_that_its_page_may_read_it() {
    let gateway = Gateway::open(CORS);
    for (fields, expected) in [
        (&["Origin: https://market.example"][..], vec!["https://market.example"]),
        (&["Origin: https://evil.example"], vec![]),
        (&[], vec![]),
        (&["Origin: https://market.example", "Origin: https://evil.example"], vec![]),
    ] {
        for line in ["GET /ads", "GET /ads?access_token=x"] {
            let answer = gateway.ask(line, fields);
            assert_eq!(answer.header("access-control-allow-origin"), expected, "{line} {fields:?}");
            assert_eq!(answer.header("vary"), ["Origin"], "{line} {fields:?}");
        }
    }
}

#[test]
fn without_origins_a_preflight_is_a_request_like_any_other() {
    let gateway = Gateway::with("", OPEN);
    let answer = gateway.ask("OPTIONS /ads", &[PREFLIGHT[0], "Origin: https://market.example"]);
    assert_eq!((answer.status, answer.received("origin")), (200, vec!["https://market.example".to_owned()]));
}
