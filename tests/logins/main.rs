//! Logins by every mechanism, with another implementation of SASL as the client: over TLS with a whole gateway, and
//! message by message where no backend here could say yes.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

mod client;
mod messages;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use client::{Client, Credentials, NEW, OLD, Shown};
use wasmilter::accounts::{self, Scheme};
use wasmilter::net::inherit::Inherited;
use wasmilter::net::tls::self_signed;
use wasmilter::report::Metrics;
use wasmilter::server::{Gateway, Generation, Listeners};
use wasmilter::sink::{Options, Sink};

const GOOD: Credentials = credentials("anna", "pencil");

const fn credentials(name: &'static str, password: &'static str) -> Credentials {
    Credentials { name, password, acting_for: None, token: "", binds: false, binding: Vec::new() }
}

/// A running gateway with two listeners of implicit TLS, the second of which asks for client certificates.
struct Running {
    usual: SocketAddr,
    certified: SocketAddr,
    authority: String,
    client_certificate: String,
    client_key: String,
    gateway: Arc<Gateway>,
    _listeners: Listeners,
    sink: Sink,
    _folder: tempfile::TempDir,
}

async fn start(passwords: &str, mechanisms: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let made = self_signed(&["mx.example.org"]).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("certificate.pem", &made.certificate_pem);
    write("key.pem", &made.key_pem);
    write("passwords", passwords);
    let (authority, client_certificate, client_key) = issued();
    write("clients.pem", &authority);
    let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap();
    let generation = Generation::build(configuration(folder.path(), sink.local_addr(), mechanisms), None).unwrap();
    let config = Arc::clone(generation.config());
    let gateway = Gateway::new(generation, Metrics::detached().unwrap());
    let mut listeners = Listeners::new(Inherited::none());
    let sockets = listeners.bind(&config).unwrap();
    listeners.accept(&gateway, sockets);
    let bound: Vec<(String, SocketAddr)> =
        listeners.bound().map(|(name, address)| (name.to_owned(), address)).collect();
    let at = |name: &str| bound.iter().find(|(bound, _)| bound == name).unwrap().1;
    Running {
        usual: at("usual"),
        certified: at("certified"),
        authority: made.certificate_pem,
        client_certificate,
        client_key,
        gateway,
        _listeners: listeners,
        sink,
        _folder: folder,
    }
}

