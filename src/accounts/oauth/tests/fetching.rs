//! When keys are fetched, and what holds while they cannot be.

use super::provider::Says;
use super::*;
use crate::accounts::oauth::keyring::{FRESH, KEPT, PAUSE, PAUSE_WITHOUT};
use crate::accounts::oauth::keys::KEYS_MAX;

#[tokio::test]
async fn sets_of_keys_violated() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    let token = signer.token("EdDSA", "a", &claims());
    let key = signer.jwk("a", json!({}));
    let set = |keys: &[Value]| Says::This(200, json!({"keys": keys}).to_string());
    let mut crowd = vec![json!({"kty": "x"}); 10_000];
    crowd.push(key.clone());
    for says in [
        set(&vec![key.clone(); 10_000]),
        set(&crowd),
        set(&vec![key.clone(); KEYS_MAX + 1]),
        set(&[]),
        set(&[json!({"kty": "oct", "kid": "a", "k": "AAAA"})]),
        set(&[signer.jwk("a", json!({"x": "AAAA"}))]),
        set(&[signer.jwk("a", json!({"kid": 1}))]),
        set(&[json!(["kty"])]),
        Says::This(200, json!([key]).to_string()),
        Says::This(200, json!({"keys": key}).to_string()),
        Says::This(200, "<html>".into()),
        Says::This(200, "[".repeat(100_000)),
        Says::This(500, json!({"keys": [key]}).to_string()),
        Says::This(302, String::new()),
        Says::Endless,
        Says::Nothing,
    ] {
        provider.says("/jwks", says.clone());
        let answer = ask(&verifier(&provider), &token).await;
        assert!(answer.is_err(), "{answer:?}: {says:?}");
    }
    provider.says("/jwks", set(&[json!({"kty": "x"}), json!(7), key]));
    assert_eq!(ask(&verifier(&provider), &token).await, anna());
}

#[tokio::test]
async fn tokens_do_not_make_us_fetch_more_often() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    provider.keys(&[signer.jwk("a", json!({}))]);
    let (oauth, begin) = (verifier(&provider), Instant::now());
    for guess in 0..200 {
        let forged = signer.token("EdDSA", &format!("guess-{guess}"), &claims());
        assert_eq!(ask_at(&oauth, &forged, later(begin, Duration::from_millis(guess))).await, Ok(Verdict::Bad));
        let nameless = Signer::ed25519().token_with(&json!({"alg": "EdDSA"}), &claims());
        assert_eq!(ask_at(&oauth, &nameless, later(begin, Duration::from_millis(guess))).await, Ok(Verdict::Bad));
    }
    assert_eq!(provider.count(), 1);
    // The provider has a new key, which is found as soon as it may be looked for.
    let new = Signer::ed25519();
    provider.keys(&[signer.jwk("a", json!({})), new.jwk("b", json!({}))]);
    let token = new.token("EdDSA", "b", &claims());
    let just_before = later(begin, PAUSE.saturating_sub(Duration::from_millis(1)));
    assert_eq!(ask_at(&oauth, &token, just_before).await, Ok(Verdict::Bad));
    assert_eq!(ask_at(&oauth, &token, later(begin, PAUSE)).await, anna());
    // One that is known is not asked for, until it is old; one that is taken back is good no longer.
    assert_eq!(ask_at(&oauth, &token, later(begin, PAUSE * 10)).await, anna());
    assert_eq!(provider.count(), 2);
    provider.keys(&[signer.jwk("a", json!({}))]);
    assert_eq!(ask_at(&oauth, &token, later(begin, PAUSE + FRESH)).await, Ok(Verdict::Bad));
    assert_eq!(provider.count(), 3);
}

#[tokio::test]
async fn keys_go_on_while_the_provider_is_away() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    provider.keys(&[signer.jwk("a", json!({}))]);
    let (oauth, begin) = (verifier(&provider), Instant::now());
    let (known, forged) = (signer.token("EdDSA", "a", &claims()), Signer::ed25519().token("EdDSA", "a", &claims()));
    let unknown = signer.token("EdDSA", "b", &claims());
    assert_eq!(ask_at(&oauth, &known, later(begin, Duration::ZERO)).await, anna());
    provider.says("/jwks", Says::Nothing);
    assert_eq!(ask_at(&oauth, &known, later(begin, FRESH)).await, anna());
    assert_eq!(ask_at(&oauth, &forged, later(begin, FRESH)).await, Ok(Verdict::Bad));
    // It might be a new one.
    assert!(ask_at(&oauth, &unknown, later(begin, FRESH)).await.is_err());
    assert_eq!(provider.count(), 2, "and it is not asked again at once");
    let almost = KEPT.saturating_sub(Duration::from_secs(1));
    assert_eq!(ask_at(&oauth, &known, later(begin, almost)).await, anna());
    assert!(ask_at(&oauth, &known, later(begin, KEPT)).await.is_err());
    assert!(ask_at(&oauth, &forged, later(begin, KEPT)).await.is_err());
    provider.keys(&[signer.jwk("b", json!({}))]);
    let back = later(begin, KEPT + PAUSE_WITHOUT);
    assert_eq!(ask_at(&oauth, &unknown, back).await, anna());
    assert_eq!(ask_at(&oauth, &known, back).await, Ok(Verdict::Bad));
}

