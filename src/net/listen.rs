//! Listening sockets: bound here, inherited from systemd, or kept over a reload.
//!
//! All are bound, or none: an error leaves what ran before as it was. It refuses to guess: an address that cannot
//! be had is an error that says which, why, and what to do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::inherit::Inherited;
use super::stream::Stream;
use crate::config;

/// Connections that wait to be accepted (the kernel cuts it to net.core.somaxconn).
const BACKLOG: i32 = 4096;

/// One listening socket, bound and ready. Clones share it; it closes with the last of them.
#[derive(Debug, Clone)]
pub struct Bound {
    name: Arc<str>,
    source: Source,
    socket: Arc<TcpListener>,
}

/// Where a socket came from: what a reload compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Bound by us; the address as configured (its port may be 0).
    Configured(SocketAddr),
    /// Passed by systemd.
    Passed,
}

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address} (listener \"{name}\"): {reason}")]
    Bind { name: String, address: SocketAddr, reason: String },
    #[error(
        "listener \"{name}\" has no address, and systemd passed no socket of that name ({passed}); \
         give it `address`, or FileDescriptorName={name} in the .socket unit"
    )]
    NoSocket { name: String, passed: String },
    #[error("the socket systemd passed for listener \"{name}\" cannot be used: {source}")]
    Passed { name: String, source: io::Error },
}

/// Opens all listeners of a configuration. A socket passed by systemd under a listener's name is used instead of
/// the listener's addresses; a socket in `kept` that is still wanted is used again, so that no connection in its
/// backlog is lost. Must be called inside the runtime.
///
/// # Errors
/// The first socket that cannot be had.
pub fn bind(
    listeners: &[config::Listener],
    kept: &[Bound],
    inherited: &mut Inherited,
) -> Result<Vec<Bound>, ListenError> {
    let mut kept: Vec<Option<&Bound>> = kept.iter().map(Some).collect();
    let mut bound = Vec::new();
    for listener in listeners {
        let passed = passed(listener, &mut kept, inherited)?;
        if !passed.is_empty() {
            bound.extend(passed);
            continue;
        }
        if listener.addresses.is_empty() {
            let names = inherited.names().join(", ");
            let passed = if names.is_empty() { "it passed none".to_owned() } else { format!("it passed: {names}") };
            return Err(ListenError::NoSocket { name: listener.name.clone(), passed });
        }
        for &address in &listener.addresses {
            let again = take(&mut kept, |old| {
                // Two listeners may both ask for port 0; those are told apart by name.
                old.source == Source::Configured(address) && (address.port() != 0 || *old.name == *listener.name)
            });
            bound.push(match again {
                Some(old) => Bound { name: Arc::from(listener.name.as_str()), ..old },
                None => open(&listener.name, address)?,
            });
        }
    }
    Ok(bound)
}

fn take(kept: &mut [Option<&Bound>], wanted: impl Fn(&Bound) -> bool) -> Option<Bound> {
    kept.iter_mut().find(|old| old.is_some_and(&wanted)).and_then(Option::take).cloned()
}

fn passed(
    listener: &config::Listener,
    kept: &mut [Option<&Bound>],
    inherited: &mut Inherited,
) -> Result<Vec<Bound>, ListenError> {
    let mut bound = Vec::new();
    while let Some(old) = take(kept, |old| old.source == Source::Passed && *old.name == *listener.name) {
        bound.push(old);
    }
    for socket in inherited.take(&listener.name) {
        let socket = adopt(Socket::from(socket))
            .map_err(|source| ListenError::Passed { name: listener.name.clone(), source })?;
        bound.push(Bound { name: Arc::from(listener.name.as_str()), source: Source::Passed, socket: Arc::new(socket) });
    }
    Ok(bound)
}

fn open(name: &str, address: SocketAddr) -> Result<Bound, ListenError> {
    let socket = try_open(address).map_err(|error| ListenError::Bind {
        name: name.to_owned(),
        address,
        reason: reason(&error, address, name),
    })?;
    Ok(Bound { name: Arc::from(name), source: Source::Configured(address), socket: Arc::new(socket) })
}

fn try_open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // 0.0.0.0 and [::] are two addresses, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    adopt(socket)
}

fn adopt(socket: Socket) -> io::Result<TcpListener> {
    // Accepted sockets inherit it: a system call less for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn reason(error: &io::Error, address: SocketAddr, name: &str) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another process has it already, perhaps the mail server behind us (`ss -ltnp sport = :{port}` shows \
             which)"
        ),
        io::ErrorKind::PermissionDenied if port != 0 && port < 1024 => format!(
            "ports below 1024 need systemd's socket activation (a .socket unit with FileDescriptorName={name}) or the \
             capability CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
        _ => error.to_string(),
    }
}

