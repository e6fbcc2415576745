//! `AdService` and `UserService` as processes, without sidecars between them.

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
    assert_eq!(line["path"], "/users/preview?ids=1");
    assert_eq!(line["traceparent"], trace);
    assert_eq!(line["identity_headers"], json!({}));
}

#[tokio::test]
async fn a_posted_ad_is_found_near_its_place() {
    let folder = tempdir().unwrap();
    let users = Service::start("user-service", &folder, &[]);
    let ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);
    let ad = json!({
        "seller_id": 6, "title": "Sou'wester", "category": "clothes", "price_cents": 900,
        "latitude": 53.5, "longitude": 10.0,
    });

    let posted = client().post(format!("{}/ads", ads.url)).json(&ad).send().await.unwrap();
    assert_eq!(posted.status().as_u16(), 201);
    let id = posted.json::<Value>().await.unwrap()["id"].clone();

    let (_, answer) = get(&format!("{}/ads?lat=53.5&lon=10&radius_km=1", ads.url)).await;
    assert_eq!(answer["ads"].as_array().unwrap().len(), 1);
    assert_eq!(answer["ads"][0]["id"], id);
    assert_eq!(answer["ads"][0]["seller"]["name"], "Fiete Harms");
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
        (format!("{}/users/preview?ids=1,x", users.url), 400, "ids: \"x\" is not a number"),
    ] {
        let (seen, answer) = get(&url).await;
        assert_eq!((seen, answer["error"].as_str()), (status, Some(reason)), "{url}");
    }
}

#[tokio::test]
async fn both_services_are_healthy_and_end_on_sigterm() {
    let folder = tempdir().unwrap();
    let users = Service::start("user-service", &folder, &[]);
    let ads = Service::start("ad-service", &folder, &["--users-url", &users.url]);
    for mut service in [ads, users] {
        let health = client().get(format!("{}/healthz", service.url)).send().await.unwrap();
        assert_eq!(health.status().as_u16(), 200);
        assert!(service.terminate().success());
    }
}
