//! The functions of a guest, one for each stage: what a stage is about is lowered here into the contract's words.

use std::pin::Pin;

use wasmtime::Store;
use wasmtime::component::Instance as Component;

use super::ask::Ask;
use super::bindings::exports::wasmilter::filter as wit;
use super::bindings::wasmilter::filter::types as words;
use super::convert;
use super::guest::Guest;
use super::stages::Exports;
use crate::mail::{
    AuthFacts, Delivery, Ending, Hello, Recipient, RecipientReply, Sender, Summary, TlsFacts, UnknownCommand,
};
use crate::smtp::Reply;

/// The functions of the stages asked so far.
#[derive(Default)]
pub(super) struct Hooks {
    connect: Option<wit::on_connect::Guest>,
    helo: Option<wit::on_helo::Guest>,
    tls: Option<wit::on_tls::Guest>,
    auth: Option<wit::on_auth::Guest>,
    mail: Option<wit::on_mail::Guest>,
    rcpt: Option<wit::on_rcpt::Guest>,
    rcpt_reply: Option<wit::on_rcpt_reply::Guest>,
    data: Option<wit::on_data::Guest>,
    headers: Option<wit::on_headers::Guest>,
    body: Option<wit::on_body::Guest>,
    message: Option<wit::on_message::Guest>,
    reply: Option<wit::on_reply::Guest>,
    abort: Option<wit::on_abort::Guest>,
    unknown: Option<wit::on_unknown::Guest>,
    quit: Option<wit::on_quit::Guest>,
}

/// What a guest answered; None is a plain `next`, which nearly all answers are.
pub(super) type Verdict = Option<Box<words::Verdict>>;

/// One guest call, ready to be awaited. In a box: handed up through the floors by value it would be copied as often.
pub(super) type Call<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<Verdict>> + Send + 'a>>;

/// An instance about to be asked.
pub(super) struct Caller<'a> {
    pub store: &'a mut Store<Guest>,
    pub component: &'a Component,
    pub exports: &'a Exports,
    pub hooks: &'a mut Hooks,
}

/// The function of a stage, which is looked up once for each instance, and the store to call it in.
macro_rules! hook {
    ($self:ident, $stage:ident) => {{
        let unknown = || wasmtime::format_err!("the stage is not exported");
        if $self.hooks.$stage.is_none() {
            let indices = $self.exports.$stage.as_ref().ok_or_else(unknown)?;
            $self.hooks.$stage = Some(indices.load(&mut *$self.store, $self.component)?);
        }
        ($self.hooks.$stage.as_ref().ok_or_else(unknown)?, $self.store)
    }};
}

impl<'a> Caller<'a> {
    /// # Errors
    /// The guest has no such function.
    pub(super) fn call(self, ask: Ask<'a>) -> wasmtime::Result<Call<'a>> {
        match ask {
            Ask::Connect => self.connect(),
            Ask::Helo(hello) => self.helo(hello),
            Ask::Tls(tls) => self.tls(tls),
            Ask::Auth(auth) => self.auth(auth),
            Ask::Mail(sender) => self.mail(sender),
            Ask::Rcpt(recipient) => self.rcpt(recipient),
            Ask::RcptReply(reply) => self.rcpt_reply(reply),
            Ask::Data => self.data(),
            Ask::Headers => self.headers(),
            Ask::Message => self.message(),
            Ask::Body(chunk) => self.body(chunk),
            Ask::Reply(delivery) => self.final_reply(delivery),
            Ask::Abort(ending) => self.abort(ending),
            Ask::Unknown(command) => self.unknown(command),
            Ask::Quit(summary) => self.quit(summary),
        }
    }

    fn connect(self) -> wasmtime::Result<Call<'a>> {
        let peer = self.store.data_mut().work()?.session.peer;
        let (hook, store) = hook!(self, connect);
        Ok(Box::pin(async move {
            let address = peer.ip().to_canonical().to_string();
            let peer = words::EndpointParam { address: &address, port: peer.port() };
            hook.call_connect(store, peer).await.map(opinion)
        }))
    }

    fn helo(self, hello: &'a Hello) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, helo);
        Ok(Box::pin(async move { hook.call_helo(store, &hello.name, hello.extended).await.map(opinion) }))
    }

    fn tls(self, tls: &'a TlsFacts) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, tls);
        Ok(Box::pin(async move {
            let info = words::TlsInfoParam {
                version: tls.version,
                cipher: &tls.cipher,
                sni: tls.sni.as_deref(),
                client_subject: tls.client_subject.as_deref(),
            };
            hook.call_tls(store, info).await.map(opinion)
        }))
    }