impl Bound {
    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it listens, with the port the kernel chose for port 0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether both are one socket: a reload leaves the task alone that accepts from it.
    #[must_use]
    pub fn same_socket(&self, other: &Bound) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket)
    }

    /// The next connection, and who called. An IPv4 client of a dual-stack socket has its IPv4 address. Safe to
    /// cancel.
    ///
    /// # Errors
    /// The kernel's: of this one connection (it was gone again), or of the process (out of descriptors), for which
    /// the caller has to pause.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (tcp, peer) = self.socket.accept().await?;
        Ok((Stream::from(tcp), canonical(peer)))
    }
}

/// `::ffff:192.0.2.1` is 192.0.2.1; everything else is itself.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), address.port()),
            None => address,
        },
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::config::{Listener, ListenerAuth, ListenerTls};

    fn listener(name: &str, addresses: &[&str]) -> Listener {
        Listener {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            protocol: crate::config::Protocol::Smtp,
            tls: ListenerTls::Off,
            auth: ListenerAuth::Off,
            require_tls: false,
            handshakes: crate::config::Handshakes::default(),
            trust: crate::config::Trust::default(),
            filters: Vec::new(),
            helo_checks: Vec::new(),
            vrfy: crate::config::Vrfy::Neutral,
            help: None,
            trusted_networks: Vec::new(),
            after_login: false,
            strict_addresses: false,
            sender_login: None,
        }
    }

    #[tokio::test]
    async fn binds_each_address_and_accepts_without_delay() {
        let mut none = Inherited::none();
        let bound = bind(&[listener("mx", &["127.0.0.1:0", "127.0.0.1:0"])], &[], &mut none).unwrap();
        assert_eq!(bound.len(), 2);
        assert!(!bound[0].same_socket(&bound[1]));
        let client = tokio::net::TcpStream::connect(bound[0].local_addr().unwrap()).await.unwrap();
        let (stream, peer) = bound[0].accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(stream.tcp().unwrap().nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_reload_keeps_what_is_unchanged() {
        let mut none = Inherited::none();
        let old = bind(&[listener("mx", &["127.0.0.1:0"]), listener("submission", &["127.0.0.1:0"])], &[], &mut none)
            .unwrap();
        let new =
            bind(&[listener("submission", &["127.0.0.1:0"]), listener("extra", &["127.0.0.1:0"])], &old, &mut none)
                .unwrap();
        assert!(new[0].same_socket(&old[1]));
        assert!(!new[1].same_socket(&old[0]));
        let unwanted = Arc::downgrade(&old[0].socket);
        drop(old);
        assert!(unwanted.upgrade().is_none(), "a listener no longer wanted is closed");
    }

    #[tokio::test]
    async fn a_fixed_address_is_kept_under_a_new_name() {
        let mut none = Inherited::none();
        let probe = bind(&[listener("probe", &["127.0.0.1:0"])], &[], &mut none).unwrap();
        let address = probe[0].local_addr().unwrap();
        let old = [Bound { source: Source::Configured(address), ..probe[0].clone() }];
        let new = bind(&[listener("inbound", &[&address.to_string()])], &old, &mut none).unwrap();
        assert!(new[0].same_socket(&old[0]));
        assert_eq!(&**new[0].name(), "inbound");
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_what_to_do() {
        let mut none = Inherited::none();
        let first = bind(&[listener("mx", &["127.0.0.1:0"])], &[], &mut none).unwrap();
        let address = first[0].local_addr().unwrap();
        let error = bind(&[listener("other", &[&address.to_string()])], &[], &mut none).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("\"other\""), "{error}");
        assert!(error.contains("ss -ltnp"), "{error}");
    }

    #[test]
    fn low_ports_lead_to_socket_activation() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = reason(&denied, "0.0.0.0:25".parse().unwrap(), "mx");
        assert!(text.contains("FileDescriptorName=mx") && text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    }

    #[tokio::test]
    async fn passed_sockets_go_by_name_and_survive_a_reload() {
        let open = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (mx, odd) = (open(), open());
        let address = mx.local_addr().unwrap();
        let mut inherited = Inherited::from_sockets(vec![("mx".to_owned(), mx), ("odd".to_owned(), odd)]);
        let bound = bind(&[listener("mx", &[])], &[], &mut inherited).unwrap();
        assert_eq!(bound[0].local_addr().unwrap(), address);
        assert_eq!(inherited.names(), ["odd"]);
        let again = bind(&[listener("mx", &[])], &bound, &mut inherited).unwrap();
        assert!(again[0].same_socket(&bound[0]));
        let error = bind(&[listener("missing", &[])], &[], &mut inherited).unwrap_err().to_string();
        assert!(error.contains("it passed: odd"), "{error}");
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let peer: SocketAddr = "[::ffff:192.0.2.1]:25".parse().unwrap();
        assert_eq!(canonical(peer), "192.0.2.1:25".parse().unwrap());
        let peer: SocketAddr = "[2001:db8::1]:25".parse().unwrap();
        assert_eq!(canonical(peer), peer);
    }
}
