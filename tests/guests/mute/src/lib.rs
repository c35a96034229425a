//! A filter that sees every stage and has no opinion: what a whole message costs beyond no filter at all.

wit_bindgen::generate!({
    path: "../../../filters/wit",
    inline: "package test:mute;
        world mute {
          export wasmilter:filter/on-connect@0.1.0;
          export wasmilter:filter/on-helo@0.1.0;
          export wasmilter:filter/on-mail@0.1.0;
          export wasmilter:filter/on-rcpt@0.1.0;
          export wasmilter:filter/on-data@0.1.0;
          export wasmilter:filter/on-headers@0.1.0;
          export wasmilter:filter/on-body@0.1.0;
          export wasmilter:filter/on-message@0.1.0;
        }",
    world: "test:mute/mute",
    generate_all,
});

use exports::wasmilter::filter as stages;
use wasmilter::filter::types::{Action, Endpoint, Header, Path, Verdict};

struct Mute;

export!(Mute);

const NEXT: Verdict = Verdict { action: Action::Next, reply: None, reason: None };

impl stages::on_connect::Guest for Mute {
    fn connect(_peer: Endpoint) -> Verdict {
        NEXT
    }
}

impl stages::on_helo::Guest for Mute {
    fn helo(_name: String, _extended: bool) -> Verdict {
        NEXT
    }
}

impl stages::on_mail::Guest for Mute {
    fn mail(_sender: Path) -> Verdict {
        NEXT
    }
}

impl stages::on_rcpt::Guest for Mute {
    fn rcpt(_recipient: Path) -> Verdict {
        NEXT
    }
}

impl stages::on_data::Guest for Mute {
    fn data() -> Verdict {
        NEXT
    }
}

impl stages::on_headers::Guest for Mute {
    fn headers(_fields: Vec<Header>) -> Verdict {
        NEXT
    }
}

impl stages::on_body::Guest for Mute {
    fn body(_chunk: Vec<u8>) -> Verdict {
        NEXT
    }
}

impl stages::on_message::Guest for Mute {
    fn message() -> Verdict {
        NEXT
    }
}
