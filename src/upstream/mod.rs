//! Floor 6: the SMTP client towards the mail servers behind us.
//!
//! One connection serves one client's session. It is told who the client is before it hears anything of the
//! client's; its answers to MAIL, RCPT, DATA and the final dot are the client's answers; everything else it may
//! say or not say comes out as an [`UpstreamError`], which knows what the client is told (again later) and whether
//! the operator has to hear of it. Nothing here retries a message, keeps one, or sends a dot of its own.

mod connection;
mod error;
mod greet;
mod handover;
mod identify;
mod judge;
mod login;
mod pool;
mod proxy;
mod servers;
mod shared;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;
mod wait;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

pub use connection::{Connection, agreed};
pub use error::UpstreamError;
pub use judge::judge;
pub use login::{Login, Said};
pub use wait::Wait;

use crate::config::{
    Believed, ClientCertificate, Config, Password, PasswordSource, Servers, Timeouts, TlsFiles, UPSTREAM_DEFAULT,
    Upstream as Settings, UpstreamLogin, UpstreamTls,
};
use crate::mail::SessionFacts;
use crate::net::dial::Dial;
use crate::net::dns::Resolver;
use crate::net::tls::{Connector, Expect, Identity, TlsError};
use crate::report;
use crate::smtp::Offer;
use pool::Pool;
use servers::Health;
use shared::{Chance, Shared};

/// An upstream that cannot be made as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("upstream \"{upstream}\": {error}")]
    Tls { upstream: String, error: TlsError },
    #[error("upstream \"{upstream}\": the password file {}: {error}", path.display())]
    Password { upstream: String, path: std::path::PathBuf, error: std::io::Error },
    #[error("there is no upstream \"{UPSTREAM_DEFAULT}\"")]
    NoDefault,
}

/// Whether an upstream can be made as it is configured: what its certificates and passwords need is there.
///
/// # Errors
/// Why it cannot.
pub fn check(settings: &Settings) -> Result<(), SetupError> {
    connector(settings, "localhost")?;
    settings.login.as_ref().map(|login| credentials(settings, login)).transpose().map(drop)
}

fn connector(settings: &Settings, hostname: &str) -> Result<Option<Connector>, SetupError> {
    let tls = |error| SetupError::Tls { upstream: settings.name.clone(), error };
    let load = |files: &ClientCertificate| {
        Identity::load(&TlsFiles::one(files.certificate.clone(), files.key.clone()), SystemTime::now())
    };
    let ours = settings.certificate.as_ref().map(load).transpose().map_err(tls)?;
    let keys: Vec<[u8; 32]>;
    let expect = match &settings.tls {
        UpstreamTls::Off => return Ok(None),
        UpstreamTls::Opportunistic => Expect::Any { host: hostname },
        UpstreamTls::Verify { trust: Believed::Named { name, ca_file }, .. } => {
            Expect::Verified { name: name.as_deref().unwrap_or(hostname), ca_file: ca_file.as_deref() }
        }
        UpstreamTls::Verify { trust: Believed::Pinned(pins), .. } => {
            keys = pins.iter().map(|pin| pin.0).collect();
            Expect::Pinned { host: hostname, keys: &keys }
        }
    };
    Connector::showing(&expect, ours.as_ref()).map(Some).map_err(tls)
}

/// A password file longer than this is none.
const PASSWORD_FILE_BYTES_MAX: u64 = 4_096;

fn credentials(settings: &Settings, login: &UpstreamLogin) -> Result<(String, Password), SetupError> {
    let password =
        match &login.password {
            PasswordSource::Written(password) => password.clone(),
            PasswordSource::File(path) => first_line(path)
                .map(Password::new)
                .map_err(|error| SetupError::Password { upstream: settings.name.clone(), path: path.clone(), error })?,
        };
    Ok((login.user.clone(), password))
}

fn first_line(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(PASSWORD_FILE_BYTES_MAX).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.contains('\0') {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "its first line is no password"));
    }
    Ok(line.to_owned())
}

/// All upstreams of one generation, by their names.
#[derive(Debug, Clone)]
pub struct Upstreams {
    all: Arc<[Upstream]>,
    default: Upstream,
}

impl Upstreams {
    /// # Errors
    /// When TLS is demanded and its name or CA file cannot be used.
    pub fn new(config: &Config, resolver: &Resolver, dialer: &Arc<dyn Dial>) -> Result<Upstreams, SetupError> {
        let make = |settings| {
            Upstream::new(settings, &config.hostname, &config.timeouts, resolver.clone(), Arc::clone(dialer))
        };
        let all: Arc<[Upstream]> = config.upstreams.iter().map(make).collect::<Result<_, _>>()?;
        let default = all.iter().find(|upstream| upstream.name() == UPSTREAM_DEFAULT).cloned();
        Ok(Upstreams { default: default.ok_or(SetupError::NoDefault)?, all })
    }

