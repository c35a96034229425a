//! Rate limits over all gateways: a group of questions becomes one call of a script, which decides it as this process
//! would. In a cluster questions about one client lie in one slot, and a group is as many calls as it changes clients.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::clock::Clock;
use redis::Value;
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::node::NoAnswer;
use super::script::{Call, Script};
use crate::report::shared::{By, What, answered};
use crate::state::limits::{Checked, Group, How, Question, period};

/// Octets of a digest that make a key; two clients are taken for one with a chance of 1 in 2¹²⁸.
const DIGEST_BYTES: usize = 16;

impl Shared {
    /// Has the group decided. What the shared state does not answer, this process decides.
    pub async fn settle<C: Clock + Clone>(&self, group: &mut Group<'_, C>) {
        while !group.is_over() {
            let (count, key, call) = {
                let questions = group.questions();
                let run = if self.settings.cluster { first_run(&questions) } else { questions.len() };
                let run = questions.get(..run).unwrap_or_default();
                let Some(first) = run.first() else { return };
                (run.len(), self.key(first), self.call(run, None))
            };
            let answer = self.ask(&key, &call).await;
            match answer.and_then(|answer| answers(&answer, count)) {
                Ok(answers) => {
                    answered(What::Limits, By::All);
                    group.settle(answers);
                }
                Err(_) => {
                    // And all that follows: nobody waits twice.
                    answered(What::Limits, By::Here);
                    group.settle_here(usize::MAX);
                }
            }
        }
    }

    /// What is to be asked, at the server's time or at another one (microseconds since 2025).
    fn call(&self, questions: &[Question<'_>], at_micros: Option<u64>) -> Call {
        let mut keys = Vec::with_capacity(questions.len());
        let mut arguments = vec![at_micros.map(|at| at.to_string().into_bytes()).unwrap_or_default()];
        for question in questions {
            let key = self.key(question);
            let lately = question.distinct.map(|name| {
                keys.push(key.clone());
                keys.push(format!("{key}:{}", digest(name.as_bytes())));
                micros(question.rate.per)
            });
            if lately.is_none() {
                keys.push(key);
            }
            let how = match question.how {
                How::Charge => "c",
                How::Look => "l",
                How::Owe => "o",
            };
            let refuses = if question.refuses { "r" } else { "" };
            let regardless = if question.regardless { "a" } else { "" };
            arguments.push(format!("{how}{refuses}{regardless}").into_bytes());
            arguments.push(micros(period(question.rate)).into_bytes());
            arguments.push(question.rate.burst.max(1).to_string().into_bytes());
            arguments.push(question.amount.to_string().into_bytes());
            arguments.push(lately.unwrap_or_default().into_bytes());
        }
        Call::Script { script: Script::Limits, keys, arguments }
    }

    /// Where a question's count is. What stands in braces is the client.
    fn key(&self, question: &Question<'_>) -> String {
        format!("{}:{{{}}}:{}", self.settings.prefix, digest(&question.key), question.quota)
    }

    /// What the shared state itself says to a group about one client, without this process in its place.
    ///
    /// # Errors
    /// Why nobody answered.
    pub async fn decide_now(&self, questions: &[Question<'_>]) -> Result<Vec<Checked>, String> {
        self.asked(questions, None).await
    }

    /// The same at a time of the caller's (microseconds since 2025).
    ///
    /// # Errors
    /// Why nobody answered.
    pub async fn decide_at(&self, questions: &[Question<'_>], at_micros: u64) -> Result<Vec<Checked>, String> {
        self.asked(questions, Some(at_micros)).await
    }

    async fn asked(&self, questions: &[Question<'_>], at_micros: Option<u64>) -> Result<Vec<Checked>, String> {
        let Some(first) = questions.first() else { return Ok(Vec::new()) };
        let answer = self.ask(&self.key(first), &self.call(questions, at_micros)).await;
        answer.and_then(|answer| answers(&answer, questions.len())).map_err(|why| format!("{why:?}"))
    }
}

/// How many of them are about the client of the first one.
fn first_run(questions: &[Question<'_>]) -> usize {
    let Some(first) = questions.first() else { return 0 };
    questions.iter().take_while(|question| question.key == first.key).count()
}

fn digest(octets: &[u8]) -> String {
    let whole = Sha256::digest(octets);
    URL_SAFE_NO_PAD.encode(whole.get(..DIGEST_BYTES).unwrap_or_default())
}

/// With three digits behind the point, which is all there is.
fn micros(time: Duration) -> String {
    format!("{}.{:03}", time.as_micros(), time.subsec_nanos() % 1_000)
}

/// One answer for each question that was asked, at least for the first.
fn answers(value: &Value, asked: usize) -> Result<Vec<Checked>, NoAnswer> {
    let odd = || NoAnswer::Odd("its script does not answer what was asked".to_owned());
    let Value::Array(items) = value else { return Err(odd()) };
    if items.is_empty() || items.len() > asked {
        return Err(odd());
    }
    let answer = |item: &Value| match *item {
        Value::Int(0) => Ok(Ok(())),
        Value::Int(wait) => Ok(Err(u64::try_from(wait).ok().map(Duration::from_micros))),
        _ => Err(odd()),
    };
    items.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let array = |items: &[i64]| Value::Array(items.iter().map(|item| Value::Int(*item)).collect());
        let wait = Some(Duration::from_micros(1_500_000));
        assert_eq!(answers(&array(&[0, 1_500_000, -1]), 3), Ok(vec![Ok(()), Err(wait), Err(None)]));
        assert_eq!(answers(&array(&[0]), 3), Ok(vec![Ok(())]));
        for nonsense in [array(&[]), array(&[0, 0]), Value::Okay, Value::Array(vec![Value::Nil])] {
            assert!(answers(&nonsense, 1).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn times_have_all_their_digits() {
        assert_eq!(micros(Duration::from_nanos(1)), "0.001");
        assert_eq!(micros(Duration::from_secs(60)), "60000000.000");
        assert_eq!(micros(Duration::from_nanos(1_234_567_891)), "1234567.891");
    }
}
