//! Whatever a client says in an exchange: it ends, in a bounded number of steps; a name that comes out can stand in a
//! log; and nobody is proven who has no key, or no certificate.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::sasl::scram::ScramKeys;
use wasmilter::smtp::sasl::{Channel, ChannelBinding, Exchange, Mechanism, Secret, Step};

const STEPS_MAX: usize = 4;
/// Whom the certificate names, where there is one.
const CERTIFIED: &str = "anna@example.org";

// An octet of choices, and lines, each a message that goes into base64; one that begins with `!` goes as it stands.
fuzz_target!(|input: &[u8]| {
    let Some((&choice, lines)) = input.split_first() else { return };
    let lines: Vec<Vec<u8>> = lines
        .split(|&b| b == b'\n')
        .map(|line| line.strip_prefix(b"!").map_or_else(|| STANDARD.encode(line).into_bytes(), <[u8]>::to_vec))
        .collect();
    let mechanism = Mechanism::ALL[usize::from(choice & 0x0f) % Mechanism::ALL.len()];
    let channel = Channel {
        binding: (choice & 0x10 != 0).then(|| ChannelBinding::new([7; ChannelBinding::OCTETS])),
        plus_offered: choice & 0x20 != 0,
        certified: (choice & 0x80 != 0).then(|| CERTIFIED.into()),
    };
    let by_certificate = mechanism == Mechanism::External && channel.certified.is_some();
    let mut lines = lines.iter();
    let first = (choice & 0x40 != 0).then(|| lines.next()).flatten().map(|line| Secret::new(line.clone()));
    let mut step = Exchange::begin(mechanism, first.as_ref(), channel);
    for _ in 0..STEPS_MAX {
        step = match step {
            Step::Challenge(reply, exchange) => {
                assert_eq!(reply.code, 334);
                let Some(line) = lines.next() else { return };
                exchange.respond(line)
            }
            Step::Keys { identity, first } => {
                named(&identity);
                first.go_on(ScramKeys::made_up(b"key", &identity, 4_096, 16), "nonce")
            }
            Step::Password { identity, .. } | Step::Disproven { identity } => return named(&identity),
            Step::Token { identity, .. } => return identity.iter().for_each(|name| named(name)),
            Step::Proven { identity, .. } => {
                return assert!(by_certificate && identity == CERTIFIED, "proven by nothing");
            }
            Step::Failed(reply) => return assert!(reply.code >= 500),
        };
    }
    panic!("there is no end to it");
});

fn named(identity: &str) {
    assert!(!identity.is_empty() && !identity.contains(char::is_control), "{identity:?}");
}
