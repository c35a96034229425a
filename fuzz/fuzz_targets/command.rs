//! No line makes the parser panic, and an address that is understood is understood again as it was said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::{Command, ForwardPath, ReversePath};

fuzz_target!(|line: &[u8]| {
    match Command::parse(line) {
        Ok(Command::Mail { path, params }) => {
            assert_eq!(ReversePath::parse(path.as_str()).as_ref(), Ok(&path));
            let again = Command::parse(format!("MAIL FROM:<{path}>{params}").as_bytes());
            assert_eq!(again, Ok(Command::Mail { path, params }));
        }
        Ok(Command::Rcpt { path, params }) => {
            assert_eq!(ForwardPath::parse(path.as_str()).as_ref(), Ok(&path));
            let again = Command::parse(format!("RCPT TO:<{path}>{params}").as_bytes());
            assert_eq!(again, Ok(Command::Rcpt { path, params }));
        }
        Ok(_) => {}
        Err(error) => assert!(matches!(error.reply().code, 500 | 501)),
    }
});
