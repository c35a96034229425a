//! How a server of the shared state is reached: DNS, TCP, TLS, login, and whether it is of any use. Everything of it
//! within the caller's time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

use super::SharedError;
use super::password::first_line;
use super::script::{Scripts, text_of};
use crate::config::{Password, RedisServer, SharedState};
use crate::net::Stream;
use crate::net::dial::Dial;
use crate::net::dns::{LookupError, Resolver};
use crate::net::tls::{Connector, Expect};

/// Questions that wait to be written; further ones wait in their sessions, as long as they may.
const QUEUE_MAX: usize = 1_024;
/// What a server may say since it was last asked something. A filter's value has at most 1 MiB, and there are others
/// beside it; beyond this it is no Redis.
const UNASKED_BYTES_MAX: usize = 64 << 20;
/// How long the key lives by which it is known that a server takes writes.
const PROBE_MS: u32 = 1_000;

/// What it takes to reach the servers.
#[derive(Debug)]
pub(super) struct Reach {
    resolver: Resolver,
    dialer: Arc<dyn Dial>,
    tls: Option<Connector>,
    user: Option<String>,
    password: Option<Password>,
    database: u32,
    /// Whether it is seen by a write of its own that a server is of any use.
    tries_writes: bool,
    has_scripts: bool,
    probe_key: String,
}

/// A connection on which a server takes writes, where anything is written.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    pub(super) scripts: Scripts,
    pub(super) server: RedisServer,
}

impl Reach {
    /// # Errors
    /// The password file or the CA cannot be read.
    pub(super) fn new(
        settings: &SharedState,
        resolver: &Resolver,
        dialer: &Arc<dyn Dial>,
    ) -> Result<Reach, SharedError> {
        let read = |path: &std::path::PathBuf| {
            first_line(path).map_err(|error| SharedError::Password { path: path.clone(), error })
        };
        let password = settings.password_file.as_ref().map(read).transpose()?;
        let expect = Expect::Verified { name: "localhost", ca_file: settings.ca.as_deref() };
        Ok(Reach {
            resolver: resolver.clone(),
            dialer: Arc::clone(dialer),
            tls: settings.tls.then(|| Connector::new(&expect)).transpose()?,
            user: settings.user.clone(),
            password,
            database: settings.database,
            tries_writes: settings.is_written() && !settings.cluster,
            has_scripts: settings.is_written(),
            probe_key: format!("{}:probe", settings.prefix),
        })
    }

    /// Whether the same servers would be reached in the same way, as far as the settings do not tell it.
    pub(super) fn is_as(&self, other: &Reach) -> bool {
        self.password == other.password
    }

    /// A connection to it, and the task that drives it.
    ///
    /// # Errors
    /// Why there is none, in words for the operator.
    pub(super) async fn connect(&self, server: &RedisServer) -> Result<(Link, AbortOnDropHandle<()>), String> {
        let stream = self.dial(server).await?;
        let login = RedisConnectionInfo::default().set_db(i64::from(self.database)).set_skip_set_lib_name();
        let login = match &self.user {
            Some(user) => login.set_username(user),
            None => login,
        };
        let login = match &self.password {
            Some(password) => login.set_password(password.reveal()),
            None => login,
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE_MAX);
        let made = MultiplexedConnection::new_with_config(&login, Bounded { stream, unasked: 0 }, config).await;
        let (mut connection, driver) = made.map_err(|error| error.to_string())?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let scripts = if self.has_scripts { Scripts::load(&mut connection).await? } else { Scripts::none() };
        let link = Link { connection, scripts, server: server.clone() };
        self.probe(&link).await?;
        Ok((link, driver))
    }

    /// Whether it takes writes: a replica does not, and neither does a master that is full. In a cluster nobody knows which
    /// keys are its own, so it is only asked whether it is there; so is one that only holds tables.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) async fn probe(&self, link: &Link) -> Result<(), String> {
        let mut probe = Cmd::new();
        if self.tries_writes {
            probe.arg("SET").arg(&self.probe_key).arg("1").arg("PX").arg(PROBE_MS);
        } else {
            probe.arg("PING");
        }
        let answer = link.connection.clone().send_packed_command(&probe).await;
        match answer.map_err(|error| error.to_string())? {
            Value::ServerError(error) => Err(text_of(&error)),
            _ => Ok(()),
        }
    }

    async fn dial(&self, server: &RedisServer) -> Result<Stream, String> {
        let addresses = self.resolver.addresses(&server.host).await.map_err(|error| match error {
            LookupError::NotFound => format!("there is no host {}", server.host),
            LookupError::Failed(why) => why,
        })?;
        let mut why = String::new();
        for address in addresses {
            match self.dialer.dial((address, server.port).into()).await {
                Ok(stream) => return self.secure(stream, server).await,
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    async fn secure(&self, mut stream: Stream, server: &RedisServer) -> Result<Stream, String> {
        let Some(tls) = &self.tls else { return Ok(stream) };
        let connector = tls.named(&server.host).map_err(|error| error.to_string())?;
        stream.start_tls_client(&connector).await.map_err(|error| error.to_string())?;
        Ok(stream)
    }
}

/// A connection that ends when it says very much without being asked.
struct Bounded {
    stream: Stream,
    unasked: usize,
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.unasked += buf.filled().len() - before;
        if self.unasked > UNASKED_BYTES_MAX {
            return Poll::Ready(Err(std::io::Error::other("it says more than it was asked for")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        self.unasked = 0;
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_server_that_says_very_much_unasked_is_left() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let nowhere = std::net::SocketAddr::from(([192, 0, 2, 1], 6_379));
        let mut bounded = Bounded { stream: Stream::over(near, nowhere, nowhere), unasked: 0 };
        tokio::spawn(async move { while far.write_all(&[b'x'; 1 << 16]).await.is_ok() {} });
        let (mut heard, mut piece) = (0, vec![0; 1 << 16]);
        let why = loop {
            match bounded.read(&mut piece).await {
                Ok(count) => heard += count,
                Err(why) => break why,
            }
        };
        assert!(why.to_string().contains("more than it was asked for"));
        assert!(heard <= UNASKED_BYTES_MAX && heard + piece.len() > UNASKED_BYTES_MAX, "{heard}");
        bounded.write_all(b"?").await.unwrap();
        assert!(bounded.read(&mut piece).await.is_ok(), "who is asked may go on");
    }
}
