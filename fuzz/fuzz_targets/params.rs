//! Parameters are said again as they were said, and checking them has an answer, whatever is offered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::extensions::{FutureRelease, PriorityPolicy, SessionLimits};
use wasmilter::smtp::{ClientOffer, MailParams, Params, RcptParams};

fuzz_target!(|text: &str| {
    let Some(params) = Params::parse(text) else { return };
    assert_eq!(Params::parse(&params.to_string()).as_ref(), Some(&params));
    let all = ClientOffer {
        size: Some(1_000),
        start_tls: true,
        auth: true,
        eight_bit_mime: true,
        smtp_utf8: true,
        dsn: true,
        chunking: true,
        binary_mime: true,
        require_tls: true,
        limits: SessionLimits::default(),
        deliver_by: Some(0),
        mt_priority: Some(PriorityPolicy::Mixer),
        future_release: FutureRelease::parse(["86400", "2030-01-31T12:00:00Z"].into_iter()),
    };
    for offer in [all, ClientOffer::default()] {
        if let Err(reply) = MailParams::check(&params, &offer) {
            assert!(matches!(reply.code, 501 | 552 | 555));
        }
        if let Err(reply) = RcptParams::check(&params, &offer) {
            assert!(matches!(reply.code, 501 | 555));
        }
    }
});
