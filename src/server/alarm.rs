//! `[alarm]`: a program of the operator's that hears when a `[[limit]]` with `alarm = true` was reached.
//!
//! It is told in environment variables, and no shell is between: what clients say can be no command. It has nothing else
//! of ours, and nobody waits for it.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limit;
use crate::policy::limits::Subject;
use crate::report::Seldom;
use crate::report::printable;

/// Programs that run at once; what would be one more is left out, and the next is told how many were.
pub(super) const ALARM_PROGRAMS_MAX: usize = 4;
/// One that takes longer is killed.
pub(super) const ALARM_TIME_MAX: Duration = Duration::from_secs(10);
/// Where programs are found that it calls by their names.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the program, within bounds.
#[derive(Debug)]
pub(super) struct Alarm {
    places: Arc<Semaphore>,
    left_out: AtomicU32,
    said: Arc<Seldom>,
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm {
            places: Arc::new(Semaphore::new(ALARM_PROGRAMS_MAX)),
            left_out: AtomicU32::new(0),
            said: Arc::default(),
        }
    }
}

impl Alarm {
    /// `key`: whom the limit met. `kept_back`: how often that was, since it was last told.
    pub(super) fn raise(
        &self,
        command: &[String],
        limit: &Limit,
        key: &str,
        kept_back: u32,
        subject: &Subject<'_>,
        session: Option<&str>,
    ) {
        let Some((program, words)) = command.split_first() else { return };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        let mut call = Command::new(program);
        call.args(words).env_clear().env("PATH", PATH).current_dir("/");
        for (name, value) in [
            ("LIMIT", limit.name.as_str()),
            ("COUNT", limit.count.name()),
            ("ACTION", limit.action.name()),
            ("KEY", key),
            ("ADDRESS", &subject.address.to_canonical().to_string()),
            ("LISTENER", subject.listener),
            ("IDENTITY", subject.identity.unwrap_or_default()),
            ("SESSION", session.unwrap_or_default()),
            ("KEPT_BACK", &kept_back.to_string()),
            ("LEFT_OUT", &left_out.to_string()),
        ] {
            call.env(format!("WASMILTER_{name}"), printable(value));
        }
        call.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        drop(tokio::spawn(run(call, program.clone(), place, Arc::clone(&self.said))));
    }
}

async fn run(mut call: Command, program: String, _place: OwnedSemaphorePermit, said: Arc<Seldom>) {
    let why = match tokio::time::timeout(ALARM_TIME_MAX, call.status()).await {
        Ok(Ok(status)) if status.success() => return,
        Ok(Ok(status)) => format!("it ended with {status}"),
        Ok(Err(why)) => format!("it cannot be run: {why}"),
        Err(_) => format!("it was killed after {} seconds", ALARM_TIME_MAX.as_secs()),
    };
    if let Some(times_before) = said.may_say(&why, Instant::now()) {
        tracing::error!(program, error = why, times_before, "the alarm program failed");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Counted, LimitAction, LimitExcept, Most};

    fn limit() -> Limit {
        Limit {
            name: "newsletters".into(),
            listeners: Vec::new(),
            count: Counted::Messages,
            per: Vec::new(),
            most: Most::AtOnce(1),
            except: LimitExcept::default(),
            action: LimitAction::Defer,
            reply: None,
            alarm: true,
        }
    }

    /// A program that stays until it is killed.
    #[tokio::test(start_paused = true)]
    async fn programs_are_bounded_in_number_and_time() {
        let (alarm, stays) = (Alarm::default(), ["/bin/sleep".to_owned(), "1000".to_owned()]);
        let raise = || {
            let subject = Subject::arriving("192.0.2.7".parse().unwrap(), "mx");
            alarm.raise(&stays, &limit(), "identity=anna", 0, &subject, None);
        };
        (0..ALARM_PROGRAMS_MAX + 3).for_each(|_| raise());
        assert_eq!((alarm.places.available_permits(), alarm.left_out.load(Ordering::Relaxed)), (0, 3));
        // All of them are killed when their time is over.
        let places = u32::try_from(ALARM_PROGRAMS_MAX).unwrap();
        drop(alarm.places.acquire_many(places).await.unwrap());
        raise();
        assert_eq!(alarm.left_out.load(Ordering::Relaxed), 0, "the next was told of those");
    }
}
