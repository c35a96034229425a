//! A directory: the right password is the one with which it lets somebody bind.
//!
//! An empty password never goes there: a bind with a name and without a password succeeds at many servers, as nobody
//! (RFC 4513 section 5.1.2). A name stands in filters and names of entries with every character that means something there
//! escaped (RFC 4515, RFC 4514).

use std::sync::{Mutex, PoisonError};

use ldap3::{Ldap as Connection, LdapConnAsync, LdapConnSettings, Scope, SearchEntry, SearchOptions, StdStream};

use super::backend::Verdict;
use super::remote::{Away, Reach, identity};
use super::{BackendError, first_line};
use crate::config::{LdapAccounts, LdapFind, LdapTls, Password};
use crate::net::dns::Resolver;
use crate::net::tls::{Connector, Expect};
use crate::smtp::sasl::Secret;

/// Connections that wait for the next question, of those who search and of those who bind each.
const IDLE_MAX: usize = 8;
/// Result codes of a bind that say something about the credential: noSuchObject, inappropriateAuthentication,
/// invalidCredentials; and constraintViolation and unwillingToPerform, by which servers say that an account is locked.
const REFUSALS: [u32; 5] = [32, 48, 49, 19, 53];
/// More than one is one too many.
const ENTRIES_MAX: i32 = 2;
/// sizeLimitExceeded: there were more.
const SIZE_LIMIT_EXCEEDED: u32 = 4;

