//! A filter that sees every stage and has no opinion, written as an author would: what a whole message costs beyond no
//! filter at all.

use wasmilter_filter::*;

#[derive(Default)]
struct Mute;

impl Filter for Mute {}

export!(Mute: connect, helo, mail, rcpt, data, headers, body, message);
