//! A PROXY header is the same however it arrives, never asks for an octet that is not its own, and what it says can be
//! logged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::mail::proxy::{HEADER_OCTETS_MAX, Header, HeaderError, Progress, read};

/// Reads as a connection does, at most `step` octets at once: how many were the header's, and what it said.
fn take(input: &[u8], step: usize) -> Option<Result<(usize, Header), HeaderError>> {
    // The first octet tells the versions apart.
    let mut have = input.len().min(1);
    loop {
        match read(&input[..have]) {
            Ok(Progress::Whole(header)) => return Some(Ok((have, header))),
            Ok(Progress::More(more)) if have > 0 => {
                assert!(more > 0 && have + more <= HEADER_OCTETS_MAX + 16, "{have} and {more} more");
                let next = (have + more.min(step)).min(input.len());
                if next == have {
                    return None;
                }
                have = next;
            }
            Ok(Progress::More(_)) => return None,
            Err(error) => return Some(Err(error)),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let whole = take(input, usize::MAX);
    for step in [1, 5] {
        let other = take(input, step);
        match (&whole, &other) {
            // The first wrong octet may show an octet sooner or later.
            (Some(Err(_)) | None, Some(Err(_))) | (Some(Err(_)), None) => {}
            _ => assert_eq!(whole, other),
        }
    }
    if let Some(Ok((_, header))) = whole {
        let tls = header.tls.iter().flat_map(|tls| tls.client_subject.iter().chain(tls.sni.iter()));
        for text in header.authority.iter().chain(header.unique_id.iter()).chain(tls) {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
});
