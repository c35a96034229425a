//! The mail server as the one who knows: a login is said on to it, and its yes or no is the verdict.
//!
//! It says nothing of whom it let in, so the name is read in what the client says, and only mechanisms are relayed where
//! that is there to be read (`smtp::sasl::Witness`). A name that it does not know and a wrong password look the same from
//! here: it speaks for every name.

use std::sync::Arc;

#[cfg(test)]
mod tests;

use super::Client;
use super::backend::Verdict;
use super::exchange::Said;
use super::remote::{Away, identity};
use crate::smtp::sasl::{Mechanism, Name, Secret, Witness};
use crate::upstream::{self, Login, Upstream, UpstreamError};

pub(super) struct MailServer {
    upstream: Upstream,
}

/// A login that the server and a client are in the middle of.
pub(super) struct Talk {
    /// Until it is left.
    login: Option<Login>,
    witness: Witness,
}

impl MailServer {
    pub(super) fn new(upstream: Upstream) -> MailServer {
        MailServer { upstream }
    }

    /// What it offered when it was last seen, of those that can be said on. None: it never was.
    pub(super) fn offered(&self) -> Option<Arc<Vec<Name>>> {
        let offer = self.upstream.last_offer()?;
        let names = offer.auth.iter().filter_map(|name| Name::parse(name));
        Some(Arc::new(names.filter(|name| Witness::of(*name).is_some()).collect()))
    }

    /// Asks what it offers, if it was never seen. True: it is known now, and every session learns it anew.
    pub(super) async fn learn(&self) -> Result<bool, Away> {
        if self.upstream.last_offer().is_none() {
            self.upstream.learn_offer().await.map_err(away)?;
        }
        Ok(true)
    }

    /// By PLAIN, or LOGIN where that is all it has.
    ///
    /// # Errors
    /// When the server is away, says that it cannot tell for now, or says what cannot be understood.
    pub(super) async fn verify(&self, client: &Client<'_>, name: &str, password: &Secret) -> Result<Verdict, Away> {
        let mut login = self.upstream.for_login(client.session).await.map_err(away)?;
        let said = if login.offers(Mechanism::Plain.into()) {
            let message = Secret::new([b"\0", name.as_bytes(), b"\0", password.reveal()].concat());
            login.begin(Mechanism::Plain.into(), Some(&message)).await.map_err(away)?
        } else {
            let name = Secret::new(name.as_bytes().to_vec());
            let mut said = login.begin(Mechanism::Login.into(), None).await.map_err(away)?;
            for message in [&name, password] {
                if matches!(said, upstream::Said::Challenge(_)) {
                    said = login.go_on(message).await.map_err(away)?;
                } else if said == upstream::Said::Good {
                    return Err(Away("it lets in who has not said the password yet".to_owned()));
                }
            }
            said
        };
        login.leave().await;
        match said {
            upstream::Said::Good => identity(name.as_bytes()).map(Verdict::Good),
            upstream::Said::Bad => Ok(Verdict::Bad),
            upstream::Said::Challenge(_) => Err(Away("it wants more than a name and a password".to_owned())),
        }
    }

    /// Begins an exchange.
    ///
    /// # Errors
    /// As with [`verify`](Self::verify).
    pub(super) async fn begin(
        &self,
        client: &Client<'_>,
        mechanism: Name,
        initial: Option<&Secret>,
    ) -> Result<(Talk, Said), Away> {
        let witness = Witness::of(mechanism).ok_or_else(|| Away(format!("by {mechanism} nobody is known")))?;
        let mut talk = Talk { login: None, witness };
        if initial.is_some_and(|message| talk.witness.hear(message.reveal()).is_err()) {
            return Ok((talk, Said::Bad));
        }
        let login = talk.login.insert(self.upstream.for_login(client.session).await.map_err(away)?);
        if !login.offers(mechanism) {
            return Err(Away(format!("the mail server does not offer {mechanism} to the gateway's clients")));
        }
        let said = login.begin(mechanism, initial).await.map_err(away)?;
        let said = talk.conclude(said).await?;
        Ok((talk, said))
    }
}

impl Talk {
    /// # Errors
    /// As with [`MailServer::verify`].
    pub(super) async fn go_on(&mut self, message: &Secret) -> Result<Said, Away> {
        if self.witness.hear(message.reveal()).is_err() {
            return self.conclude(upstream::Said::Bad).await;
        }
        let login = self.login.as_mut().ok_or_else(|| Away("it is over".to_owned()))?;
        let said = login.go_on(message).await.map_err(away)?;
        self.conclude(said).await
    }

    async fn conclude(&mut self, said: upstream::Said) -> Result<Said, Away> {
        if let upstream::Said::Challenge(challenge) = said {
            return Ok(Said::Challenge(challenge));
        }
        if let Some(login) = self.login.take() {
            login.leave().await;
        }
        if said == upstream::Said::Bad {
            return Ok(Said::Bad);
        }
        let name = self.witness.concluded();
        let name = name.ok_or_else(|| Away("it lets in who has not said all that is to be said".to_owned()))?;
        Ok(Said::Good { identity: identity(name.as_bytes())?, last: None })
    }
}

fn away(error: UpstreamError) -> Away {
    Away::because("the mail server", error)
}
