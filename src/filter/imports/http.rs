//! `http`: requests to the addresses the operator named, one at a time, bounded in number, size and time.

use std::result::Result as Sent;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;

use crate::config::Url;
use crate::filter::bindings::wasmilter::filter::http::{Error, Host, Method, Request, Response};
use crate::filter::guest::Guest;
use crate::filter::outside::{Failure, Http, Request as Out};

/// Requests in one call of a filter.
const REQUESTS_MAX: u32 = 16;
/// What a request waits for where the filter does not say.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What is left of a call after a request that took all it could: the filter hears of it, and can still answer.
const RESERVE_MAX: Duration = Duration::from_millis(100);

/// Whom a request goes to, and where there.
type Granted = (Arc<dyn Http>, Url);

fn name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

fn error(failure: Failure) -> Error {
    match failure {
        Failure::Malformed(what) => Error::Malformed(what),
        Failure::Timeout => Error::Timeout,
        Failure::TooLarge => Error::TooLarge,
        Failure::Unreachable(why) => Error::Unreachable(why),
        Failure::Protocol(why) => Error::Protocol(why),
        Failure::Limit => Error::Limit,
    }
}

impl Guest {
    /// Whom to send it to, if it may be sent.
    fn request(&mut self, what: &Request) -> Result<Sent<Granted, Error>> {
        let url = match Url::parse(&what.url) {
            Ok(url) => url,
            Err(why) => return Ok(Err(Error::Malformed(format!("the address {why}")))),
        };
        let granted = self.profile.config.grants.http.as_ref();
        let http = match (granted, &self.profile.http) {
            (Some(grant), Some(http)) if grant.urls.iter().any(|prefix| prefix.covers(&url)) => Arc::clone(http),
            _ => return Ok(Err(Error::NotGranted)),
        };
        if self.asked.requests >= REQUESTS_MAX {
            return Ok(Err(Error::Limit));
        }
        self.asked.requests += 1;
        // While a filter is loaded nobody is asked: whether the gateway starts is no matter of the network.
        if self.work()?.is_trial() {
            return Ok(Err(Error::Unreachable("nobody is asked while a filter is loaded".into())));
        }
        Ok(Ok((http, url)))
    }
}

impl Host for Guest {
    async fn send(&mut self, what: Request) -> Result<Sent<Response, Error>> {
        let (http, url) = match self.request(&what)? {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(error)),
        };
        let pause = self.pause();
        let left = pause.left();
        let left = left - RESERVE_MAX.min(left / 10);
        let wanted = what.timeout_ms.map_or(TIMEOUT, |ms| Duration::from_millis(u64::from(ms)));
        let request = Out { method: name(what.method), url, headers: what.headers, body: what.body };
        let answer = pause.wait(http.send(&request, wanted.min(left))).await?;
        Ok(answer.map_err(error).map(|answer| Response {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        }))
    }
}
