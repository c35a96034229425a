//! The provider is asked what a token is (RFC 7662): one POST, with the gateway's own name and secret.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::claims::Claims;
use crate::accounts::remote::Away;
use crate::config::{Password, Url};
use crate::net::http::{Client, Failure, Request, Response};
use crate::smtp::sasl::Secret;

/// Octets of an answer.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1_024;

pub(super) struct Introspection {
    client: Client,
    url: Url,
    authorization: Password,
    timeout: Duration,
}

impl Introspection {
    pub(super) fn new(client: Client, url: Url, id: &str, secret: &Password, timeout: Duration) -> Introspection {
        // Both are escaped before they are put together (RFC 6749 section 2.3.1).
        let both = Zeroizing::new([&escaped(id.as_bytes())[..], b":", &escaped(secret.reveal().as_bytes())].concat());
        let authorization = Password::new(format!("Basic {}", STANDARD.encode(&*both)));
        Introspection { client, url, authorization, timeout }
    }

    /// What the provider says of a token; None: nothing, it is not one that is good.
    ///
    /// # Errors
    /// When it is away, or says what cannot be understood.
    pub(super) async fn ask(&self, token: &Secret) -> Result<Option<Claims>, Away> {
        let request = Request {
            method: "POST",
            url: self.url.clone(),
            headers: vec![
                ("Authorization".to_owned(), self.authorization.reveal().as_bytes().to_vec()),
                ("Content-Type".to_owned(), b"application/x-www-form-urlencoded".to_vec()),
                ("Accept".to_owned(), b"application/json".to_vec()),
            ],
            body: [b"token=", &escaped(token.reveal())[..], b"&token_type_hint=access_token"].concat(),
        };
        // A connection that waited may be gone by now. Asking twice changes nothing there.
        let answer = match self.client.send(&request, self.timeout).await {
            Err(Failure::Protocol(_)) => self.client.send(&request, self.timeout).await,
            other => other,
        };
        read(&answer.map_err(|why| Away::because(&self.url.to_string(), why))?)
    }
}

fn read(answer: &Response) -> Result<Option<Claims>, Away> {
    if answer.status != 200 {
        return Err(Away(format!("the provider answers with status {}", answer.status)));
    }
    let Ok(Value::Object(claims)) = serde_json::from_slice(&answer.body) else {
        return Err(Away("the provider's answer is no JSON object".to_owned()));
    };
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(Some(claims)),
        Some(Value::Bool(false)) => Ok(None),
        _ => Err(Away("the provider does not say whether the token is active".to_owned())),
    }
}

/// As a field of a form.
fn escaped(value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut escaped = Zeroizing::new(Vec::with_capacity(value.len() * 3));
    for octet in value {
        if octet.is_ascii_alphanumeric() || b"-._".contains(octet) {
            escaped.push(*octet);
        } else {
            let digits = b"0123456789ABCDEF";
            let digit = |value: u8| digits.get(usize::from(value)).copied().unwrap_or_default();
            escaped.extend_from_slice(&[b'%', digit(octet >> 4), digit(octet & 0x0f)]);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn forms_are_escaped() {
        assert_eq!(escaped(b"aZ9-._").as_slice(), b"aZ9-._");
        assert_eq!(escaped(b"a+/=~ &\xff").as_slice(), b"a%2B%2F%3D%7E%20%26%FF");
    }

    #[test]
    fn only_a_clear_answer_counts() {
        let ask = |status, body: &str| {
            read(&Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() }).map(|known| known.is_some())
        };
        assert_eq!(ask(200, r#"{"active":true,"sub":"x"}"#), Ok(true));
        assert_eq!(ask(200, r#"{"active":false}"#), Ok(false));
        for (status, body) in [
            (200, ""),
            (200, "true"),
            (200, "[]"),
            (200, "{}"),
            (200, r#"{"active":"true"}"#),
            (200, r#"{"active":1}"#),
            (200, r#"{"active":true"#),
            (200, r#"{"active":true} {"active":false}"#),
            (400, r#"{"active":true}"#),
            (401, r#"{"error":"invalid_client"}"#),
            (302, ""),
            (500, r#"{"active":false}"#),
        ] {
            assert!(ask(status, body).is_err(), "{status} {body}");
        }
    }
}
