//! `session`: who is speaking.

use std::net::SocketAddr;

use wasmtime::Result;

use crate::filter::bindings::wasmilter::filter::session::{AuthInfo, Endpoint, Host, TlsInfo};
use crate::filter::guest::Guest;
use crate::mail::PeerName;

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address: address.ip().to_canonical().to_string(), port: address.port() }
}

impl Host for Guest {
    fn id(&mut self) -> Result<String> {
        Ok(self.work()?.session.id.to_string())
    }

    fn listener(&mut self) -> Result<String> {
        Ok(self.work()?.session.listener.to_string())
    }

    fn peer(&mut self) -> Result<Endpoint> {
        Ok(endpoint(self.work()?.session.peer))
    }

    fn local(&mut self) -> Result<Endpoint> {
        Ok(endpoint(self.work()?.session.local))
    }

    fn peer_name(&mut self) -> Result<Option<String>> {
        Ok(match &self.work()?.session.peer_name {
            PeerName::Confirmed(name) => Some(name.to_string()),
            PeerName::Unavailable | PeerName::TemporarilyUnavailable => None,
        })
    }

    fn helo(&mut self) -> Result<Option<String>> {
        Ok(self.work()?.session.hello.as_ref().map(|hello| hello.name.to_string()))
    }

    fn tls(&mut self) -> Result<Option<TlsInfo>> {
        Ok(self.work()?.session.tls.as_ref().map(|tls| TlsInfo {
            version: tls.version.to_owned(),
            cipher: tls.cipher.to_string(),
            sni: tls.sni.as_ref().map(ToString::to_string),
            client_subject: tls.client_subject.as_ref().map(ToString::to_string),
        }))
    }

    fn auth(&mut self) -> Result<Option<AuthInfo>> {
        Ok(self
            .work()?
            .session
            .auth
            .as_ref()
            .map(|auth| AuthInfo { mechanism: auth.mechanism.to_string(), identity: auth.identity.to_string() }))
    }

    fn note(&mut self, key: String) -> Result<Option<String>> {
        let name = self.profile.name.clone();
        let own = self.profile.config.shadow;
        let work = self.work()?;
        let aside = work.shadow_notes.own(&name, &key).filter(|_| own);
        Ok(aside.or_else(|| work.notes.get(&name, &key)).map(str::to_owned))
    }

    fn set_note(&mut self, key: String, value: Option<String>) -> Result<bool> {
        let name = self.profile.name.clone();
        let shadow = self.profile.config.shadow;
        let work = self.work()?;
        let notes = if shadow { &mut work.shadow_notes } else { &mut work.notes };
        Ok(notes.set(&name, &key, value.as_deref()))
    }
}
