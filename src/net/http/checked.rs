//! From what somebody wants to say to a request that means one thing to every server.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderName, HeaderValue, USER_AGENT};

use super::{Failure, Request};

/// Header fields of a request, beside our own.
pub const FIELDS_MAX: usize = 64;
/// Octets of them all.
pub const FIELDS_BYTES_MAX: usize = 16 * 1_024;
/// What says where a message ends, whose connection it is, or where it goes: ours to say.
const OURS: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
    "proxy-connection",
    "proxy-authorization",
    "http2-settings",
];

pub(super) type Message = hyper::Request<Full<Bytes>>;

/// # Errors
/// [`Failure::Malformed`], [`Failure::Limit`].
pub(super) fn message(request: &Request) -> Result<Message, Failure> {
    let malformed = |what: String| Failure::Malformed(what);
    if !request.body.is_empty() && matches!(request.method, "GET" | "HEAD") {
        return Err(malformed(format!("a {} has no body", request.method)));
    }
    let octets: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if request.headers.len() > FIELDS_MAX || octets > FIELDS_BYTES_MAX {
        return Err(Failure::Limit);
    }
    let mut message = hyper::Request::builder()
        .method(request.method)
        .uri(request.url.target())
        .body(Full::new(Bytes::from(request.body.clone())))
        .map_err(|error| malformed(error.to_string()))?;
    let fields = message.headers_mut();
    for (name, value) in &request.headers {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| malformed(format!("{:?} is no name of a header field", name)))?;
        if OURS.contains(&field.as_str()) {
            return Err(malformed(format!("the field {field} is the gateway's own")));
        }
        // Refuses what ends a line, and every other control character.
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| malformed(format!("the value of {field} has a control character")))?;
        fields.append(field, value);
    }
    let host = HeaderValue::from_str(&request.url.authority()).map_err(|error| malformed(error.to_string()))?;
    fields.insert(HOST, host);
    fields.entry(USER_AGENT).or_insert(HeaderValue::from_static("wasmilter"));
    Ok(message)
}
