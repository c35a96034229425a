//! Tokens, honest and forged, against a provider that is there, away, or hostile.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod asked;
mod fetching;
mod provider;

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeySize;
use serde_json::{Value, json};

use super::super::tests::secret;
use super::*;
use crate::accounts::Reach;
use crate::net::dial::{Dial, Tcp};
use crate::net::dns::Resolver;
use provider::{ISSUER, NOW, Provider, Signer, base64, claims, unsigned};

const SOON: Duration = Duration::from_secs(20);

/// Settings of a backend that wants anna's address and the audience `smtp`.
fn settings(proof: OauthProof) -> OauthAccounts {
    OauthAccounts {
        issuer: Some(ISSUER.into()),
        audiences: vec!["smtp".into()],
        scopes: Vec::new(),
        identity: "email".into(),
        trust_email: false,
        domains: Vec::new(),
        ca: None,
        proof,
    }
}

fn all() -> Vec<SignatureAlgorithm> {
    SignatureAlgorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect()
}

fn backend(settings: &OauthAccounts, timeout: Duration) -> Oauth {
    let resolver = Resolver::new(&crate::config::Resolver::default()).unwrap();
    let reach = Reach { upstreams: None, resolver: &resolver, dialer: &(Arc::new(Tcp) as Arc<dyn Dial>) };
    Oauth::new("login", settings, timeout, &reach).unwrap()
}

/// One that verifies signatures with the keys at `/jwks`.
fn verifier(provider: &Provider) -> Oauth {
    let keys = OauthKeys::At(Url::parse(&provider.url("/jwks")).unwrap());
    backend(&settings(OauthProof::Signature { keys, algorithms: all() }), SOON)
}

/// After so long.
fn later(begin: Instant, time: Duration) -> Now {
    Now { instant: begin + time, date: Duration::from_secs(NOW) }
}

async fn ask_at(oauth: &Oauth, token: &str, now: Now) -> Result<Verdict, Away> {
    oauth.verify_at(&secret(token), now).await.map(|(verdict, _)| verdict)
}

async fn ask(oauth: &Oauth, token: &str) -> Result<Verdict, Away> {
    ask_at(oauth, token, later(Instant::now(), Duration::ZERO)).await
}

fn anna() -> Result<Verdict, Away> {
    Ok(Verdict::Good("anna@example.org".into()))
}

