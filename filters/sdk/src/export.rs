//! From the [`Filter`] trait to the exports of a component.

use crate::about::About;
use crate::message::{Headers, Message};
use crate::session::{AuthInfo, Delivery, Ending, Endpoint, Path, Summary, TlsInfo};
use crate::verdict::{Reply, Verdict, next};

/// A filter: a value that lives as long as its instance (by default one session), and a method for each stage
/// it wants. [`export!`](crate::export) names the stages; one that is not named there is not called.
pub trait Filter: Default {
    /// What the filter says of itself, once, when the gateway loads it. Not of any instance that sees mail.
    #[must_use]
    fn about() -> About {
        About::new("0.0.0", "")
    }

    /// Once for each new instance, before any stage; must be cheap. The place to read [`config`](crate::config).
    ///
    /// # Errors
    /// Makes the instance fail; when the gateway starts, the whole filter, with these words.
    fn init(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Before the banner.
    fn connect(&mut self, peer: &Endpoint) -> Verdict {
        let _ = peer;
        next()
    }

    /// HELO, or EHLO (`extended`); again after TLS.
    fn helo(&mut self, name: &str, extended: bool) -> Verdict {
        let _ = (name, extended);
        next()
    }

    /// The handshake is done. A refusal is answered at the next command, or as the banner on implicit TLS.
    fn tls(&mut self, tls: &TlsInfo) -> Verdict {
        let _ = tls;
        next()
    }

    /// The credentials were good; they are never shown.
    fn auth(&mut self, auth: &AuthInfo) -> Verdict {
        let _ = auth;
        next()
    }

    /// `edit::set_sender` works here.
    fn mail(&mut self, sender: &Path) -> Verdict {
        let _ = sender;
        next()
    }

    /// The answer is for this recipient. `edit::replace_recipient` and `edit::add_recipient` work here.
    fn rcpt(&mut self, recipient: &Path) -> Verdict {
        let _ = recipient;
        next()
    }

    /// What the client hears of a recipient that the filters let pass and the upstream was asked about. A report, as
    /// `reply`, `abort` and `quit` are: nothing can be changed any more.
    fn rcpt_reply(&mut self, recipient: &Path, answer: &Reply) {
        let _ = (recipient, answer);
    }

    /// DATA was sent; no octet of the message is here yet.
    fn data(&mut self) -> Verdict {
        next()
    }

    /// The header block. Header edits work here.
    fn headers(&mut self, fields: &Headers) -> Verdict {
        let _ = fields;
        next()
    }

    /// One chunk of the body, 1 octet to 64 KiB. Where chunks end means nothing.
    fn body(&mut self, chunk: &[u8]) -> Verdict {
        let _ = chunk;
        next()
    }

    /// The whole message is here and nobody has answered for it. Every granted edit works here.
    fn message(&mut self, mail: &Message) -> Verdict {
        let _ = mail;
        next()
    }

    /// The message came to its end, and this is what the client hears of it. When it was not taken, `abort` follows.
    fn reply(&mut self, outcome: &Delivery) {
        let _ = outcome;
    }

    /// VRFY, EXPN, ETRN, HELP, or a verb (in upper case) that the gateway does not know: [`answer`](crate::answer) it,
    /// refuse it, or leave it to the gateway.
    fn unknown(&mut self, verb: &str, argument: &str) -> Verdict {
        let _ = (verb, argument);
        next()
    }

    /// The transaction ended without a message.
    fn abort(&mut self, ending: &Ending) {
        let _ = ending;
    }

    /// The session ended, however it ended.
    fn quit(&mut self, summary: &Summary) {
        let _ = summary;
    }
}

/// `export!(NoExe: message, rcpt);` makes the crate a component that exports these stages of the filter
/// `NoExe`, and no others. `about` and `init` count as stages here: name them when the filter has them.
///
/// Stages: `about init connect helo tls auth mail rcpt rcpt_reply data headers body message reply unknown abort quit`.
#[macro_export]
macro_rules! export {
    ($filter:ident: $($stage:ident),+ $(,)?) => {
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::core::cell::RefCell<$filter> = ::core::cell::RefCell::new($crate::__made());
            }
            /// Only stages call this, and no stage is called while another one runs.
            fn with<R>(stage: impl FnOnce(&mut $filter) -> R) -> R {
                INSTANCE.with_borrow_mut(stage)
            }
            $($crate::__stage!($stage $filter);)+
        };
    };
}

/// The filter's value of a new instance. A panic's words go to the gateway's log from here on.
#[doc(hidden)]
#[must_use]
pub fn __made<F: Filter>() -> F {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::log::log(crate::log::Level::Error, &panic.to_string())));
    F::default()
}

