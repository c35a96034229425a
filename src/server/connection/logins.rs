//! Logins, as far as the driver is concerned: it asks those who know the accounts.

use std::ops::Range;

use crate::accounts::{Client, Turn, Verification};
use crate::mail::AfterLogin;
use crate::session::{Identity, Input, KeysFound, Relayed, Step};
use crate::smtp::sasl::{Name, Secret};

use super::Connection;

impl Connection {
    pub(super) async fn verify(&mut self, identity: &str, password: Secret) -> Step {
        let facts = self.session.facts();
        let standing = self.gateway.limits.standing(facts.peer.ip(), identity);
        let client = Client { session: facts, attempt: self.session.login_attempt(), standing };
        let verification = match &self.generation.accounts {
            Some(accounts) => Box::pin(accounts.verify(&client, identity, &password)).await,
            None => Verification::Unavailable,
        };
        self.verified(identity, verification)
    }

    pub(super) async fn verify_token(&mut self, identity: Option<&str>, token: Secret) -> Step {
        let verification = match &self.generation.accounts {
            Some(accounts) => Box::pin(accounts.verify_token(identity, &token)).await,
            None => Verification::Unavailable,
        };
        self.verified(identity.unwrap_or_default(), verification)
    }

    pub(super) async fn find_keys(&mut self, identity: &str) -> Step {
        let found = match &self.generation.accounts {
            Some(accounts) => Box::pin(accounts.scram_keys(identity)).await,
            None => None,
        };
        let found = match found {
            Some((keys, nonce)) => KeysFound::Keys { keys, nonce },
            None => {
                self.record.login_put_off(&self.session, identity);
                KeysFound::Unavailable
            }
        };
        self.session.handle(Input::Keys(found))
    }

    pub(super) async fn relay(&mut self, mechanism: Name, initial: Option<Secret>) -> Step {
        let facts = self.session.facts();
        let standing = self.gateway.limits.standing(facts.peer.ip(), "");
        let client = Client { session: facts, attempt: self.session.login_attempt(), standing };
        let turn = match &self.generation.accounts {
            Some(accounts) => Box::pin(accounts.exchange(&client, mechanism, initial.as_ref())).await,
            None => Turn::Unavailable,
        };
        self.relayed(turn)
    }

    pub(super) async fn relay_on(&mut self, message: &Secret) -> Step {
        let turn = match self.exchange.take() {
            Some(exchange) => Box::pin(exchange.go_on(message)).await,
            None => Turn::Unavailable,
        };
        self.relayed(turn)
    }

    /// Dropped, it is ended at the backend.
    pub(super) fn relay_end(&mut self, then: Step) -> Step {
        self.exchange = None;
        then
    }

    /// Whether somebody has logged in from the client's address elsewhere, as far as it matters to this line: other
    /// gateways are asked when a transaction begins.
    pub(super) async fn is_seen(&mut self, line: Range<usize>) -> AfterLogin {
        let address = self.session.facts().peer.ip();
        if self.gateway.has_seen(address) {
            return AfterLogin::Yes;
        }
        let begins = self.io.input(line).get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"MAIL"));
        if begins { Box::pin(self.generation.others_have_seen(address)).await } else { AfterLogin::No }
    }

    fn relayed(&mut self, turn: Turn) -> Step {
        let said = match turn {
            Turn::Challenge(challenge, exchange) => {
                self.exchange = Some(exchange);
                Relayed::Challenge(challenge)
            }
            Turn::Good { identity, last } => Relayed::Good { identity, last },
            Turn::Bad => Relayed::Bad,
            Turn::Unavailable => {
                self.record.login_put_off(&self.session, "");
                Relayed::Unavailable
            }
        };
        self.session.handle(Input::Relayed(said))
    }

    fn verified(&mut self, account: &str, verification: Verification) -> Step {
        let identity = match verification {
            Verification::Good(name) => Identity::Good(name),
            Verification::Bad => Identity::Bad,
            Verification::Unavailable => {
                self.record.login_put_off(&self.session, account);
                Identity::Unavailable
            }
        };
        self.session.handle(Input::Identity(identity))
    }
}
