//! A small client of the web: one request, one answer, everything bounded. What a filter's requests go through.
//!
//! HTTP/1.1 over TLS that verifies (or in clear, where the address says so), the host's address from our own resolver.
//! It refuses to follow redirects, to know of proxies, and to keep anything between two requests but a few connections.

mod checked;
mod failure;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::Stream;
use super::dial::Dial;
use super::dns::{LookupError, Resolver};
use super::tls::{Connector, Expect, TlsError};
use crate::config::{HttpGrant, Url};
pub use checked::{FIELDS_BYTES_MAX, FIELDS_MAX};
pub use failure::Failure;

/// Connections to one server that wait for the next request.
const IDLE_PER_SERVER_MAX: usize = 4;
/// All of one client's that wait.
const IDLE_MAX: usize = 32;
/// How long one waits.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// One attempt to connect to one address of several.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Octets of an answer's status line and header fields.
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1_024;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// "GET", "POST" …
    pub method: &'static str,
    pub url: Url,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

type Sender = SendRequest<Full<Bytes>>;
/// Scheme, host, port.
type Server = (bool, String, u16);

/// One filter's client. Its connections are nobody else's: what one filter said to a server is not another one's
/// business.
pub struct Client {
    resolver: Resolver,
    dialer: Arc<dyn Dial>,
    /// For TLS with any host: the name is put in for each.
    tls: Option<Connector>,
    response_bytes_max: usize,
    idle: Mutex<HashMap<Server, Vec<(Sender, Instant)>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("response_bytes_max", &self.response_bytes_max).finish_non_exhaustive()
    }
}

impl Client {
    /// Believes certificates as the grant says: those issued under its CA file, or under the platform's roots. What may
    /// only be asked in clear needs neither.
    ///
    /// # Errors
    /// The CA file cannot be read, or there are no roots.
    pub fn new(resolver: &Resolver, dialer: &Arc<dyn Dial>, grant: &HttpGrant) -> Result<Client, TlsError> {
        let expect = Expect::Verified { name: "localhost", ca_file: grant.ca.as_deref() };
        let secure = grant.urls.iter().any(|url| url.secure);
        Ok(Client {
            resolver: resolver.clone(),
            dialer: Arc::clone(dialer),
            tls: secure.then(|| Connector::new(&expect)).transpose()?,
            response_bytes_max: grant.response_bytes_max,
            idle: Mutex::default(),
        })
    }

    /// Sends, and takes the whole answer.
    ///
    /// # Errors
    /// See [`Failure`]. `timeout` is for all of it.
    pub async fn send(&self, request: &Request, timeout: Duration) -> Result<Response, Failure> {
        let message = checked::message(request)?;
        let server = (request.url.secure, request.url.host.clone(), request.url.port);
        tokio::time::timeout(timeout, self.exchange(&server, request, message)).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn exchange(
        &self,
        server: &Server,
        request: &Request,
        message: checked::Message,
    ) -> Result<Response, Failure> {
        // A connection that waited may be gone by now without our knowing. What was written to it may have been heard, so
        // only what may be said twice is said again, on a new one.
        let again = matches!(request.method, "GET" | "HEAD" | "PUT" | "DELETE").then(|| message.clone());
        let (mut sender, waited) = match self.take_idle(server) {
            Some(sender) => (sender, true),
            None => (self.connect(&request.url).await?, false),
        };
        let answer = match sender.send_request(message).await {
            Ok(answer) => answer,
            Err(error) if waited && (error.is_canceled() || error.is_closed() || error.is_incomplete_message()) => {
                let Some(message) = again else { return Err(failure::of(&error)) };
                sender = self.connect(&request.url).await?;
                sender.send_request(message).await.map_err(|error| failure::of(&error))?
            }
            Err(error) => return Err(failure::of(&error)),
        };
        let response = self.take_in(answer).await?;
        // Ready means that the answer ended where it should, and that the server does not close.
        if sender.ready().await.is_ok() {
            self.put_idle(server.clone(), sender);
        }
        Ok(response)
    }

    /// The whole answer, within its bound.
    async fn take_in(&self, answer: hyper::Response<Incoming>) -> Result<Response, Failure> {
        let (head, mut body) = answer.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        let mut response = Response { status: head.status.as_u16(), headers: headers.collect(), body: Vec::new() };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failure::of(&error))?;
            let Some(octets) = frame.data_ref() else { continue };
            if octets.len() > self.response_bytes_max - response.body.len() {
                return Err(Failure::TooLarge);
            }
            response.body.extend_from_slice(octets);
        }
        Ok(response)
    }

    /// A new connection to the first address that takes one.
    async fn connect(&self, url: &Url) -> Result<Sender, Failure> {
        let addresses = self.resolver.addresses(&url.host).await.map_err(|error| match error {
            LookupError::NotFound => Failure::Unreachable(format!("there is no host {}", url.host)),
            LookupError::Failed(why) => Failure::Unreachable(format!("{}: {why}", url.host)),
        })?;
        let mut why = String::new();
        for address in addresses {
            let dialing = self.dialer.dial((address, url.port).into());
            match tokio::time::timeout(CONNECT_MAX, dialing).await {
                Ok(Ok(stream)) => return self.begin(stream, url).await,
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => why = format!("{address}: does not answer"),
            }
        }
        Err(Failure::Unreachable(why))
    }

    async fn begin(&self, mut stream: Stream, url: &Url) -> Result<Sender, Failure> {
        if url.secure {
            let tls = self.tls.as_ref().ok_or_else(|| Failure::Protocol("TLS was not set up".into()))?;
            let connector = tls.named(&url.host).map_err(|error| Failure::Protocol(error.to_string()))?;
            let shaken = stream.start_tls_client(&connector).await;
            shaken.map_err(|error| Failure::Protocol(error.to_string()))?;
        }
        let mut settings = http1::Builder::new();
        settings.max_buf_size(ANSWER_HEAD_BYTES_MAX);
        let (sender, connection) =
            settings.handshake(TokioIo::new(stream)).await.map_err(|error| failure::of(&error))?;
        // Ends with its sender; what goes wrong in it is told to whoever waits for the answer.
        drop(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of a filter's request ended");
            }
        }));
        Ok(sender)
    }

    fn take_idle(&self, server: &Server) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle.get_mut(server)?;
        // The one that was used last is the one that most probably lives.
        while let Some((sender, since)) = waiting.pop() {
            if sender.is_ready() && since.elapsed() < IDLE_TIME_MAX {
                return Some(sender);
            }
        }
        None
    }

    fn put_idle(&self, server: Server, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, waiting| {
            waiting.retain(|(sender, since)| sender.is_ready() && since.elapsed() < IDLE_TIME_MAX);
            !waiting.is_empty()
        });
        if idle.values().map(Vec::len).sum::<usize>() >= IDLE_MAX {
            return;
        }
        let waiting = idle.entry(server).or_default();
        if waiting.len() < IDLE_PER_SERVER_MAX {
            waiting.push((sender, Instant::now()));
        }
    }
}
