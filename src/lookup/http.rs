//! A question by HTTP: the key behind an address. 200 is a yes with its value in the first line of the body, 404 a no; all
//! else is no answer.

use std::path::PathBuf;
use std::time::Duration;

use crate::accounts::Reach;
use crate::config::{HttpGrant, Url};
use crate::net::http::{Client, Request, Response};
use crate::net::tls::TlsError;

use super::{Said, Source, VALUE_BYTES_MAX};

/// Octets of a body; more is no answer.
const BODY_BYTES_MAX: usize = 64 * 1_024;

#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    url: String,
    timeout: Duration,
}

impl Http {
    /// # Errors
    /// The CA file cannot be read, or there are no roots.
    pub(super) fn new(
        url: &str,
        base: &Url,
        ca: Option<PathBuf>,
        timeout: Duration,
        reach: &Reach<'_>,
    ) -> Result<Http, TlsError> {
        let grant = HttpGrant { urls: vec![base.clone()], response_bytes_max: BODY_BYTES_MAX, ca };
        Ok(Http { client: Client::new(reach.resolver, reach.dialer, &grant)?, url: url.to_owned(), timeout })
    }
}

impl Source for Http {
    fn ask<'a>(&'a self, key: &'a str) -> Said<'a> {
        Box::pin(async move {
            // A key of dots would be another path.
            let Some(escaped) = escaped(key) else { return Ok(None) };
            // A key that a server could take for a way to another path cannot be asked for, so nobody has it.
            let Ok(url) = Url::parse(&format!("{}{escaped}", self.url)) else { return Ok(None) };
            let request = Request { method: "GET", url, headers: Vec::new(), body: Vec::new() };
            let answer = self.client.send(&request, self.timeout).await.map_err(|why| why.to_string())?;
            judged(&answer)
        })
    }
}

/// RFC 3986 2.1; every octet that could mean something.
fn escaped(key: &str) -> Option<String> {
    if key.is_empty() || key.bytes().all(|b| b == b'.') {
        return None;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    Some(key.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect())
}

fn judged(answer: &Response) -> Result<Option<String>, String> {
    match answer.status {
        200 => {
            let line = answer.body.split(|octet| b"\r\n".contains(octet)).next().unwrap_or_default();
            let value = str::from_utf8(line).unwrap_or_default().trim();
            let fits = value.len() <= VALUE_BYTES_MAX && !value.contains(char::is_control);
            Ok(Some(if fits { value.to_owned() } else { String::new() }))
        }
        404 => Ok(None),
        other => Err(format!("the answer has status {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_segment_whatever_is_in_it() {
        assert_eq!(escaped("anna+x@example.org").as_deref(), Some("anna%2Bx%40example.org"));
        assert_eq!(escaped("../admin?x=1&y#%2e").as_deref(), Some("..%2Fadmin%3Fx%3D1%26y%23%252e"));
        assert_eq!(escaped("ö\r\n").as_deref(), Some("%C3%B6%0D%0A"));
        assert_eq!((escaped(".."), escaped(".")), (None, None));
    }

    #[test]
    fn only_200_is_yes_and_only_404_is_no() {
        let answer = |status, body: &[u8]| judged(&Response { status, headers: Vec::new(), body: body.to_vec() });
        assert_eq!(answer(200, b"value \r\nmore"), Ok(Some("value".into())));
        assert_eq!(answer(200, b""), Ok(Some(String::new())));
        assert_eq!(answer(200, b"\xff"), Ok(Some(String::new())));
        assert_eq!(answer(200, &[b'x'; VALUE_BYTES_MAX]), Ok(Some("x".repeat(VALUE_BYTES_MAX))));
        assert_eq!(answer(200, &[b'x'; VALUE_BYTES_MAX + 1]), Ok(Some(String::new())), "it is there all the same");
        assert_eq!(answer(404, b""), Ok(None));
        for status in [201, 204, 301, 302, 400, 401, 403, 410, 429, 500, 503] {
            assert!(answer(status, b"").is_err(), "{status}");
        }
    }
}