/// A directory that is searched for keys of a table.
pub struct Directory(Ldap);

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// # Errors
    /// The CA file or the searcher's password cannot be read, or there are no roots.
    pub fn new(table: &str, settings: &LdapAccounts, reach: &Reach<'_>) -> Result<Directory, BackendError> {
        Ldap::new(table, settings, reach).map(Directory)
    }

    /// Whether the filter finds anything with this key in it.
    ///
    /// # Errors
    /// Why there is no answer that counts.
    pub async fn holds(&self, key: &str) -> Result<bool, String> {
        let LdapFind::Search { base, filter, .. } = &self.0.settings.find else { return Ok(false) };
        let filter = filled(filter, key, |part| ldap3::ldap_escape(part).into_owned());
        let found = self.0.search(base, &filter).await.map_err(|away| away.to_string())?;
        Ok(found != Entries::None)
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entries {
    None,
    One(String),
    Several,
}

pub(super) struct Ldap {
    settings: LdapAccounts,
    searcher: Option<(String, Password)>,
    tls: Option<Connector>,
    resolver: Resolver,
    /// Bound as who searches.
    searching: Idle,
    /// Bound as whoever it was last.
    binding: Idle,
}

#[derive(Default)]
struct Idle(Mutex<Vec<Connection>>);

impl Idle {
    fn take(&self) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|connection| !connection.is_closed());
        idle.pop()
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

impl Ldap {
    /// # Errors
    /// The CA file or the searcher's password cannot be read, or there are no roots.
    pub(super) fn new(name: &str, settings: &LdapAccounts, reach: &Reach<'_>) -> Result<Ldap, BackendError> {
        let expect = Expect::Verified { name: "localhost", ca_file: settings.ca.as_deref() };
        let tls = (settings.tls != LdapTls::Off).then(|| Connector::new(&expect)).transpose();
        let searcher = match &settings.find {
            LdapFind::Search { searcher: Some((dn, file)), .. } => {
                let password = first_line(file).map_err(|error| BackendError::Secret {
                    key: "password-file",
                    backend: name.to_owned(),
                    path: file.clone(),
                    error,
                })?;
                Some((dn.clone(), password))
            }
            _ => None,
        };
        Ok(Ldap {
            settings: settings.clone(),
            searcher,
            tls: tls.map_err(|error| BackendError::Tls { backend: name.to_owned(), error })?,
            resolver: reach.resolver.clone(),
            searching: Idle::default(),
            binding: Idle::default(),
        })
    }

    /// # Errors
    /// When the directory is away, or says what is about neither name nor password.
    pub(super) async fn verify(&self, name: &str, password: &Secret) -> Result<Verdict, Away> {
        let Some(password) = str::from_utf8(password.reveal()).ok().filter(|text| !text.is_empty()) else {
            return Ok(Verdict::Bad);
        };
        let entry = match &self.settings.find {
            LdapFind::Pattern(pattern) => filled(pattern, name, |part| ldap3::dn_escape(part).into_owned()),
            LdapFind::Search { base, filter, .. } => {
                let filter = filled(filter, name, |part| ldap3::ldap_escape(part).into_owned());
                match self.search(base, &filter).await? {
                    Entries::One(entry) => entry,
                    Entries::None => return Ok(Verdict::NotMine),
                    Entries::Several => {
                        return Err(Away("the filter finds more than one entry for a name".to_owned()));
                    }
                }
            }
        };
        if self.bind(&entry, password).await? { identity(name.as_bytes()).map(Verdict::Good) } else { Ok(Verdict::Bad) }
    }

    /// Whether the directory lets this entry in. A connection that waited may be gone by now: then on a new one.
    async fn bind(&self, entry: &str, password: &str) -> Result<bool, Away> {
        if let Some(mut waited) = self.binding.take()
            && let Ok(result) = waited.simple_bind(entry, password).await
        {
            self.binding.put(waited);
            return verdict_of(result.rc);
        }
        let mut connection = self.connect().await?;
        let result = connection.simple_bind(entry, password).await.map_err(|why| Away::because("bind", why))?;
        self.binding.put(connection);
        verdict_of(result.rc)
    }

    /// The entries that the filter finds.
    async fn search(&self, base: &str, filter: &str) -> Result<Entries, Away> {
        if let Some(mut waited) = self.searching.take()
            && let Ok(found) = search_on(&mut waited, base, filter).await
        {
            self.searching.put(waited);
            return found;
        }
        let mut connection = self.connect().await?;
        if let Some((dn, password)) = &self.searcher {
            let bound =
                connection.simple_bind(dn, password.reveal()).await.map_err(|why| Away::because("bind", why))?;
            if bound.rc != 0 {
                return Err(Away(format!("whoever searches is not let in, result code {}", bound.rc)));
            }
        }
        let found = search_on(&mut connection, base, filter).await.map_err(|why| Away::because("search", why))?;
        self.searching.put(connection);
        found
    }

    /// To the first address that takes one, with TLS where it is wanted.
    async fn connect(&self) -> Result<Connection, Away> {
        let LdapAccounts { host, port, tls, .. } = &self.settings;
        let addresses = self.resolver.addresses(host).await.map_err(|why| Away::because(host, why))?;
        let mut last = Away(format!("{host} has no address"));
        for address in addresses {
            let stream =
                match tokio::net::TcpStream::connect((address, *port)).await.and_then(|stream| stream.into_std()) {
                    Ok(stream) => stream,
                    Err(why) => {
                        last = Away::because(&format!("{address}:{port}"), why);
                        continue;
                    }
                };
            let mut settings = LdapConnSettings::new().set_std_stream(StdStream::Tcp(stream));
            if let Some(connector) = &self.tls {
                settings = settings.set_config(connector.for_library()).set_starttls(*tls == LdapTls::StartTls);
            }
            let scheme = if *tls == LdapTls::Implicit { "ldaps" } else { "ldap" };
            let url =
                format!("{scheme}://{}:{port}", if host.contains(':') { format!("[{host}]") } else { host.clone() });
            let opened = LdapConnAsync::with_settings(settings, &url).await;
            let (driver, connection) = opened.map_err(|why| Away::because(&url, why))?;
            drop(tokio::spawn(async move {
                if let Err(error) = driver.drive().await {
                    tracing::debug!(%error, "a connection to a directory ended");
                }
            }));
            return Ok(connection);
        }
        Err(last)
    }
}

async fn search_on(
    connection: &mut Connection,
    base: &str,
    filter: &str,
) -> Result<Result<Entries, Away>, ldap3::LdapError> {
    connection.with_search_options(SearchOptions::new().sizelimit(ENTRIES_MAX));
    // "1.1": no attributes (RFC 4511 section 4.5.1.8).
    let found = connection.search(base, Scope::Subtree, filter, ["1.1"]).await?;
    let (entries, result) = (found.0, found.1);
    if result.rc != 0 && result.rc != SIZE_LIMIT_EXCEEDED {
        return Ok(Err(Away(format!("the search ended with result code {}", result.rc))));
    }
    let mut entries = entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
    let first = entries.next().map(|entry| SearchEntry::construct(entry).dn);
    if result.rc == SIZE_LIMIT_EXCEEDED || entries.next().is_some() {
        return Ok(Ok(Entries::Several));
    }
    Ok(Ok(first.filter(|dn| !dn.is_empty()).map_or(Entries::None, Entries::One)))
}

fn verdict_of(result: u32) -> Result<bool, Away> {
    match result {
        0 => Ok(true),
        refused if REFUSALS.contains(&refused) => Ok(false),
        other => Err(Away(format!("the bind ended with result code {other}"))),
    }
}

/// The pattern with the name in it. The configuration knows that every % of it stands for something.
fn filled(pattern: &str, name: &str, escape: impl Fn(&str) -> String) -> String {
    let (local, domain) = name.rsplit_once('@').unwrap_or((name, ""));
    let mut whole = String::with_capacity(pattern.len() + name.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        whole.push_str(before);
        let mut characters = after.chars();
        match characters.next() {
            Some('u') => whole.push_str(&escape(name)),
            Some('n') => whole.push_str(&escape(local)),
            Some('d') => whole.push_str(&escape(domain)),
            _ => whole.push('%'),
        }
        rest = characters.as_str();
    }
    whole.push_str(rest);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_patterns_and_mean_nothing_there() {
        let filter = |pattern, name| filled(pattern, name, |part| ldap3::ldap_escape(part).into_owned());
        let entry = |pattern, name| filled(pattern, name, |part| ldap3::dn_escape(part).into_owned());
        assert_eq!(filter("(mail=%u)", "anna@example.org"), "(mail=anna@example.org)");
        assert_eq!(filter("(&(uid=%n)(o=%d)(x=100%%))", "a@b@c.test"), "(&(uid=a@b)(o=c.test)(x=100%))");
        assert_eq!(filter("(uid=%u)", "*)(uid=\\"), "(uid=\\2a\\29\\28uid=\\5c)");
        assert_eq!(filter("(uid=%u)", "%d"), "(uid=%d)", "what a client says is no pattern");
        assert_eq!(entry("uid=%u,ou=people", "anna,ou=admins"), "uid=anna\\2cou\\3dadmins,ou=people");
        assert_eq!(entry("uid=%n,dc=%d", "anna"), "uid=anna,dc=");
    }

    #[test]
    fn result_codes_are_about_the_credential_or_about_the_directory() {
        assert_eq!(verdict_of(0), Ok(true));
        for refused in [19, 32, 48, 49, 53] {
            assert_eq!(verdict_of(refused), Ok(false));
        }
        for away in [1, 2, 3, 8, 10, 11, 13, 34, 51, 52, 80] {
            assert!(verdict_of(away).is_err(), "{away}");
        }
    }
}
