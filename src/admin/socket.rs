//! The local socket: a file that only those may connect to who are let by its permissions.
//!
//! It is made in a folder that nobody else can enter, gets its group and its mode there, and its own name last: there is
//! no moment at which it takes more people than it should. A name that is taken is given up by a socket at which nobody
//! listens any more, and by nothing else.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

use crate::config;

/// Beside the socket's own file, while it is made.
const FOLDER_PREFIX: &str = ".w";
const FOLDER_RANDOM: usize = 6;
/// How often the name is tried for: once it was free, once it had to be made so, and once somebody was faster.
const PLACE_TRIES: u32 = 3;

/// There can be no such socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("cannot listen at {} ([admin] socket): {error}; its folder has to be there, and the gateway's own", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("cannot listen at {} ([admin] socket): another gateway is listening there; stop it, or choose another path", .0.display())]
    Live(PathBuf),
    #[error("cannot listen at {} ([admin] socket): something is there that is no socket, and stays; move it away, or choose another path", .0.display())]
    Foreign(PathBuf),
    #[error(
        "cannot listen at {} ([admin] socket): nobody can tell whether the socket there is still in use: {error}; \
         remove it if it is not",
        path.display()
    )]
    Unknown { path: PathBuf, error: io::Error },
    #[error("there is no group \"{0}\" on this machine ([admin] socket-group)")]
    NoGroup(String),
    #[error(
        "the socket cannot be given to the group \"{group}\" ([admin] socket-group): {error}; the user that the gateway \
         runs as has to be in that group"
    )]
    Group { group: String, error: io::Error },
}

/// Which file this is, as long as it is there: a listening socket keeps its number from being given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Identity> {
        let found = fs::symlink_metadata(path)?;
        Ok(Identity { device: found.dev(), inode: found.ino() })
    }
}

/// The name of a socket that listens. Dropped, it is removed, unless it is another's by then.
#[derive(Debug)]
pub(super) struct Placed {
    path: PathBuf,
    identity: Identity,
}

impl Placed {
    /// Whether it is still there.
    pub(super) fn stands(&self) -> bool {
        Identity::of(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.stands() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), %error, "the admin socket cannot be removed");
        }
    }
}

/// Listens already, with its permissions, where nobody can reach it.
#[derive(Debug)]
pub(super) struct Made {
    listener: UnixListener,
    folder: TempDir,
    file: PathBuf,
    identity: Identity,
    wanted: PathBuf,
}

impl Made {
    /// # Errors
    /// What keeps it from being made.
    pub(super) fn new(settings: &config::AdminSocket) -> Result<Made, SocketError> {
        let failed = |error| SocketError::Io { path: settings.path.clone(), error };
        let parent = settings.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut private = tempfile::Builder::new();
        private.prefix(FOLDER_PREFIX).rand_bytes(FOLDER_RANDOM).permissions(Permissions::from_mode(0o700));
        let folder = private.tempdir_in(parent).map_err(failed)?;
        let file = folder.path().join("s");
        let listener = UnixListener::bind(&file).map_err(failed)?;
        if let Some(group) = &settings.group {
            let refused = |error| SocketError::Group { group: group.clone(), error };
            let found = Group::from_name(group).map_err(|error| refused(error.into()))?;
            let found = found.ok_or_else(|| SocketError::NoGroup(group.clone()))?;
            chown(&file, None, Some(found.gid.as_raw())).map_err(refused)?;
        }
        fs::set_permissions(&file, Permissions::from_mode(settings.mode)).map_err(failed)?;
        let identity = Identity::of(&file).map_err(failed)?;
        Ok(Made { listener, folder, file, identity, wanted: settings.path.clone() })
    }

    /// Gives it its name, where there is none or one that nobody listens at.
    ///
    /// # Errors
    /// The name is somebody else's.
    pub(super) async fn place(self) -> Result<(UnixListener, Placed), SocketError> {
        for _ in 0..PLACE_TRIES {
            // Unlike renaming, this never takes a name from anybody.
            match fs::hard_link(&self.file, &self.wanted) {
                Ok(()) => return Ok(self.placed()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => self.make_way().await?,
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(SocketError::Live(self.wanted))
    }

    /// The same in the place of one of our own, with no moment in between.
    ///
    /// # Errors
    /// The name is somebody else's.
    pub(super) async fn replace(self, own: &Placed) -> Result<(UnixListener, Placed), SocketError> {
        if own.path != self.wanted || !own.stands() {
            return self.place().await;
        }
        fs::rename(&self.file, &self.wanted).map_err(|error| self.failed(error))?;
        Ok(self.placed())
    }

    fn placed(self) -> (UnixListener, Placed) {
        (self.listener, Placed { path: self.wanted, identity: self.identity })
    }

    fn failed(&self, error: io::Error) -> SocketError {
        SocketError::Io { path: self.wanted.clone(), error }
    }

    /// Removes the socket of a gateway that is dead.
    async fn make_way(&self) -> Result<(), SocketError> {
        let path = || self.wanted.clone();
        let found = match fs::symlink_metadata(&self.wanted) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed(error)),
        };
        if !found.file_type().is_socket() {
            return Err(SocketError::Foreign(path()));
        }
        let looked_at = Identity { device: found.dev(), inode: found.ino() };
        match UnixStream::connect(&self.wanted).await {
            // Its queue is full.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(SocketError::Live(path())),
            Ok(_) => return Err(SocketError::Live(path())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(SocketError::Unknown { path: path(), error }),
        }
        // Taken away first and looked at again: another gateway may have had the same thought.
        let aside = self.folder.path().join("dead");
        fs::rename(&self.wanted, &aside).map_err(|error| self.failed(error))?;
        if Identity::of(&aside).is_ok_and(|taken| taken == looked_at) {
            tracing::info!(socket = %self.wanted.display(), "the admin socket of a gateway that is gone is replaced");
            return fs::remove_file(&aside).map_err(|error| self.failed(error));
        }
        fs::hard_link(&aside, &self.wanted).map_err(|error| self.failed(error))?;
        Err(SocketError::Live(path()))
    }
}
