//! Answers that somebody wrote down.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::checks::Finding;

use super::{Answer, Dns, Failure, Http, NoAnswer, Request, Response, Waiting};

/// What the world says, question by question. What is not written here is a failure that names the question, and is
/// remembered: see [`unscripted`](Script::unscripted).
#[derive(Debug, Default)]
pub struct Script {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By name, in lower case and without its last dot, then by kind, in upper case.
    dns: HashMap<String, BTreeMap<String, Result<Answer, NoAnswer>>>,
    /// By method, and address as [`Url`](crate::config::Url) shows it.
    http: HashMap<(String, String), Result<Response, Failure>>,
    facts: Vec<Finding>,
    unscripted: Vec<String>,
}

impl Inner {
    fn miss(&mut self, what: String) {
        if self.unscripted.len() < UNSCRIPTED_MAX {
            self.unscripted.push(what);
        }
    }
}

/// Questions without an answer that are remembered.
const UNSCRIPTED_MAX: usize = 1_000;

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Script {
    /// From now on this is the answer to a question. Of a name with any answer, what is not written is
    /// [`NoAnswer::NoData`]; where one kind is [`NoAnswer::NotFound`], so are the others.
    pub fn dns(&self, name: &str, kind: &str, answer: Result<Answer, NoAnswer>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.dns.entry(plain(name)).or_default().insert(kind.to_ascii_uppercase(), answer);
    }

    /// From now on this is the answer to a request: `method` as in "GET", `url` with its path and query.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn http(&self, method: &str, url: &str, answer: Result<Response, Failure>) -> Result<(), &'static str> {
        let key = (method.to_ascii_uppercase(), crate::config::Url::parse(url)?.to_string());
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).http.insert(key, answer);
        Ok(())
    }

    /// One more fact of those that a check finds out: "spf", "dkim", "arc", "dmarc". What is not written is not known.
    pub fn fact(&self, finding: Finding) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).facts.push(finding);
    }

    pub(crate) fn facts(&self, name: &str) -> Vec<Finding> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.facts.iter().filter(|finding| finding.check == name).cloned().collect()
    }

    /// What was asked and stands nowhere, in the order in which it was asked.
    #[must_use]
    pub fn unscripted(&self) -> Vec<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).unscripted.clone()
    }

    fn answer(&self, name: &str, kind: &str) -> Result<Answer, NoAnswer> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kind.to_ascii_uppercase();
        let Some(kinds) = inner.dns.get(&plain(name)) else {
            let question = format!("{kind} {name}");
            inner.miss(format!("dns: {question}"));
            return Err(NoAnswer::Failed(format!("no answer is written down for {question}")));
        };
        match kinds.get(&kind) {
            Some(answer) => answer.clone(),
            None if kinds.values().any(|answer| *answer == Err(NoAnswer::NotFound)) => Err(NoAnswer::NotFound),
            None => Err(NoAnswer::NoData),
        }
    }
}

impl Dns for Script {
    fn ask<'a>(&'a self, name: &'a str, kind: &'a str) -> Waiting<'a, Result<Answer, NoAnswer>> {
        Box::pin(std::future::ready(self.answer(name, kind)))
    }
}

impl Http for Script {
    fn send<'a>(&'a self, request: &'a Request, _: Duration) -> Waiting<'a, Result<Response, Failure>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (request.method.to_owned(), request.url.to_string());
        let answer = inner.http.get(&key).cloned().unwrap_or_else(|| {
            let (method, url) = &key;
            inner.miss(format!("http: {method} {url}"));
            Err(Failure::Unreachable(format!("no answer is written down for {method} {url}")))
        });
        drop(inner);
        Box::pin(std::future::ready(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Security;
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_answered_and_what_is_not_is_named() {
        let script = Script::default();
        let one = Answer { records: vec![b"192.0.2.1".to_vec()], security: Security::Secure };
        script.dns("Mail.example.", "a", Ok(one.clone()));
        script.dns("gone.example", "A", Err(NoAnswer::NotFound));
        assert_eq!(script.ask("mail.EXAMPLE", "A").await, Ok(one));
        assert_eq!(script.ask("mail.example", "TXT").await, Err(NoAnswer::NoData));
        assert_eq!(script.ask("gone.example", "MX").await, Err(NoAnswer::NotFound));
        assert!(script.unscripted().is_empty());
        let Err(NoAnswer::Failed(why)) = script.ask("other.example", "TXT").await else { panic!("it was answered") };
        assert_eq!(why, "no answer is written down for TXT other.example");
        assert_eq!(script.unscripted(), ["dns: TXT other.example"]);
    }
}