/// One stage's export.
#[doc(hidden)]
#[macro_export]
macro_rules! __stage {
    (about $filter:ident) => {
        $crate::__glue!(about about $filter {
            fn describe() -> $crate::bindings::about::exports::wasmilter::filter::about::Description {
                let $crate::About { version, summary, phase, settings_schema } = <$filter as $crate::Filter>::about();
                $crate::bindings::about::exports::wasmilter::filter::about::Description {
                    version,
                    summary,
                    phase,
                    settings_schema,
                }
            }
        });
    };
    (init $filter:ident) => {
        $crate::__glue!(init lifecycle $filter {
            fn init() -> ::core::result::Result<(), ::std::string::String> {
                with(|filter| $crate::Filter::init(filter))
            }
        });
    };
    (connect $filter:ident) => {
        $crate::__glue!(connect on_connect $filter {
            fn connect(peer: $crate::Endpoint) -> $crate::Verdict {
                with(|filter| $crate::Filter::connect(filter, &peer))
            }
        });
    };
    (helo $filter:ident) => {
        $crate::__glue!(helo on_helo $filter {
            fn helo(name: ::std::string::String, extended: bool) -> $crate::Verdict {
                with(|filter| $crate::Filter::helo(filter, &name, extended))
            }
        });
    };
    (tls $filter:ident) => {
        $crate::__glue!(tls on_tls $filter {
            fn tls(info: $crate::TlsInfo) -> $crate::Verdict {
                with(|filter| $crate::Filter::tls(filter, &info))
            }
        });
    };
    (auth $filter:ident) => {
        $crate::__glue!(auth on_auth $filter {
            fn auth(info: $crate::AuthInfo) -> $crate::Verdict {
                with(|filter| $crate::Filter::auth(filter, &info))
            }
        });
    };
    (mail $filter:ident) => {
        $crate::__glue!(mail on_mail $filter {
            fn mail(sender: $crate::Path) -> $crate::Verdict {
                with(|filter| $crate::Filter::mail(filter, &sender))
            }
        });
    };
    (rcpt $filter:ident) => {
        $crate::__glue!(rcpt on_rcpt $filter {
            fn rcpt(recipient: $crate::Path) -> $crate::Verdict {
                with(|filter| $crate::Filter::rcpt(filter, &recipient))
            }
        });
    };
    (rcpt_reply $filter:ident) => {
        $crate::__glue!(rcpt_reply on_rcpt_reply $filter {
            fn rcpt_reply(recipient: $crate::Path, answer: $crate::Reply) {
                with(|filter| $crate::Filter::rcpt_reply(filter, &recipient, &answer))
            }
        });
    };
    (data $filter:ident) => {
        $crate::__glue!(data on_data $filter {
            fn data() -> $crate::Verdict {
                with(|filter| $crate::Filter::data(filter))
            }
        });
    };
    (headers $filter:ident) => {
        $crate::__glue!(headers on_headers $filter {
            fn headers(fields: ::std::vec::Vec<$crate::Header>) -> $crate::Verdict {
                let fields = $crate::Headers::new(fields);
                with(|filter| $crate::Filter::headers(filter, &fields))
            }
        });
    };
    (body $filter:ident) => {
        $crate::__glue!(body on_body $filter {
            fn body(chunk: ::std::vec::Vec<u8>) -> $crate::Verdict {
                with(|filter| $crate::Filter::body(filter, &chunk))
            }
        });
    };
    (message $filter:ident) => {
        $crate::__glue!(message on_message $filter {
            fn message() -> $crate::Verdict {
                let mail = $crate::Message::new();
                mail.settle(with(|filter| $crate::Filter::message(filter, &mail)))
            }
        });
    };
    (reply $filter:ident) => {
        $crate::__glue!(reply on_reply $filter {
            fn final_reply(outcome: $crate::Delivery) {
                with(|filter| $crate::Filter::reply(filter, &outcome))
            }
        });
    };
    (unknown $filter:ident) => {
        $crate::__glue!(unknown on_unknown $filter {
            fn unknown(verb: ::std::string::String, argument: ::std::string::String) -> $crate::Verdict {
                with(|filter| $crate::Filter::unknown(filter, &verb, &argument))
            }
        });
    };
    (abort $filter:ident) => {
        $crate::__glue!(abort on_abort $filter {
            fn abort(what: $crate::Ending) {
                with(|filter| $crate::Filter::abort(filter, &what))
            }
        });
    };
    (quit $filter:ident) => {
        $crate::__glue!(quit on_quit $filter {
            fn quit(what: $crate::Summary) {
                with(|filter| $crate::Filter::quit(filter, &what))
            }
        });
    };
    ($unknown:ident $filter:ident) => {
        ::core::compile_error!(::core::concat!(
            "no stage is called `",
            ::core::stringify!($unknown),
            "`; there are about, init, connect, helo, tls, auth, mail, rcpt, rcpt_reply, data, headers, body, message, ",
            "reply, unknown, abort, quit"
        ));
    };
}

/// The generated trait of a stage, implemented for the filter, and its export in the component.
#[doc(hidden)]
#[macro_export]
macro_rules! __glue {
    ($stage:ident $interface:ident $filter:ident { $($function:tt)+ }) => {
        impl $crate::bindings::$stage::exports::wasmilter::filter::$interface::Guest for $filter {
            $($function)+
        }
        $crate::bindings::$stage::export!($filter with_types_in $crate::bindings::$stage);
    };
}