    fn auth(self, auth: &'a AuthFacts) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, auth);
        Ok(Box::pin(async move {
            let info = words::AuthInfoParam { mechanism: auth.mechanism.as_str(), identity: &auth.identity };
            hook.call_auth(store, info).await.map(opinion)
        }))
    }

    fn mail(self, sender: &'a Sender) -> wasmtime::Result<Call<'a>> {
        let changed = self.store.data_mut().work()?.sender.clone();
        let (hook, store) = hook!(self, mail);
        Ok(Box::pin(async move {
            let sender = changed.as_ref().unwrap_or(sender);
            let params = convert::params_out(&sender.params);
            let path = words::PathParam { address: sender.path.as_str(), params: &params };
            hook.call_mail(store, path).await.map(opinion)
        }))
    }

    fn rcpt(self, recipient: &'a Recipient) -> wasmtime::Result<Call<'a>> {
        let changed = self.store.data_mut().work()?.recipient.clone();
        let (hook, store) = hook!(self, rcpt);
        Ok(Box::pin(async move {
            let recipient = changed.as_ref().unwrap_or(recipient);
            let params = convert::params_out(&recipient.params);
            let path = words::PathParam { address: recipient.path.as_str(), params: &params };
            hook.call_rcpt(store, path).await.map(opinion)
        }))
    }

    fn rcpt_reply(self, told: &'a RecipientReply) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, rcpt_reply);
        Ok(Box::pin(async move {
            let params = convert::params_out(&told.recipient.params);
            let path = words::PathParam { address: told.recipient.path.as_str(), params: &params };
            let answer = convert::ReplyOut::of(&told.answer);
            hook.call_rcpt_reply(store, path, answer.shown()).await.map(|()| None)
        }))
    }

    fn data(self) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, data);
        Ok(Box::pin(async move { hook.call_data(store).await.map(opinion) }))
    }

    fn headers(self) -> wasmtime::Result<Call<'a>> {
        let block = self.store.data_mut().work()?.headers.clone().unwrap_or_default();
        let (hook, store) = hook!(self, headers);
        Ok(Box::pin(async move {
            let shown = |name, value| words::HeaderParam { name, value: convert::value_out(value) };
            let fields: Vec<_> = block.iter().map(|field| shown(field.name(), field.value())).collect();
            hook.call_headers(store, &fields).await.map(opinion)
        }))
    }

    fn message(self) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, message);
        Ok(Box::pin(async move { hook.call_message(store).await.map(opinion) }))
    }

    fn body(self, chunk: &'a [u8]) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, body);
        Ok(Box::pin(async move { hook.call_body(store, chunk).await.map(opinion) }))
    }

    fn final_reply(self, delivery: &'a Delivery) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, reply);
        Ok(Box::pin(async move {
            let answer = convert::ReplyOut::of(&delivery.answer);
            let parts = |(recipient, reply): &'a (Recipient, Reply)| {
                (recipient.path.as_str(), convert::params_out(&recipient.params), convert::ReplyOut::of(reply))
            };
            let each: Vec<_> = delivery.each.iter().map(parts).collect();
            let shown = each.iter().map(|(address, params, reply)| words::RecipientReply {
                recipient: words::PathParam { address, params },
                answer: reply.shown(),
            });
            let shown: Vec<_> = shown.collect();
            let outcome = wit::on_reply::Delivery {
                answer: answer.shown(),
                each: &shown,
                octets: convert::count_out(delivery.octets),
                duration: convert::millis_out(delivery.duration),
            };
            hook.call_final_reply(store, outcome).await.map(|()| None)
        }))
    }

    fn unknown(self, command: &'a UnknownCommand) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, unknown);
        Ok(Box::pin(async move { hook.call_unknown(store, &command.verb, &command.argument).await.map(opinion) }))
    }

    fn abort(self, ending: Ending) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, abort);
        Ok(Box::pin(async move { hook.call_abort(store, convert::ending_out(ending)).await.map(|()| None) }))
    }

    fn quit(self, summary: Summary) -> wasmtime::Result<Call<'a>> {
        let (hook, store) = hook!(self, quit);
        Ok(Box::pin(async move { hook.call_quit(store, convert::summary_out(summary)).await.map(|()| None) }))
    }
}

/// A plain `next` needs no room.
fn opinion(verdict: words::Verdict) -> Verdict {
    let plain = verdict.action == words::Action::Next && verdict.reply.is_none() && verdict.reason.is_none();
    (!plain).then(|| Box::new(verdict))
}
