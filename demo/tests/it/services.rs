//! `AdService` and `UserService` as processes, without sidecars between them.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::{Service, client};

const NEAR_ALEXANDERPLATZ: &str = "/ads?lat=52.5219&lon=13.4132&radius_km=5";

async fn get(url: &str) -> (u16, Value) {
    let response = client().get(url).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn ads_near_a_place_come_with_their_sellers() {
    let folder = tempdir().unwrap();
    let users = Service::start("user-service", &folder, &[]);
    let ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);

    let (status, answer) = get(&format!("{}{NEAR_ALEXANDERPLATZ}", ads.url)).await;

    assert_eq!(status, 200);
    let found = answer["ads"].as_array().unwrap();
    assert_eq!(found[0]["title"], "Touring bicycle, 28 inch");
    assert_eq!(found[0]["seller"]["name"], "Anneke Brandt");
    assert!(found.iter().all(|ad| ad["seller"]["rating"].is_f64()), "{answer}");
    assert!(found.iter().all(|ad| ad["seller"]["email"].is_null()), "{answer}");
}

#[tokio::test]
async fn ads_come_without_sellers_and_with_the_reason_while_users_are_away() {
    let folder = tempdir().unwrap();
    let mut users = Service::start("user-service", &folder, &[]);
    let ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);
    assert!(users.terminate().success());

    let (status, answer) = get(&format!("{}{NEAR_ALEXANDERPLATZ}", ads.url)).await;

    assert_eq!(status, 200);
    assert!(answer["sellers_unavailable"].as_str().unwrap().contains("UserService is not reached"), "{answer}");
    assert!(answer["ads"].as_array().unwrap().iter().all(|ad| ad["seller"].is_null()));
}

#[tokio::test]
async fn the_caller_that_the_sidecar_names_is_answered_and_logged_and_the_trace_goes_on() {
    let folder = tempdir().unwrap();
    let mut users = Service::start("user-service", &folder, &[]);
    let mut ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    let answer: Value = client()
        .get(format!("{}/ads/1", ads.url))
        .header("x-mantlet-peer", "spiffe://fleamarket.internal/gateway")
        .header("x_mantlet_peer", "somebody else")
        .header("traceparent", trace)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();

    assert_eq!(answer["authenticated_caller"], "spiffe://fleamarket.internal/gateway");
    assert_eq!(answer["known_to_users_as"], Value::Null);
    let line = ads.next_line();
    assert_eq!(line["path"], "/ads/1");
    assert_eq!(line["status"], 200);
    assert_eq!(
        line["identity_headers"],
        json!({ "x-mantlet-peer": ["spiffe://fleamarket.internal/gateway"], "x_mantlet_peer": ["somebody else"] })
    );
    let line = users.next_line();
    assert_eq!(line["path"], "/users/preview?id=anneke");
    assert_eq!(line["traceparent"], trace);
    assert_eq!(line["identity_headers"], json!({}));
}

#[tokio::test]
async fn a_posted_ad_is_sold_by_the_user_whom_the_sidecar_names() {
    let folder = tempdir().unwrap();
    let users = Service::start("user-service", &folder, &[]);
    let ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);

    let (status, answer) = post_ad(&ads, Some("fiete"), &sou_wester()).await;
    assert_eq!((status, answer["seller"].as_str()), (201, Some("fiete")), "{answer}");

    let (_, found) = get(&format!("{}/ads?lat=54&lon=8&radius_km=1", ads.url)).await;
    assert_eq!(found["ads"].as_array().unwrap().len(), 1);
    assert_eq!(found["ads"][0]["id"], answer["id"]);
    assert_eq!(found["ads"][0]["seller"]["name"], "Fiete Harms");
}

#[tokio::test]
async fn nobody_places_an_ad_without_being_signed_in_or_in_the_name_of_another() {
    let folder = tempdir().unwrap();
    let ads = Service::start("ad-service", &folder, &["--users-url", "http://127.0.0.1:9"]);

    let (status, answer) = post_ad(&ads, None, &sou_wester()).await;
    assert_eq!((status, answer["error"].as_str()), (401, Some("nobody is signed in")));

    let mut in_anothers_name = sou_wester();
    in_anothers_name["seller_id"] = json!("anneke");
    let (status, answer) = post_ad(&ads, Some("fiete"), &in_anothers_name).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("unknown field `seller_id`"), "{answer}");

    let (_, found) = get(&format!("{}/ads?lat=54&lon=8&radius_km=1", ads.url)).await;
    assert_eq!(found["ads"], json!([]));
}

