//! Answers of somebody elsewhere (an upstream, a directory) that are kept for a while, so that it is not asked the same again. What is kept, and what a
//! kept answer is good for, is the caller's to know.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::smtp::Reply;

/// Beyond this the oldest go.
const ANSWERS_MAX: usize = 50_000;

/// Answers by question, each with the moment from which it counts no more.
#[derive(Debug)]
pub struct Answers<Q, A = Reply>(Mutex<Kept<Q, A>>);

#[derive(Debug)]
struct Kept<Q, A> {
    answers: HashMap<Q, (Instant, A)>,
    /// In the order in which they were put; those forgotten since included.
    order: VecDeque<(Instant, Q)>,
}

impl<Q, A> Default for Answers<Q, A> {
    fn default() -> Self {
        Answers(Mutex::new(Kept { answers: HashMap::new(), order: VecDeque::new() }))
    }
}

impl<Q: Clone + Eq + Hash, A: Clone> Answers<Q, A> {
    /// What was answered to this, if that still counts.
    pub fn get(&self, question: &Q) -> Option<A> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, reply) = kept.answers.get(question)?;
        (*until > Instant::now()).then(|| reply.clone())
    }

    /// Keeps an answer for so long; at most 50,000 altogether, the oldest go first.
    pub fn put(&self, question: Q, reply: A, keep: Duration) {
        let now = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.order.front().is_some_and(|(until, _)| *until <= now) || kept.order.len() >= ANSWERS_MAX {
            let Some((until, oldest)) = kept.order.pop_front() else { break };
            // It may have been put again since.
            if kept.answers.get(&oldest).is_some_and(|(current, _)| *current == until) {
                kept.answers.remove(&oldest);
            }
        }
        let until = now + keep;
        kept.order.push_back((until, question.clone()));
        kept.answers.insert(question, (until, reply));
    }

    /// The answer counts no more.
    pub fn forget(&self, question: &Q) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(question);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::smtp::replies;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_until_its_time_is_over_or_it_is_forgotten() {
        let answers: Answers<_> = Answers::default();
        answers.put("a", replies::RECIPIENT_OK, Duration::from_secs(60));
        answers.put("b", replies::RECIPIENT_OK, Duration::from_secs(60));
        assert_eq!(answers.get(&"a"), Some(replies::RECIPIENT_OK));
        answers.forget(&"b");
        assert_eq!(answers.get(&"b"), None);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(answers.get(&"a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_the_bound_and_what_was_put_again_stays() {
        let answers: Answers<_> = Answers::default();
        answers.put(0, replies::RECIPIENT_OK, Duration::from_secs(600));
        tokio::time::advance(Duration::from_secs(1)).await;
        answers.put(0, replies::RECIPIENT_OK, Duration::from_secs(600));
        for question in 1..=ANSWERS_MAX - 1 {
            answers.put(question, replies::RECIPIENT_OK, Duration::from_secs(600));
        }
        assert!(answers.get(&0).is_some());
        assert!(answers.0.lock().unwrap().order.len() <= ANSWERS_MAX);
        answers.put(ANSWERS_MAX, replies::RECIPIENT_OK, Duration::from_secs(600));
        assert!(answers.get(&0).is_none());
        assert!(answers.0.lock().unwrap().answers.len() <= ANSWERS_MAX);
    }
}