    /// The one with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Upstream> {
        self.all.iter().find(|upstream| upstream.name() == name)
    }

    /// The one for whatever no route takes.
    #[must_use]
    pub fn default_one(&self) -> &Upstream {
        &self.default
    }

    /// The one at this place of the configuration.
    #[must_use]
    pub fn at(&self, place: usize) -> &Upstream {
        self.all.get(place).unwrap_or(&self.default)
    }

    /// Their generation begins: servers are asked whether they are well, where that is wanted. To be called within the
    /// runtime.
    pub fn begin(&self) {
        for upstream in self.all.iter() {
            upstream.begin();
        }
    }

    /// Their generation is over: no connection waits for a client any more, and those that do are left with QUIT.
    pub async fn retire(&self) {
        for upstream in self.all.iter() {
            upstream.shared.retire().await;
        }
    }

    /// In the order of the configuration.
    pub fn all(&self) -> impl Iterator<Item = &Upstream> {
        self.all.iter()
    }
}

/// Whether the upstream is to learn who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Now,
    /// A login is still to come, and an upstream that has been told cannot always be told again.
    Postpone,
}

/// One upstream as it is configured. Cheap to clone; replaced at reload.
#[derive(Debug, Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

impl Upstream {
    /// `hostname` is what we call ourselves in EHLO.
    ///
    /// # Errors
    /// When TLS is demanded and its name or CA file cannot be used.
    pub fn new(
        settings: &Settings,
        hostname: &str,
        timeouts: &Timeouts,
        resolver: Resolver,
        dialer: Arc<dyn Dial>,
    ) -> Result<Self, SetupError> {
        let connector = connector(settings, hostname)?;
        let login = settings.login.as_ref().map(|login| credentials(settings, login)).transpose()?;
        let shared = Shared {
            settings: settings.clone(),
            hostname: hostname.to_owned(),
            timeouts: timeouts.clone(),
            resolver,
            dialer,
            connector,
            login,
            offers: Mutex::default(),
            pool: Pool::new(&settings.pool),
            health: Health::default(),
            listed: match &settings.servers {
                Servers::Listed(servers) => servers.iter().cloned().map(Arc::new).collect(),
                Servers::Service(_) => Vec::new(),
            },
            chance: Chance::default(),
            connected: report::upstream::Connected::default(),
        };
        Ok(Upstream { shared: Arc::new(shared) })
    }

    fn begin(&self) {
        for server in &self.shared.listed {
            report::upstream::server_listed(self.name(), &servers::shown(server));
        }
        if let Some(every) = self.shared.settings.health_check {
            drop(tokio::spawn(shared::check_health(Arc::downgrade(&self.shared), every)));
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.settings.name
    }

    /// How it is configured.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// A connection for this client, from the pool or new: with `Telling::Now` one that knows who the client is,
    /// else one that is good for its [`offer`](Connection::offer), and for everything else once
    /// [`Connection::identify`] has been through.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn acquire(&self, who: &SessionFacts, telling: Telling) -> Result<Connection, UpstreamError> {
        // Boxed: rare, and larger than a session that waits for its client.
        Box::pin(Shared::acquire(&self.shared, who, telling)).await
    }

    /// What it offers: the last answer if that is fresh enough, else it is asked, by nobody in particular.
    ///
    /// # Errors
    /// Why nobody knows.
    pub async fn learn_offer(&self) -> Result<Arc<Offer>, UpstreamError> {
        if let Some(offer) = self.fresh_offer() {
            return Ok(offer);
        }
        Box::pin(Shared::ask_offer(&self.shared)).await
    }

    /// A new connection that knows who the client is.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connect(&self, who: &SessionFacts) -> Result<Connection, UpstreamError> {
        self.acquire(who, Telling::Now).await
    }

    /// The last answer to EHLO, however old: what an upstream that is away for now will most likely offer.
    #[must_use]
    pub fn last_offer(&self) -> Option<Arc<Offer>> {
        self.shared.last_offer().map(|(_, offer)| offer)
    }

    /// How long ago it last answered EHLO as it should.
    #[must_use]
    pub fn last_seen(&self) -> Option<Duration> {
        self.shared.last_offer().map(|(when, _)| when.elapsed())
    }

    /// The last answer to EHLO if it is younger than `extensions-ttl`; never with the default of zero.
    #[must_use]
    pub fn fresh_offer(&self) -> Option<Arc<Offer>> {
        let ttl = self.shared.settings.extensions_ttl;
        self.shared.last_offer().filter(|(when, _)| !ttl.is_zero() && when.elapsed() < ttl).map(|(_, offer)| offer)
    }
}