#[tokio::test]
async fn an_ad_that_makes_no_sense_is_refused_with_the_reason() {
    let folder = tempdir().unwrap();
    let ads = Service::start("ad-service", &folder, &["--users-url", "http://127.0.0.1:9"]);

    for (field, value, reason) in [
        ("title", json!("  "), "title: 1 to 100 characters are wanted"),
        ("title", json!("x".repeat(101)), "title: 1 to 100 characters are wanted"),
        ("category", json!("weapons"), "category: \"weapons\" is none of bicycles, boats"),
        ("price_cents", json!(-1), "price_cents: -1 is not 0 to 10000000"),
        ("latitude", json!(91), "91, 8 is not a position on the globe"),
        ("price_cents", json!("cheap"), "price_cents: invalid type"),
    ] {
        let mut ad = sou_wester();
        ad[field] = value;
        let (status, answer) = post_ad(&ads, Some("fiete"), &ad).await;
        assert_eq!(status, 400, "{field}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(reason), "{field}: {answer}");
    }
}

fn sou_wester() -> Value {
    json!({ "title": "Sou'wester", "category": "clothes", "price_cents": 900, "latitude": 54.0, "longitude": 8.0 })
}

async fn post_ad(ads: &Service, user: Option<&str>, ad: &Value) -> (u16, Value) {
    let mut request = client().post(format!("{}/ads", ads.url)).json(ad);
    if let Some(user) = user {
        request = request.header("x-mantlet-user", user);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_reason() {
    let folder = tempdir().unwrap();
    let users = Service::start("user-service", &folder, &[]);
    let ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);

    for (url, status, reason) in [
        (format!("{}/ads?lat=91&lon=0&radius_km=1", ads.url), 400, "91, 0 is not a position on the globe"),
        (format!("{}/ads?lat=NaN&lon=0&radius_km=1", ads.url), 400, "NaN, 0 is not a position on the globe"),
        (format!("{}/ads?lat=1&lon=0&radius_km=inf", ads.url), 400, "radius_km: inf is not 0 to 500"),
        (format!("{}/ads/4711", ads.url), 404, "there is no ad 4711"),
        (format!("{}/users/preview?ids=1,2", users.url), 400, "ids=1,2: only id= with a user's id is understood"),
    ] {
        let (seen, answer) = get(&url).await;
        assert_eq!((seen, answer["error"].as_str()), (status, Some(reason)), "{url}");
    }
}

#[tokio::test]
async fn both_services_are_healthy_by_their_own_word_and_end_on_sigterm() {
    let folder = tempdir().unwrap();
    let users = Service::start("user-service", &folder, &[]);
    let ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);
    for (mut service, subcommand) in [(ads, "ad-service"), (users, "user-service")] {
        let health = client().get(format!("{}/healthz", service.url)).send().await.unwrap();
        assert_eq!(health.status().as_u16(), 200);
        let asked = health_check(subcommand, &service);
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        assert!(service.terminate().success());
        let asked = health_check(subcommand, &service);
        assert_eq!(asked.status.code(), Some(1));
        let told = String::from_utf8_lossy(&asked.stderr);
        assert!(told.contains(&format!("{}/healthz does not answer", service.url)), "{told}");
    }
}

/// The health check of a container: the same program with the same environment.
fn health_check(subcommand: &str, service: &Service) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_flea-market"))
        .args([subcommand, "--health"])
        .env("LISTEN", service.url.trim_start_matches("http://"))
        .envs([("DATABASE_URL", "sqlite::memory:"), ("USERS_URL", "http://127.0.0.1:9")])
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_page_is_served_only_where_it_is_known_where_tokens_come_from() {
    let folder = tempdir().unwrap();
    let users = ["--users-url", "http://127.0.0.1:9"];
    let with =
        Service::start("ad-service", &folder, &[&users[..], &["--token-url", "https://issuer:8445/token"]].concat());
    let response = client().get(format!("{}/", with.url)).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("connect-src 'self' https://issuer:8445;"), "{policy}");
    assert_eq!(
        get(&format!("{}/page/settings.json", with.url)).await.1,
        json!({ "token_url": "https://issuer:8445/token" })
    );

    let folder = tempdir().unwrap();
    let without = Service::start("ad-service", &folder, &users);
    assert_eq!(client().get(format!("{}/", without.url)).send().await.unwrap().status().as_u16(), 404);
}
