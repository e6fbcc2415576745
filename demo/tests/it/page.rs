//! The page, in a browser, at the gateway of a running market.

use serde_json::Value;

use crate::support::browser::{Browser, DESKTOP, PHONE};
use crate::support::market::Market;

/// A browser at the page of the market, which trusts what the gateway and the issuer show.
fn browser_at(market: &Market) -> Browser {
    let mut browser = Browser::start(&market.public_keys());
    browser.open(&format!("{}/", market.gateway()));
    browser
}

fn sign_in(browser: &mut Browser, user: &str, password: &str) {
    browser.fill("#email", user);
    browser.fill("#password", password);
    browser.click("#sign-in button");
}

fn place_an_ad(browser: &mut Browser, title: &str) {
    browser.click("#sell");
    browser.fill("#title", title);
    browser.fill("#new-category", "tools");
    browser.fill("#price", "12.5");
    browser.click("#post [type=submit]");
}

#[test]
fn a_seller_signs_in_sees_ads_with_their_sellers_and_places_one() {
    let market = Market::up();
    let mut browser = browser_at(&market);
    browser.picture("welcome");
    assert!(!browser.is_shown("#market"), "nothing is for sale for strangers");

    sign_in(&mut browser, "anneke@example.org", "wrong");
    browser.wait_until("!document.getElementById('sign-in-error').hidden");
    assert_eq!(browser.text("#sign-in-error"), "Sign-in failed: the user or the password is wrong.");
    sign_in(&mut browser, "anneke@example.org", "market-anneke");
    browser.wait_until("document.querySelectorAll('.ad').length > 10");
    assert_eq!(browser.text("#user-name"), "Anneke Brandt");
    assert_eq!(browser.text(".ad h3"), "Touring bicycle, 28 inch");
    assert_eq!(browser.text(".ad .name"), "Anneke Brandt");
    let hops = "spiffe://fleamarket.internal/gateway  →  spiffe://fleamarket.internal/adservice  →  userservice";
    assert_eq!(
        browser.text("#hops").split_whitespace().collect::<Vec<_>>(),
        hops.split_whitespace().collect::<Vec<_>>()
    );
    browser.picture("ads");

    place_an_ad(&mut browser, "Spirit level <b>1 m</b>");
    browser.wait_until("document.querySelector('.fresh') !== null");
    assert_eq!(browser.text(".fresh h3"), "Spirit level <b>1 m</b>", "a title is text, not HTML");
    assert_eq!(browser.text(".fresh .price"), "€12.50");
    assert_eq!(browser.text(".fresh .name"), "Anneke Brandt");
    assert_eq!(browser.text("#notice"), "Your ad “Spirit level <b>1 m</b>” is placed.");

    browser.fill("#category", "bicycles");
    let categories = "[...document.querySelectorAll('.ad .category')].map((tag) => tag.innerText).join()";
    browser.wait_until(&format!("{categories} === 'bicycles,bicycles,bicycles'"));
    browser.fill("#category", "");
    browser.fill("#place", "2");
    browser.wait_until("document.querySelector('.ad h3')?.innerText === 'Rowing boat with oars'");

    // The one complaint is the browser's own, about the refused password.
    assert_eq!(browser.complaints.len(), 1, "{:?}", browser.complaints);
    assert!(browser.complaints[0].contains("400"), "{:?}", browser.complaints);
}

#[test]
fn who_may_not_sell_is_told_so_and_who_signs_out_leaves_nothing_behind() {
    let market = Market::up();
    let mut browser = browser_at(&market);
    sign_in(&mut browser, "ida@example.org", "market-ida");
    browser.wait_until("document.querySelectorAll('.ad').length > 10");

    place_an_ad(&mut browser, "Nothing");
    browser.wait_until("!document.getElementById('post-error').hidden");
    assert!(browser.text("#post-error").starts_with("You may not do that: "), "{}", browser.text("#post-error"));
    browser.click("#cancel");

    let kept = "localStorage.length + sessionStorage.length + document.cookie.length";
    assert_eq!(browser.value(kept), 0, "the token is in memory alone");
    browser.click("#sign-out");
    assert!(browser.is_shown("#welcome") && !browser.is_shown("#market"));
    assert_eq!(browser.value("document.querySelectorAll('.ad').length"), 0);
    browser.open(&format!("{}/", market.gateway()));
    assert!(browser.is_shown("#welcome"));
}

#[test]
fn the_page_fits_a_phone_and_everything_in_it_has_a_name() {
    let market = Market::up();
    let mut browser = browser_at(&market);
    browser.size(PHONE);
    browser.picture("welcome-phone");
    sign_in(&mut browser, "anneke@example.org", "market-anneke");
    browser.wait_until("document.querySelectorAll('.ad').length > 10");
    browser.picture("ads-phone");
    for size in [PHONE, (320, 640), DESKTOP] {
        browser.size(size);
        let width = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(width <= u64::from(size.0), "{width} does not fit into {size:?}");
    }
    browser.click("#sell");
    browser.picture("new-ad");
    let nameless: Value = browser.value(
        "[...document.querySelectorAll('input, select, button')].filter((it) => \
         !(it.labels?.length || it.innerText || it.ariaLabel)).map((it) => it.outerHTML)",
    );
    assert_eq!(nameless, serde_json::json!([]));
    assert_eq!(browser.value("document.activeElement.id"), "title", "the first field has the focus");
}
