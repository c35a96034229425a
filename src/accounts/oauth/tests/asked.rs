//! A provider that is asked for each token, and several backends in their order.

use super::provider::Says;
use super::*;
use crate::accounts::{Accounts, Backends, Verification};
use crate::config::{Auth, AuthBackend, AuthBackendKind, AuthRemote, AuthService};
use crate::smtp::sasl::{Mechanisms, Served};
use crate::state::limits::LoginStanding;

/// Asked under a name and a secret with characters that mean something.
fn introspecting(provider: &Provider, folder: &tempfile::TempDir) -> OauthAccounts {
    let file = folder.path().join("secret");
    std::fs::write(&file, "p:a+s s\nand more\n").unwrap();
    let url = Url::parse(&provider.url("/introspect")).unwrap();
    let proof = OauthProof::Introspection { url, client_id: "gate:way".into(), client_secret_file: file };
    OauthAccounts { issuer: None, ..settings(proof) }
}

fn answers(provider: &Provider, other: Value) {
    let mut says = json!({"active": true, "aud": "smtp", "email": "anna@example.org", "email_verified": true});
    says.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    provider.says("/introspect", Says::This(200, says.to_string()));
}

#[tokio::test]
async fn the_provider_says_whose_token_it_is() {
    let (provider, folder) = (Provider::start().await, tempfile::tempdir().unwrap());
    let settings = introspecting(&provider, &folder);
    let oauth = backend(&settings, SOON);
    answers(&provider, json!({}));
    assert_eq!(ask(&oauth, "o+p/a~q-ue==").await, anna());
    let heard = provider.heard.lock().unwrap()[0].clone();
    assert!(heard.starts_with("POST /introspect HTTP/1.1\r\n"), "{heard}");
    // gate%3Away:p%3Aa%2Bs%20s
    assert!(heard.contains("\r\nauthorization: Basic Z2F0ZSUzQXdheTpwJTNBYSUyQnMlMjBz\r\n"), "{heard}");
    assert!(heard.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\ntoken=o%2Bp%2Fa%7Eq-ue%3D%3D&token_type_hint=access_token"), "{heard}");
    for (other, verdict) in [
        (json!({"active": false}), Verdict::NotMine),
        (json!({"aud": "webmail"}), Verdict::Bad),
        (json!({"aud": null}), Verdict::Bad),
        (json!({"exp": NOW - 60}), Verdict::Bad),
        (json!({"nbf": NOW + 61}), Verdict::Bad),
        (json!({"email_verified": false}), Verdict::Bad),
    ] {
        answers(&provider, other.clone());
        assert_eq!(ask(&oauth, "opaque").await, Ok(verdict), "{other}");
    }
    for says in [Says::This(401, String::new()), Says::This(503, String::new()), Says::Nothing, Says::Endless] {
        provider.says("/introspect", says.clone());
        assert!(ask(&oauth, "opaque").await.is_err(), "{says:?}");
    }
    provider.says("/introspect", Says::Silence);
    assert!(ask(&backend(&settings, Duration::from_millis(100)), "opaque").await.is_err());
}

/// What was given out by somebody else is nothing to tell this provider.
#[tokio::test]
async fn tokens_of_others_are_not_told() {
    let (provider, folder) = (Provider::start().await, tempfile::tempdir().unwrap());
    let oauth = backend(&OauthAccounts { issuer: Some(ISSUER.into()), ..introspecting(&provider, &folder) }, SOON);
    answers(&provider, json!({"iss": ISSUER}));
    let foreign = Signer::ed25519().token("EdDSA", "a", &json!({"iss": "https://other.test"}));
    assert_eq!(ask(&oauth, &foreign).await, Ok(Verdict::NotMine));
    assert_eq!(provider.count(), 0);
    assert_eq!(ask(&oauth, "opaque").await, anna());
    answers(&provider, json!({"iss": "https://other.test"}));
    assert_eq!(ask(&oauth, "opaque").await, Ok(Verdict::Bad));
}

/// Accounts with these backends, in this order; what one says is believed for an hour.
fn accounts(list: Vec<OauthAccounts>) -> Accounts {
    let backends = list.into_iter().enumerate().map(|(place, oauth)| {
        let service = AuthService::Oauth(Box::new(oauth));
        let kind = AuthBackendKind::Remote(AuthRemote { timeout: SOON, concurrent_max: 10, service });
        AuthBackend { name: format!("login-{place}"), cache: Some(Duration::from_hours(1)), kind }
    });
    let settings =
        Auth { backends: backends.collect(), mechanisms: None, hashing_concurrent_max: 1, cache_entries_max: 100 };
    let resolver = Resolver::new(&crate::config::Resolver::default()).unwrap();
    let reach = Reach { upstreams: None, resolver: &resolver, dialer: &(Arc::new(Tcp) as Arc<dyn Dial>) };
    Accounts::new(Backends::load(&settings, &reach).unwrap())
}

#[tokio::test]
async fn answers_are_remembered_no_longer_than_the_token_is_good() {
    let (provider, folder) = (Provider::start().await, tempfile::tempdir().unwrap());
    let accounts = accounts(vec![introspecting(&provider, &folder)]);
    assert_eq!(*accounts.mechanisms(), Served::here(Mechanisms::TOKENS));
    let verify = async |token: &str| accounts.verify_token(Some("anna@example.org"), &secret(token)).await;
    let good = Verification::Good("anna@example.org".into());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    answers(&provider, json!({"exp": now + 3_600}));
    for _ in 0..5 {
        assert_eq!(verify("lasting").await, good);
    }
    assert_eq!(provider.count(), 1);
    // Over by now, and good only because clocks differ: not to be remembered.
    answers(&provider, json!({"exp": now - 10}));
    for _ in 0..2 {
        assert_eq!(verify("ending").await, good);
    }
    assert_eq!(provider.count(), 3);
    answers(&provider, json!({"active": false}));
    for _ in 0..2 {
        assert_eq!(verify("bad").await, Verification::Bad);
    }
    assert_eq!((verify("lasting").await, provider.count()), (good, 5));
}

#[tokio::test]
async fn backends_are_asked_in_their_order() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::ed25519());
    first.keys(&[signer.jwk("a", json!({}))]);
    let keys = OauthKeys::At(Url::parse(&first.url("/jwks")).unwrap());
    let verifying = settings(OauthProof::Signature { keys, algorithms: all() });
    let accounts = accounts(vec![verifying, introspecting(&second, &folder)]);
    let verify = async |token: &str| accounts.verify_token(None, &secret(token)).await;
    answers(&second, json!({"email": "otto@example.org"}));
    let mut lasting = claims();
    lasting["exp"] = json!(4_000_000_000_u64);
    lasting["iat"] = json!(1);
    let good = signer.token("EdDSA", "a", &lasting);
    assert_eq!(verify(&good).await, Verification::Good("anna@example.org".into()));
    // It is the first one's, and not good: the other is not asked.
    let forged = Signer::ed25519().token("EdDSA", "a", &lasting);
    assert_eq!((verify(&forged).await, second.count()), (Verification::Bad, 0));
    assert_eq!(verify("opaque").await, Verification::Good("otto@example.org".into()));
    second.says("/introspect", Says::Nothing);
    assert_eq!(verify("another").await, Verification::Unavailable);
    // Nobody has passwords.
    let facts = crate::accounts::tests::facts();
    let client = crate::accounts::Client { session: &facts, attempt: 1, standing: LoginStanding::Unknown };
    assert_eq!(accounts.verify(&client, "anna@example.org", &secret("x")).await, Verification::Bad);
}
