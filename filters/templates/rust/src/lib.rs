//! @NAME@: refuses programs among the attachments.

use wasmilter_filter::*;

/// What a file name must not end in.
const REFUSED: [&str; 6] = ["exe", "scr", "js", "bat", "com", "lnk"];

#[derive(Default)]
struct @TYPE@;

impl Filter for @TYPE@ {
    fn message(&mut self, mail: &Message) -> Verdict {
        match mail.attachments().find(|attachment| attachment.has_extension(&REFUSED)) {
            Some(found) => reject("5.7.1", format!("attachment {} is not accepted here", found.name())),
            None => next(),
        }
    }
}

export!(@TYPE@: message);