fn configuration(folder: &Path, upstream: SocketAddr, mechanisms: &str) -> wasmilter::config::Config {
    let text = format!(
        r#"
        hostname = "mx.example.org"
        upstream = {{ address = "{upstream}" }}
        [tls]
        certificate = "certificate.pem"
        key = "key.pem"
        [auth]
        password-file = "passwords"
        {mechanisms}
        # All of them come from one address, and many are wrong on purpose.
        [rates]
        auth-failure-delay = "off"
        [[listener]]
        name = "usual"
        address = "127.0.0.1:0"
        tls = "implicit"
        auth = "required"
        [[listener]]
        name = "certified"
        address = "127.0.0.1:0"
        tls = "implicit"
        auth = "required"
        client-certificate = "ask"
        client-ca = "clients.pem"
        "#
    );
    let file = folder.join("wasmilter.toml").display().to_string();
    wasmilter::config::parse(&text, &file, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// An authority, and a certificate of `anna` that it issued, with its key.
fn issued() -> (String, String, String) {
    let key = || rcgen::KeyPair::generate().unwrap();
    let mut of_authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let (authority_key, client_key) = (key(), key());
    let authority = of_authority.self_signed(&authority_key).unwrap().pem();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "anna");
    let issuer = rcgen::Issuer::new(of_authority, authority_key);
    let certificate = params.signed_by(&client_key, &issuer).unwrap();
    (authority, certificate.pem(), client_key.serialize_pem())
}

impl Running {
    async fn client(&self) -> Client {
        Client::connect(self.usual, &self.authority, NEW, None).await
    }

    async fn with_certificate(&self) -> Client {
        let shown = Shown { certificate: &self.client_certificate, key: &self.client_key };
        Client::connect(self.certified, &self.authority, NEW, Some(shown)).await
    }

    async fn stop(self) {
        self.gateway.shutdown.begin();
        let now = std::time::Duration::ZERO;
        self.gateway.shutdown.finish(now, now).await;
        self.sink.shutdown().await;
    }
}

fn line(name: &str, password: &str, scheme: Scheme) -> String {
    let hash = accounts::make(scheme, password.as_bytes()).unwrap();
    format!("{name}:{}\n", hash.reveal())
}

/// With few iterations, so that a client that is not optimised has done with them soon; the keys are RFC 7677's.
fn only_scram() -> String {
    let keys = "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,\
                wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    format!("anna:{{SCRAM-SHA-256}}{keys}\n")
}

/// With and without an initial response, for every mechanism that a password file serves.
#[tokio::test]
async fn the_right_password_is_let_in_and_a_wrong_one_is_not() {
    let running = start(&only_scram(), "").await;
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        for initial in [true, false] {
            let mut client = running.client().await;
            assert_eq!(client.offer, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
            let with = |credentials: Credentials| Credentials {
                binds: mechanism.ends_with("PLUS"),
                binding: client.binding.clone(),
                ..credentials
            };
            let (good, wrong) = (with(GOOD), with(credentials("anna", "pencils")));
            let (nobody, other) = (with(credentials("nobody", "pencil")), with(credentials("Anna", "pencil")));
            for bad in [wrong, nobody, other] {
                let reply = client.log_in(mechanism, bad.clone(), initial).await;
                assert_eq!(reply, "535 5.7.8 Authentication credentials invalid", "{mechanism} {bad:?}");
            }
            assert!(client.say("MAIL FROM:<anna@example.org>").await.starts_with("530 5.7.0"));
            let reply = client.log_in(mechanism, good, initial).await;
            assert_eq!(reply, "235 2.7.0 Authentication successful", "{mechanism}");
            assert!(client.say("MAIL FROM:<anna@example.org>").await.starts_with("250 "));
            assert!(client.say("AUTH PLAIN").await.starts_with("503 5.5.1"));
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn nobody_acts_for_somebody_else() {
    let running = start(&only_scram(), "").await;
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let mut client = running.client().await;
        let other = Credentials { acting_for: Some("root"), ..GOOD };
        assert!(client.log_in(mechanism, other, true).await.starts_with("535 5.7.8"), "{mechanism}");
        let itself = Credentials { acting_for: Some("anna"), ..GOOD };
        assert!(client.log_in(mechanism, itself, true).await.starts_with("235 2.7.0"), "{mechanism}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_exchange_can_be_cancelled_at_every_step() {
    let running = start(&only_scram(), "").await;
    let mut client = running.client().await;
    let cancelled = "501 5.7.0 Authentication cancelled";
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        assert_eq!(client.say(&format!("AUTH {mechanism}")).await.get(..4), Some("334 "), "{mechanism}");
        assert_eq!(client.say("*").await, cancelled, "{mechanism}");
        assert!(client.say(&format!("AUTH {mechanism} !")).await.starts_with("501 5.5.2"), "{mechanism}");
    }
    // n,,n=anna,r=abc: then with a proof expected, and with our own proof shown.
    assert!(client.say("AUTH SCRAM-SHA-256 biwsbj1hbm5hLHI9YWJj").await.starts_with("334 "));
    assert_eq!(client.say("*").await, cancelled);
    let mut session = client::exchange("SCRAM-SHA-256", GOOD);
    let first = client::answer(&mut session, None).unwrap();
    let challenge = client.say(&format!("AUTH SCRAM-SHA-256 {first}")).await;
    let proof = client::answer(&mut session, challenge.strip_prefix("334 ")).unwrap();
    assert!(client.say(&proof).await.starts_with("334 "));
    assert_eq!(client.say("*").await, cancelled);
    assert!(client.say("MAIL FROM:<anna@example.org>").await.starts_with("530 5.7.0"), "not logged in by it");
    running.stop().await;
}

/// Both prove themselves over the same connection, or it is somebody else's.
#[tokio::test]
async fn plus_holds_the_connection_to_its_word() {
    let running = start(&only_scram(), "").await;
    let mut client = running.client().await;
    let in_between = Credentials { binds: true, binding: vec![7; 32], ..GOOD };
    assert!(client.log_in("SCRAM-SHA-256-PLUS", in_between, true).await.starts_with("535 5.7.8"));
    // It can, was offered it by us, and says that it was not: somebody took it out of the offer.
    let downgraded = Credentials { binds: true, binding: client.binding.clone(), ..GOOD };
    assert!(client.log_in("SCRAM-SHA-256", downgraded.clone(), true).await.starts_with("535 5.7.8"));
    assert!(client.log_in("SCRAM-SHA-256-PLUS", downgraded, true).await.starts_with("235 2.7.0"));
    // Of TLS 1.2 it is not known whether it can be bound to; there such a client is right.
    let mut old = Client::connect(running.usual, &running.authority, OLD, None).await;
    assert_eq!(old.offer, "SCRAM-SHA-256 PLAIN LOGIN");
    assert!(old.say("AUTH SCRAM-SHA-256-PLUS").await.starts_with("504 5.5.4"));
    let right = Credentials { binds: true, binding: old.binding.clone(), ..GOOD };
    assert!(old.log_in("SCRAM-SHA-256", right, true).await.starts_with("235 2.7.0"));
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_name_looks_like_a_known_one() {
    let running = start(&only_scram(), "").await;
    let mut client = running.client().await;
    // n,,n=anna,r=abc and n,,n=otto,r=abc
    let mut first = async |message: &str| {
        let challenge = client.say(&format!("AUTH SCRAM-SHA-256 {message}")).await;
        client.say("*").await;
        let challenge = messages::decoded(challenge.strip_prefix("334 ").unwrap());
        let (nonce, rest) = challenge.split_once(',').unwrap();
        (nonce.len(), rest.to_owned())
    };
    let known = first("biwsbj1hbm5hLHI9YWJj").await;
    let unknown = first("biwsbj1vdHRvLHI9YWJj").await;
    assert_eq!(unknown, first("biwsbj1vdHRvLHI9YWJj").await, "its salt stays");
    assert_ne!(unknown.1, known.1);
    assert_eq!((unknown.0, unknown.1.len()), (known.0, known.1.len()));
    assert!(unknown.1.ends_with(",i=4096") && known.1.ends_with(",i=4096"), "{unknown:?} {known:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_logs_in_where_that_is_wanted() {
    let asked_for = "mechanisms = [\"EXTERNAL\", \"PLAIN\"]";
    let running = start(&only_scram(), asked_for).await;
    for initial in [true, false] {
        let mut client = running.with_certificate().await;
        assert_eq!(client.offer, "EXTERNAL PLAIN");
        let other = Credentials { acting_for: Some("otto"), ..Credentials::default() };
        assert!(client.log_in("EXTERNAL", other, initial).await.starts_with("535 5.7.8"));
        assert!(client.say("AUTH EXTERNAL").await.starts_with("334 "));
        assert!(client.say("*").await.starts_with("501 5.7.0"));
        let itself = if initial { None } else { Some("anna") };
        let anna = Credentials { acting_for: itself, ..Credentials::default() };
        assert!(client.log_in("EXTERNAL", anna, initial).await.starts_with("235 2.7.0"));
        assert!(client.say("MAIL FROM:<anna@example.org>").await.starts_with("250 "));
    }
    let mut without = Client::connect(running.certified, &running.authority, NEW, None).await;
    assert_eq!(without.offer, "PLAIN");
    assert!(without.say("AUTH EXTERNAL =").await.starts_with("504 5.5.4"));
    running.stop().await;
    // Not by itself: authorities that are named for other reasons may certify anybody.
    let running = start(&only_scram(), "").await;
    let mut client = running.with_certificate().await;
    assert_eq!(client.offer, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
    assert!(client.say("AUTH EXTERNAL =").await.starts_with("504 5.5.4"));
    running.stop().await;
}

#[tokio::test]
async fn a_file_of_several_kinds_serves_scram_where_it_is_asked_for() {
    let mixed = only_scram() + &line("otto", "secret", Scheme::Sha512Crypt);
    let running = start(&mixed, "").await;
    assert_eq!(running.client().await.offer, "PLAIN LOGIN");
    running.stop().await;
    let running = start(&mixed, "mechanisms = [\"PLAIN\", \"SCRAM-SHA-256\"]").await;
    let mut client = running.client().await;
    assert_eq!(client.offer, "SCRAM-SHA-256 PLAIN");
    assert!(client.say("AUTH LOGIN").await.starts_with("504 5.5.4"));
    assert!(client.log_in("SCRAM-SHA-256", credentials("otto", "secret"), true).await.starts_with("535 5.7.8"));
    assert!(client.log_in("PLAIN", credentials("otto", "secret"), true).await.starts_with("235 2.7.0"));
    running.stop().await;
}