#[tokio::test]
async fn each_algorithm_is_verified_with_a_key_of_its_kind() {
    let provider = Provider::start().await;
    let signers = [
        ("rsa", Signer::rsa(KeySize::Rsa2048), &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        ("p256", Signer::p256(), &["ES256"]),
        ("p384", Signer::p384(), &["ES384"]),
        ("ed", Signer::ed25519(), &["EdDSA"]),
    ];
    let jwks: Vec<Value> = signers.iter().map(|(id, signer, _)| signer.jwk(id, json!({}))).collect();
    provider.keys(&jwks);
    let oauth = verifier(&provider);
    let mut tried = 0;
    for (id, signer, good) in &signers {
        for (algorithm, _) in SignatureAlgorithm::ALL {
            let wanted = if good.contains(algorithm) { anna() } else { Ok(Verdict::Bad) };
            let token = signer.token(algorithm, id, &claims());
            assert_eq!(ask(&oauth, &token).await, wanted, "{id} {algorithm}");
            tried += usize::from(wanted == anna());
        }
        // Without the name of a key each that fits is tried.
        let token = signer.token_with(&json!({"alg": good[0]}), &claims());
        assert_eq!(ask(&oauth, &token).await, anna(), "{id}");
    }
    assert_eq!((tried, provider.count()), (9, 1));
}

#[tokio::test]
async fn only_what_is_allowed_is_verified() {
    let (provider, signer) = (Provider::start().await, Signer::rsa(KeySize::Rsa2048));
    provider.keys(&[signer.jwk("a", json!({}))]);
    let keys = OauthKeys::At(Url::parse(&provider.url("/jwks")).unwrap());
    let algorithms = vec![SignatureAlgorithm::Ps256];
    let oauth = backend(&settings(OauthProof::Signature { keys, algorithms }), SOON);
    assert_eq!(ask(&oauth, &signer.token("PS256", "a", &claims())).await, anna());
    assert_eq!(ask(&oauth, &signer.token("RS256", "a", &claims())).await, Ok(Verdict::Bad));
    let hostile =
        [json!({"use": "enc"}), json!({"key_ops": ["sign"]}), json!({"alg": "RS256"}), json!({"alg": "RSA-OAEP"})];
    for other in hostile {
        provider.keys(&[signer.jwk("a", other.clone()), Signer::p256().jwk("b", json!({}))]);
        let oauth = verifier(&provider);
        assert_eq!(ask(&oauth, &signer.token("PS256", "a", &claims())).await, Ok(Verdict::Bad), "{other}");
    }
    // Too small to be a key.
    provider.keys(&[json!({"kty": "RSA", "kid": "a", "n": base64([0xff; 128]), "e": "AQAB"})]);
    assert!(ask(&verifier(&provider), &signer.token("RS256", "a", &claims())).await.is_err());
}

/// Each of these would be anna, were it believed.
#[tokio::test]
async fn forged_tokens_violated() {
    let (provider, signer, forger) = (Provider::start().await, Signer::rsa(KeySize::Rsa2048), Signer::p256());
    let jwk = signer.jwk("a", json!({}));
    provider.keys(&[jwk.clone(), Signer::p256().jwk("b", json!({}))]);
    let oauth = verifier(&provider);
    let good = signer.token("RS256", "a", &claims());
    assert_eq!(ask(&oauth, &good).await, anna());
    let mut forged = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", "", "HS256", "RS1", "rs256"] {
        let message = unsigned(&json!({"alg": none, "kid": "a"}), &claims());
        forged.extend([format!("{message}."), format!("{message}.AAAA")]);
    }
    // What everybody knows of the key, taken for a secret.
    let modulus = jwk["n"].as_str().unwrap().to_owned();
    for known in [modulus.clone().into_bytes(), jwk.to_string().into_bytes(), Vec::new()] {
        let message = unsigned(&json!({"alg": "HS256", "kid": "a"}), &claims());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &known), message.as_bytes());
        forged.push(format!("{message}.{}", base64(tag)));
    }
    let own = forger.jwk("a", json!({}));
    forged.extend([
        forger.token("ES256", "a", &claims()),
        forger.token("ES256", "b", &claims()),
        forger.token("ES256", "c", &claims()),
        forger.token_with(&json!({"alg": "ES256"}), &claims()),
        forger.token_with(&json!({"alg": "ES256", "jwk": own}), &claims()),
        forger.token_with(&json!({"alg": "ES256", "kid": "a", "jku": provider.url("/own")}), &claims()),
        forger.token_with(&json!({"alg": "ES256", "kid": "../../own"}), &claims()),
        forger.token_with(&json!({"alg": "RS256", "kid": "a"}), &claims()),
        signer.token_with(&json!({"alg": "RS256", "kid": 1}), &claims()),
        signer.token_with(&json!({"alg": "RS256", "kid": "a", "crit": ["exp"]}), &claims()),
        signer.token_with(&json!({"alg": "RS256", "kid": "a", "typ": "logout+jwt"}), &claims()),
        signer.token_with(&json!({"alg": "RS256", "kid": "a", "typ": 1}), &claims()),
        signer.token_with(&json!({"kid": "a"}), &claims()),
        signer.token_with(&json!({"alg": ["RS256"], "kid": "a"}), &claims()),
    ]);
    let (message, signed) = good.rsplit_once('.').unwrap();
    let mut root = claims();
    root["email"] = json!("root@example.org");
    let other = unsigned(&json!({"alg": "RS256", "kid": "a", "typ": "at+jwt"}), &root);
    forged.extend([
        format!("{message}."),
        format!("{message}.{}", &signed[..signed.len() - 4]),
        format!("{message}.{signed}AAAA"),
        format!("{message}.{signed}="),
        format!("{other}.{signed}"),
    ]);
    for token in &forged {
        assert_eq!(ask(&oauth, token).await, Ok(Verdict::Bad), "{token}");
    }
    assert_eq!(ask(&oauth, &good).await, anna());
    assert_eq!(provider.count(), 1, "nothing that a token names is fetched");
}

#[tokio::test]
async fn what_the_provider_signed_for_others_is_no_login() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    provider.keys(&[signer.jwk("a", json!({}))]);
    let oauth = verifier(&provider);
    for other in [
        json!({"aud": "webmail"}),
        json!({"exp": NOW - 60}),
        json!({"nbf": NOW + 61}),
        json!({"email_verified": false}),
        json!({"cnf": {}}),
    ] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        assert_eq!(ask(&oauth, &signer.token("EdDSA", "a", &claims)).await, Ok(Verdict::Bad), "{other}");
    }
}

/// Another backend may know it; the provider is not even asked for its keys.
#[tokio::test]
async fn what_is_not_of_this_issuer_is_not_mine() {
    let (provider, signer) = (Provider::start().await, Signer::ed25519());
    let oauth = verifier(&provider);
    let header = json!({"alg": "EdDSA", "kid": "a"});
    let long = signer.token("EdDSA", "a", &json!({"iss": ISSUER, "x": "x".repeat(TOKEN_BYTES_MAX)}));
    let deep = base64("[".repeat(5_000));
    let tokens = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "opaque".into(),
        "a.b.c".into(),
        "!!!.???.###".into(),
        format!("{}.{deep}.AAAA", base64(header.to_string())),
        format!("{deep}.{}.AAAA", base64(claims().to_string())),
        unsigned(&header, &claims()),
        format!("{}.AAAA.AAAA", unsigned(&header, &claims())),
        unsigned(&json!([1]), &claims()) + ".AAAA",
        unsigned(&header, &json!("text")) + ".AAAA",
        format!("{}=.{}.AAAA", base64(header.to_string()), base64(claims().to_string())),
        signer.token("EdDSA", "a", &json!({"iss": "https://login.test/"})),
        signer.token("EdDSA", "a", &json!({"iss": [ISSUER]})),
        signer.token("EdDSA", "a", &json!({})),
        long,
    ];
    for token in tokens {
        assert_eq!(ask(&oauth, &token).await, Ok(Verdict::NotMine), "{token}");
    }
    assert_eq!(provider.count(), 0);
}
