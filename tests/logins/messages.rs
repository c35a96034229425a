//! The machines alone, with rsasl's messages: mechanisms for which no backend here can say yes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmilter::smtp::sasl::{Channel, Exchange, Mechanism, Secret, Step, refusal};

use crate::client::{Credentials, answer, exchange};

pub(crate) fn decoded(base64: &str) -> String {
    String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap()
}

#[test]
fn tokens_arrive_as_they_were_sent() {
    for (mechanism, name) in [(Mechanism::OauthBearer, "OAUTHBEARER"), (Mechanism::Xoauth2, "XOAUTH2")] {
        for initial in [true, false] {
            let credentials = Credentials {
                name: "anna@example.org",
                acting_for: Some("anna@example.org"),
                token: "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
                ..Credentials::default()
            };
            let mut session = exchange(name, credentials);
            let said = answer(&mut session, None).unwrap();
            let step = if initial {
                Exchange::begin(mechanism, Some(&Secret::new(said.into())), Channel::default())
            } else {
                let Step::Challenge(empty, exchange) = Exchange::begin(mechanism, None, Channel::default()) else {
                    panic!("no challenge")
                };
                assert_eq!(empty.text, "");
                exchange.respond(said.as_bytes())
            };
            let Step::Token { identity, token, mechanism: by } = step else { panic!("{name}: {step:?}") };
            assert_eq!((identity.as_deref(), by), (Some("anna@example.org"), mechanism));
            assert_eq!(token.reveal(), b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
            // What it hears of a bad one is something that it understands.
            let page = initial.then_some("https://login.example.org/.well-known/openid-configuration");
            let refused = refusal(mechanism, page).unwrap();
            answer(&mut session, Some(&refused.text)).unwrap();
        }
    }
}
