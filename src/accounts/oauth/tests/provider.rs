//! A provider on loopback: keys that sign, and an HTTP server that says what a test wants it to say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What time it is in these tests.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://login.test";

pub(super) fn base64(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn rsa(size: KeySize) -> Signer {
        Signer::Rsa(Box::new(RsaKeyPair::generate(size).unwrap()))
    }

    pub(super) fn p256() -> Signer {
        Signer::P256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn p384() -> Signer {
        Signer::P384(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(super) fn ed25519() -> Signer {
        Signer::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// Its public half, with what else is to stand there.
    pub(super) fn jwk(&self, id: &str, other: Value) -> Value {
        let point = |curve: &str, key: &EcdsaKeyPair| {
            let octets = key.public_key().as_ref();
            let (x, y) = octets[1..].split_at(octets.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
        };
        let mut jwk = match self {
            Signer::Rsa(key) => {
                let public = key.public_key();
                let (n, e) = (public.modulus().big_endian_without_leading_zero(), public.exponent());
                json!({"kty": "RSA", "n": base64(n), "e": base64(e.big_endian_without_leading_zero())})
            }
            Signer::P256(key) => point("P-256", key),
            Signer::P384(key) => point("P-384", key),
            Signer::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key())}),
        };
        jwk["kid"] = json!(id);
        for (name, value) in other.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(key) => {
                let encoding: &dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signed).unwrap();
                signed
            }
            Signer::P256(key) | Signer::P384(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Signer::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    pub(super) fn token(&self, algorithm: &str, id: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": algorithm, "kid": id, "typ": "at+jwt"}), claims)
    }

    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signed = self.sign(header["alg"].as_str().unwrap_or_default(), message.as_bytes());
        format!("{message}.{}", base64(signed))
    }
}

/// The two parts that a signature is of.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string()), base64(claims.to_string()))
}

/// Of anna.
pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "smtp", "exp": NOW + 300, "iat": NOW,
        "email": "anna@example.org", "email_verified": true
    })
}

/// What a path answers.
#[derive(Debug, Clone)]
pub(super) enum Says {
    This(u16, String),
    /// Begins like a set of keys, and goes on.
    Endless,
    /// Hears, and says nothing.
    Silence,
    /// Ends the connection.
    Nothing,
}

/// The server. A path that nobody set answers 404.
#[derive(Clone, Default)]
pub(super) struct Provider {
    says: Arc<Mutex<HashMap<String, Says>>>,
    /// Requests, whole.
    pub(super) heard: Arc<Mutex<Vec<String>>>,
    address: Option<SocketAddr>,
}

impl Provider {
    pub(super) async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Provider { address: Some(listener.local_addr().unwrap()), ..Provider::default() };
        let served = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        provider
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address.unwrap())
    }

    pub(super) fn says(&self, path: &str, says: Says) {
        self.says.lock().unwrap().insert(path.to_owned(), says);
    }

    pub(super) fn keys(&self, keys: &[Value]) {
        self.says("/jwks", Says::This(200, json!({"keys": keys}).to_string()));
    }

    pub(super) fn count(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut request = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    break;
                }
            }
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        self.heard.lock().unwrap().push(request);
        let says = self.says.lock().unwrap().get(&path).cloned();
        match says.unwrap_or(Says::This(404, String::new())) {
            Says::This(status, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
            Says::Endless => {
                let mut going = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[").await.is_ok();
                while going {
                    going = stream.write_all(br#"{"kty":"RSA","e":"AQAB"},"#).await.is_ok();
                }
            }
            Says::Silence => std::future::pending().await,
            Says::Nothing => {}
        }
    }
}
