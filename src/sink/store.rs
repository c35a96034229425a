//! Where messages go: memory, or a Maildir (tmp, then new, one file a message). A message is stored whole or not at all.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::Options;

/// Messages remembered; the oldest are forgotten first.
const MESSAGES_MAX: usize = 10_000;
/// Content of them that is kept in memory, altogether.
const MEMORY_BYTES_MAX: usize = 512 * 1_024 * 1_024;

/// One message as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Without brackets; empty for the null sender.
    pub sender: String,
    pub recipients: Vec<String>,
    /// MAIL's parameters as they came, each with a space before it.
    pub parameters: String,
    /// What the client called itself in HELO or EHLO.
    pub hello: String,
    /// What XCLIENT said: `addr=192.0.2.1 helo=… login=…`; empty without it.
    pub client: String,
    /// What XFORWARD said, likewise.
    pub forwarded: String,
    /// As it came, dots unstuffed; empty when it went into a file.
    pub content: Vec<u8>,
    /// The file in the Maildir, which begins with lines of our own.
    pub file: Option<PathBuf>,
}

impl Message {
    /// The lines above the message in its file.
    fn head(&self) -> String {
        let mut head = format!("Return-Path: <{}>\r\n", self.sender);
        for recipient in &self.recipients {
            head.push_str(&format!("Delivered-To: {recipient}\r\n"));
        }
        for (name, value) in [("X-Client", &self.client), ("X-Forward", &self.forwarded)] {
            if !value.is_empty() {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head
    }
}

#[derive(Debug)]
pub(super) struct Store {
    maildir: Option<PathBuf>,
    hostname: String,
    running: AtomicU64,
    kept: Mutex<VecDeque<Arc<Message>>>,
    count: watch::Sender<usize>,
}

impl Store {
    pub(super) fn open(options: &Options) -> io::Result<Store> {
        if let Some(maildir) = &options.maildir {
            for folder in ["tmp", "new", "cur"] {
                std::fs::create_dir_all(maildir.join(folder))?;
            }
        }
        // A Maildir's file names may hold neither of these.
        let hostname = options.hostname.replace('/', "\\057").replace(':', "\\072");
        Ok(Store {
            maildir: options.maildir.clone(),
            hostname,
            running: AtomicU64::new(0),
            kept: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    pub(super) fn messages(&self) -> Vec<Arc<Message>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) async fn received(&self, count: usize) -> Vec<Arc<Message>> {
        // The sender lives as long as we do, so this cannot fail.
        let _ = self.count.subscribe().wait_for(|received| *received >= count).await;
        self.messages()
    }

    /// Begins a message. `message` knows everything but its content.
    pub(super) async fn begin(&self, message: Message) -> io::Result<Incoming> {
        let name = self.name();
        let Some(maildir) = &self.maildir else {
            return Ok(Incoming { message, name, file: None });
        };
        let draft = Draft { path: maildir.join("tmp").join(&name) };
        let mut file = File::create_new(&draft.path).await?;
        file.write_all(message.head().as_bytes()).await?;
        Ok(Incoming { message, name, file: Some((file, draft)) })
    }

    /// Stored for good; returns the name it was given.
    pub(super) async fn finish(&self, incoming: Incoming) -> io::Result<String> {
        let Incoming { mut message, name, file } = incoming;
        if let (Some((mut file, draft)), Some(maildir)) = (file, &self.maildir) {
            file.flush().await?;
            file.sync_all().await?;
            let stored = maildir.join("new").join(&name);
            tokio::fs::rename(&draft.path, &stored).await?;
            sync_folder(stored.parent()).await?;
            message.file = Some(stored);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Arc::new(message));
        let mut octets: usize = kept.iter().map(|message| message.content.len()).sum();
        while kept.len() > MESSAGES_MAX || (octets > MEMORY_BYTES_MAX && kept.len() > 1) {
            octets -= kept.pop_front().map_or(0, |oldest| oldest.content.len());
        }
        drop(kept);
        self.count.send_modify(|count| *count += 1);
        Ok(name)
    }

    /// Unique among all deliveries to a Maildir: time, process, running number, host.
    fn name(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nth = self.running.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        format!("{}.M{}P{process}Q{nth}.{}", now.as_secs(), now.subsec_micros(), self.hostname)
    }
}

/// The file's new name is on disk as well.
async fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    match folder {
        Some(folder) => File::open(folder).await?.sync_all().await,
        None => Ok(()),
    }
}

/// A message whose end has not been seen. Dropped, it never was.
#[derive(Debug)]
pub(super) struct Incoming {
    message: Message,
    name: String,
    file: Option<(File, Draft)>,
}

impl Incoming {
    pub(super) async fn append(&mut self, content: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some((file, _)) => file.write_all(content).await,
            None => {
                self.message.content.extend_from_slice(content);
                Ok(())
            }
        }
    }
}

/// A file in tmp that goes away unless it is renamed first.
#[derive(Debug)]
struct Draft {
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more once it was renamed.
        let _ = std::fs::remove_file(&self.path);
    }
}