#[tokio::test]
async fn a_provider_that_was_never_there_is_looked_for_with_pauses() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    provider.says("/jwks", Says::Nothing);
    let (oauth, begin) = (verifier(&provider), Instant::now());
    let token = signer.token("EdDSA", "a", &claims());
    for _ in 0..50 {
        assert!(ask_at(&oauth, &token, later(begin, Duration::ZERO)).await.is_err());
    }
    assert_eq!(provider.count(), 1);
    provider.keys(&[signer.jwk("a", json!({}))]);
    assert_eq!(ask_at(&oauth, &token, later(begin, PAUSE_WITHOUT)).await, anna());
}

#[tokio::test]
async fn many_logins_are_one_fetch() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    provider.keys(&[signer.jwk("a", json!({}))]);
    let (oauth, now) = (Arc::new(verifier(&provider)), later(Instant::now(), Duration::ZERO));
    let token = signer.token("EdDSA", "a", &claims());
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (oauth, token) = (Arc::clone(&oauth), token.clone());
        logins.spawn(async move { ask_at(&oauth, &token, now).await });
    }
    assert!(logins.join_all().await.iter().all(|verdict| *verdict == anna()));
    assert_eq!(provider.count(), 1);
}

/// Clients that leave in the middle of it do not make it begin anew.
#[tokio::test]
async fn a_fetch_outlives_who_waits_for_it() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    provider.says("/jwks", Says::Silence);
    let keys = OauthKeys::At(Url::parse(&provider.url("/jwks")).unwrap());
    let proof = OauthProof::Signature { keys, algorithms: all() };
    let (oauth, now) = (backend(&settings(proof), SOON), later(Instant::now(), Duration::ZERO));
    let token = signer.token("EdDSA", "a", &claims());
    for _ in 0..3 {
        let gone = tokio::time::timeout(Duration::from_millis(50), ask_at(&oauth, &token, now)).await;
        assert!(gone.is_err(), "it waits for an answer");
    }
    assert!(provider.count() <= 1, "{}", provider.count());
    // One that never comes ends at its bound.
    let keys = OauthKeys::At(Url::parse(&provider.url("/jwks")).unwrap());
    let proof = OauthProof::Signature { keys, algorithms: all() };
    let impatient = backend(&settings(proof), Duration::from_millis(100));
    assert!(ask_at(&impatient, &token, now).await.is_err());
}

#[tokio::test]
async fn keys_are_found_where_the_issuer_says() {
    let (provider, signer) = (Provider::start().await, Signer::p256());
    provider.keys(&[signer.jwk("a", json!({}))]);
    let issuer = provider.url("/realm");
    let page = Url::parse(&format!("{issuer}/.well-known/openid-configuration")).unwrap();
    let discovering = |page: Url| {
        let proof = OauthProof::Signature { keys: OauthKeys::Discovered(page), algorithms: all() };
        backend(&OauthAccounts { issuer: Some(issuer.clone()), ..settings(proof) }, SOON)
    };
    let mut claims = claims();
    claims["iss"] = json!(issuer);
    let token = signer.token("ES256", "a", &claims);
    let says =
        |text: Value| provider.says("/realm/.well-known/openid-configuration", Says::This(200, text.to_string()));
    for hostile in [
        json!({"issuer": ISSUER, "jwks_uri": provider.url("/jwks")}),
        json!({"issuer": format!("{issuer}/"), "jwks_uri": provider.url("/jwks")}),
        json!({"jwks_uri": provider.url("/jwks")}),
        json!({"issuer": issuer}),
        json!({"issuer": issuer, "jwks_uri": "/jwks"}),
        json!({"issuer": issuer, "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": issuer, "jwks_uri": "http://192.0.2.1/jwks"}),
        json!(null),
    ] {
        says(hostile.clone());
        assert!(ask(&discovering(page.clone()), &token).await.is_err(), "{hostile}");
    }
    assert!(provider.heard.lock().unwrap().iter().all(|heard| !heard.starts_with("GET /jwks")));
    says(json!({"issuer": issuer, "jwks_uri": provider.url("/jwks")}));
    assert_eq!(ask(&discovering(page), &token).await, anna());
}
