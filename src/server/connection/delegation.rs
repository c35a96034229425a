//! Policy daemons, before the filters: what they are asked at each stage, and what is written down of their refusals.

use super::Connection;
use crate::config::PolicyStage;
use crate::mail::{Action, Verdict};
use crate::policy::delegation::Question;
use crate::policy::when::declared_size;
use crate::server::delegation::refusal;
use crate::session::Ask;

impl Connection {
    /// The stage at which a daemon is asked about this, if any is.
    pub(super) fn delegates(&self, ask: &Ask) -> Option<PolicyStage> {
        let stage = match ask {
            Ask::Connect => PolicyStage::Connect,
            Ask::Helo(_) => PolicyStage::Helo,
            Ask::Mail(_) => PolicyStage::Mail,
            Ask::Rcpt(_) => PolicyStage::Rcpt,
            Ask::Data => PolicyStage::Data,
            Ask::Tls(_) | Ask::Auth(_) | Ask::Unknown(_) => return None,
        };
        let listener = &self.session.facts().listener;
        self.generation.delegation.wants(listener, stage).then_some(stage)
    }

    /// Asks them; a refusal, if that is what comes of it.
    pub(super) async fn delegate(&mut self, ask: &Ask) -> Option<Verdict> {
        let stage = self.delegates(ask)?;
        self.learn_names().await;
        let (facts, envelope) = (self.session.facts(), self.session.envelope());
        let sender = match ask {
            Ask::Mail(sender) => Some(sender),
            _ => envelope.map(|envelope| &envelope.sender),
        };
        let question = Question {
            stage,
            facts,
            envelope: envelope.map(AsRef::as_ref),
            helo: if let Ask::Helo(hello) = ask { Some(&hello.name) } else { None },
            sender: if let Ask::Mail(sender) = ask { Some(sender) } else { None },
            recipient: if let Ask::Rcpt(recipient) = ask { Some(recipient) } else { None },
            size: sender.and_then(declared_size).unwrap_or(0),
            context: "",
            stress: self.gateway.overload.is_stressed(),
        };
        let generation = std::sync::Arc::clone(&self.generation);
        let verdict = Box::pin(generation.delegation.ask(question, &mut self.delegated)).await;
        if verdict.action == Action::Next {
            return None;
        }
        self.record.heard(&refusal(ask.stage(), &verdict));
        Some(verdict)
    }
}
