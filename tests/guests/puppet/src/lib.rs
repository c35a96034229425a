//! A filter that exports every stage, imports every capability, and does as its settings say:
//! `{"do": "helo: spin; mail: reject; message: append X-A=b, tell header X-A"}`. What it finds out it says in
//! the reason of its verdict.

mod tricks;
mod words;
mod world;

wit_bindgen::generate!({ path: "../../../filters/wit", world: "wasmilter:filter/everything", generate_all });

use exports::wasmilter::filter as stages;
use wasmilter::filter::types::{Action, AuthInfo, Endpoint, Header, Path, Reply, TlsInfo, Verdict};

struct Puppet;

export!(Puppet);

/// What the settings tell for this stage, with `%xx` escapes.
fn script(stage: &str) -> Vec<String> {
    let json = wasmilter::filter::config::json();
    let all = json.split_once("\"do\":\"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(all, _)| all);
    let parts = all.split(';').filter_map(|part| part.trim().split_once(':'));
    parts
        .filter(|(at, _)| at.trim() == stage || at.trim() == "*")
        .flat_map(|(_, tricks)| tricks.split(','))
        .map(|trick| words::unescape(trick.trim()))
        .collect()
}

/// Does what is written for `stage`; `subject` is what the stage is about.
fn act(stage: &str, subject: &str) -> Verdict {
    let mut reason = None;
    for trick in script(stage) {
        let (name, argument) = trick.split_once(' ').unwrap_or((&trick, ""));
        if name == "aloud" {
            // What it found out is the client's to hear.
            let reply = Reply { code: 550, enhanced: None, text: vec![reason.clone().unwrap_or_default()] };
            return Verdict { action: Action::Reject, reply: Some(reply), reason };
        }
        match tricks::play(name, argument, subject) {
            tricks::Done::Verdict(verdict) => return Verdict { reason: verdict.reason.clone().or(reason), ..verdict },
            tricks::Done::Said(said) => reason = Some(said),
            tricks::Done::Nothing => {}
        }
    }
    Verdict { action: Action::Next, reply: None, reason }
}

impl stages::about::Guest for Puppet {
    fn describe() -> stages::about::Description {
        use stages::about::{Description, Phase};
        let mut said = Description {
            version: "0.1.0".into(),
            summary: "does as it is told".into(),
            // So that it may be granted edits.
            phase: Phase::Transform,
            settings_schema: None,
        };
        for trick in script("about") {
            let (name, argument) = trick.split_once(' ').unwrap_or((&trick, ""));
            match name {
                "version" => said.version = argument.into(),
                "summary" => said.summary = argument.into(),
                "schema" => said.settings_schema = Some(argument.into()),
                "inspect" => said.phase = Phase::Inspect,
                "seal" => said.phase = Phase::Seal,
                "long" => {
                    let text = "x".repeat(words::number(argument) as usize);
                    said = Description {
                        version: text.clone(),
                        summary: text.clone(),
                        settings_schema: Some(text),
                        ..said
                    };
                }
                "long-summary" => said.summary = "x".repeat(words::number(argument) as usize),
                "long-schema" => said.settings_schema = Some(" ".repeat(words::number(argument) as usize)),
                _ => drop(tricks::play(name, argument, "")),
            }
        }
        said
    }
}

impl stages::lifecycle::Guest for Puppet {
    fn init() -> Result<(), String> {
        match act("init", "").reason {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

impl stages::on_connect::Guest for Puppet {
    fn connect(peer: Endpoint) -> Verdict {
        act("connect", &format!("{} {}", peer.address, peer.port))
    }
}

impl stages::on_helo::Guest for Puppet {
    fn helo(name: String, extended: bool) -> Verdict {
        act("helo", &format!("{name} {extended}"))
    }
}

impl stages::on_tls::Guest for Puppet {
    fn tls(info: TlsInfo) -> Verdict {
        act("tls", &format!("{} {} {:?} {:?}", info.version, info.cipher, info.sni, info.client_subject))
    }
}

impl stages::on_auth::Guest for Puppet {
    fn auth(info: AuthInfo) -> Verdict {
        act("auth", &format!("{} {}", info.mechanism, info.identity))
    }
}

fn show(path: &Path) -> String {
    let params = path.params.iter().map(|(k, v)| format!(" {k}={}", v.as_deref().unwrap_or("-")));
    std::iter::once(path.address.clone()).chain(params).collect()
}

impl stages::on_mail::Guest for Puppet {
    fn mail(sender: Path) -> Verdict {
        act("mail", &show(&sender))
    }
}

impl stages::on_rcpt::Guest for Puppet {
    fn rcpt(recipient: Path) -> Verdict {
        act("rcpt", &show(&recipient))
    }
}

/// "550 5.1.1 no"
fn said(reply: &Reply) -> String {
    format!("{} {} {}", reply.code, reply.enhanced.as_deref().unwrap_or("-"), reply.text.join("|"))
}

impl stages::on_rcpt_reply::Guest for Puppet {
    fn rcpt_reply(recipient: Path, answer: Reply) {
        let _ = act("rcpt-reply", &format!("{} {}", show(&recipient), said(&answer)));
    }
}

impl stages::on_data::Guest for Puppet {
    fn data() -> Verdict {
        act("data", "")
    }
}

impl stages::on_headers::Guest for Puppet {
    fn headers(fields: Vec<Header>) -> Verdict {
        let all: Vec<_> = fields.iter().map(|f| format!("{}={}", f.name, String::from_utf8_lossy(&f.value))).collect();
        act("headers", &all.join("|"))
    }
}

impl stages::on_body::Guest for Puppet {
    fn body(chunk: Vec<u8>) -> Verdict {
        act("body", &format!("{}", chunk.len()))
    }
}

impl stages::on_message::Guest for Puppet {
    fn message() -> Verdict {
        act("message", "")
    }
}

impl stages::on_reply::Guest for Puppet {
    fn final_reply(what: stages::on_reply::Delivery) {
        let timed = what.duration.is_finite() && what.duration >= 0.0;
        let each: Vec<_> =
            what.each.iter().map(|one| format!("; {} {}", show(&one.recipient), said(&one.answer))).collect();
        let _ = act("reply", &format!("{} {} {timed}{}", said(&what.answer), what.octets, each.concat()));
    }
}

impl stages::on_unknown::Guest for Puppet {
    fn unknown(verb: String, argument: String) -> Verdict {
        act("unknown", format!("{verb} {argument}").trim_end())
    }
}

impl stages::on_abort::Guest for Puppet {
    fn abort(what: stages::on_abort::Ending) {
        let timed = what.duration.is_finite() && what.duration >= 0.0;
        let _ = act("abort", &format!("{:?} {} {timed}", what.reason, what.octets));
    }
}

impl stages::on_quit::Guest for Puppet {
    fn quit(what: stages::on_quit::Summary) {
        let timed = what.duration.is_finite() && what.duration >= 0.0;
        let _ = act("quit", &format!("{} {} {} {timed}", what.transactions, what.delivered, what.octets));
    }
}
