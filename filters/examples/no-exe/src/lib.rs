//! Refuses executable attachments.

use wasmilter_filter::*;

#[derive(Default)]
struct NoExe;

impl Filter for NoExe {
    fn about() -> About {
        About::new("1.0.0", "refuses executable attachments")
    }

    fn message(&mut self, mail: &Message) -> Verdict {
        match mail.attachments().find(|a| a.has_extension(&["exe", "scr", "js"])) {
            Some(a) => reject("5.7.1", format!("attachment {} is not accepted here", a.name())),
            None => next(),
        }
    }
}

export!(NoExe: about, message);
