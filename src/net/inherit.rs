//! Sockets that systemd opened for us (socket activation, sd_listen_fds(3)), so that port 25 needs no root.
//!
//! The only `unsafe` of the network floor is here: a file descriptor's number becomes an owned socket. It refuses
//! to do so twice, and refuses whatever is not a listening TCP socket.

use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockRef, Type};

/// More sockets than this in one activation is a mistake.
const SOCKETS_MAX: usize = 256;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Sockets passed to this process, by the name their `.socket` unit gave them (`FileDescriptorName=`).
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, TcpListener)>,
}

/// Socket activation that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error("the sockets passed by systemd cannot be taken over: {0}")]
    Environment(std::io::Error),
    #[error("systemd passed {0} sockets; at most {SOCKETS_MAX} are taken")]
    TooMany(usize),
    #[error(
        "the socket \"{0}\" passed by systemd is not a listening TCP socket (ListenStream= with a port, Accept=no)"
    )]
    NotTcp(String),
}

impl Inherited {
    /// Nothing was passed.
    #[must_use]
    pub fn none() -> Inherited {
        Inherited::default()
    }

    /// Takes over what systemd passed to this process; nothing when it passed nothing, or was asked before. To be
    /// called at the start, before any socket is opened.
    ///
    /// # Errors
    /// When the environment lies about the descriptors, or one is no listening TCP socket.
    pub fn from_systemd() -> Result<Inherited, InheritError> {
        let passed = sd_notify::listen_fds_with_names().map_err(InheritError::Environment)?;
        if passed.len() > SOCKETS_MAX {
            return Err(InheritError::TooMany(passed.len()));
        }
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(Inherited::none());
        }
        let mut sockets = Vec::new();
        for (fd, name) in passed {
            let socket = own_listening_tcp(fd).ok_or(InheritError::NotTcp(name.clone()))?;
            sockets.push((name, TcpListener::from(socket)));
        }
        Ok(Inherited { sockets })
    }

    /// For tests, and for whoever embeds the gateway: sockets that are open already.
    #[must_use]
    pub fn from_sockets(sockets: Vec<(String, TcpListener)>) -> Inherited {
        Inherited { sockets }
    }

    /// All sockets of this name; they are gone from here then.
    pub fn take(&mut self, name: &str) -> Vec<TcpListener> {
        let (wanted, rest) = std::mem::take(&mut self.sockets).into_iter().partition(|(found, _)| found == name);
        self.sockets = rest;
        let wanted: Vec<(String, TcpListener)> = wanted;
        wanted.into_iter().map(|(_, socket)| socket).collect()
    }

    /// Names of those nobody has taken: worth a warning once all listeners are bound.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.sockets.iter().map(|(name, _)| name.as_str()).collect()
    }
}

fn listening_tcp(socket: &SockRef<'_>) -> std::io::Result<bool> {
    let domain = socket.domain()?;
    Ok((domain == Domain::IPV4 || domain == Domain::IPV6)
        && socket.r#type()? == Type::STREAM
        && socket.is_listener()?)
}

/// Owns a descriptor after a look at it. Where the environment lies, the number may be the runtime's own by now:
/// what is no listening TCP socket is neither taken nor closed.
#[allow(unsafe_code, reason = "a descriptor's number from the environment has to become an owned descriptor once")]
fn own_listening_tcp(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: sd-notify has just found the descriptor open, and nothing closes it while we look: at a start there is
    // one thread that opens and closes.
    let looked_at = unsafe { BorrowedFd::borrow_raw(fd) };
    if !listening_tcp(&SockRef::from(&looked_at)).unwrap_or(false) {
        return None;
    }
    // SAFETY: sd_listen_fds(3) hands descriptors 3 and following to this process alone (LISTEN_PID is ours), and
    // nobody else in the program takes them: `TAKEN` lets one call pass, made before we have opened listening
    // sockets of our own, and this is one.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
