//! The mail at hand: what the ambient capabilities speak of while one filter is asked. It travels from
//! instance to instance, so that what one filter changed is what the next one sees.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::notes::Notes;
use crate::mail::{Edit, Envelope, PeerName, Recipient, Sender, SessionFacts, Stage};

/// What is at hand in one stage.
#[derive(Debug)]
pub struct Work {
    pub session: Arc<SessionFacts>,
    pub envelope: Option<Arc<Envelope>>,
    pub stage: Stage,
    pub notes: Notes,
    /// At mail, once a filter changed it.
    pub sender: Option<Sender>,
    /// At rcpt, once a filter replaced it.
    pub recipient: Option<Recipient>,
    /// Of the envelope, in the order in which filters made them.
    pub edits: Vec<Edit>,
}

impl Work {
    /// Work in `session`, before any stage.
    #[must_use]
    pub fn new(session: Arc<SessionFacts>) -> Work {
        Work {
            session,
            envelope: None,
            stage: Stage::Connect,
            notes: Notes::default(),
            sender: None,
            recipient: None,
            edits: Vec::new(),
        }
    }

    /// No session at all: for the trial at load, where only `init` is called.
    #[must_use]
    pub fn trial() -> Work {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Work::new(Arc::new(SessionFacts {
            id: "load".into(),
            listener: "".into(),
            peer: nowhere,
            local: nowhere,
            peer_name: PeerName::Unavailable,
            reverse_name: PeerName::Unavailable,
            hello: None,
            tls: None,
            auth: None,
        }))
    }
}
