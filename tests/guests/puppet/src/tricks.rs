//! What a puppet can do, good and bad.

use std::hint::black_box;

use crate::wasmilter::filter::types::{Action, Header, Path, Reply, Verdict};
use crate::wasmilter::filter::{
    body, clock, config, counters, edit, envelope, headers, kv, log, mark, metrics, mime, random, session, tables,
};
use crate::words::{number, pair};
use crate::world;

/// What came of a trick.
pub enum Done {
    Nothing,
    Said(String),
    Verdict(Verdict),
}

fn verdict(action: Action) -> Done {
    Done::Verdict(Verdict { action, reply: None, reason: None })
}

fn reply(action: Action, code: u16, enhanced: Option<&str>, text: Vec<String>) -> Done {
    let reply = Some(Reply { code, enhanced: enhanced.map(str::to_owned), text });
    Done::Verdict(Verdict { action, reply, reason: None })
}

pub fn play(name: &str, argument: &str, subject: &str) -> Done {
    match name {
        "next" => verdict(Action::Next),
        "accept" => verdict(Action::Accept),
        "reject" => verdict(Action::Reject),
        "defer" => verdict(Action::Defer),
        "discard" => verdict(Action::Discard),
        "quarantine" => verdict(Action::Quarantine),
        "disconnect" => verdict(Action::Disconnect),
        "skip" => verdict(Action::Skip),
        "subject" => Done::Said(subject.to_owned()),
        "say" => Done::Said(argument.to_owned()),
        // At HELO: the trick is what the client called itself.
        "as-told" => {
            let told = subject.trim_end_matches(" true");
            let (name, argument) = told.split_once(' ').unwrap_or((told, ""));
            play(name, argument, "")
        }
        // reply CODE=TEXT
        "reply" => {
            let (code, text) = pair(argument);
            let code = number(code) as u16;
            let action = if (400..500).contains(&code) { Action::Defer } else { Action::Reject };
            reply(action, code, None, vec![text.to_owned()])
        }
        // refuse-for SUBJECT
        "refuse-for" if subject == argument => reply(Action::Reject, 550, None, vec![format!("not {argument}")]),
        "refuse-for" => Done::Nothing,
        "refuse-body" if body::find(argument.as_bytes(), 0).is_some() => {
            reply(Action::Reject, 550, None, vec![format!("not with {argument}")])
        }
        "refuse-body" => Done::Nothing,
        // reply-kept SUBJECT=KEY: rejects with what `keep` has kept, where it is about this.
        "reply-kept" => {
            let (about, argument) = pair(argument);
            if about != subject {
                return Done::Nothing;
            }
            let kept = kv::get(argument).ok().flatten().unwrap_or_default();
            reply(Action::Reject, 550, None, vec![String::from_utf8_lossy(&kept).into_owned()])
        }
        // Rejects with the sum of all points, and the words.
        "reply-marks" => {
            reply(Action::Reject, 550, None, vec![format!("{} {}", mark::total(), mark::tags().join(" "))])
        }
        // answer CODE=TEXT: an acceptance with a reply.
        "answer" => {
            let (code, text) = pair(argument);
            reply(Action::Accept, number(code) as u16, None, vec![text.to_owned()])
        }
        // answer-for SUBJECT=TEXT
        "answer-for" => {
            let (about, text) = pair(argument);
            if about == subject {
                reply(Action::Accept, 250, Some("2.1.5"), vec![text.to_owned()])
            } else {
                Done::Nothing
            }
        }
        "enhanced" => reply(Action::Reject, 550, Some(argument), vec!["no".into()]),
        "next-with-reply" => reply(Action::Next, 550, None, vec!["no".into()]),
        "no-text" => reply(Action::Reject, 550, None, vec![]),
        "huge-text" => reply(Action::Reject, 550, None, aliases(number(argument))),
        "long-text" => reply(Action::Reject, 550, None, vec!["x".repeat(number(argument) as usize)]),
        _ => misbehave(name, argument, subject),
    }
}

/// Megabytes of reply, all of them the same megabyte.
fn aliases(megabytes: u32) -> Vec<String> {
    let one = "x".repeat(1 << 20).leak();
    let (at, len) = (one.as_mut_ptr(), one.len());
    // SAFETY: none, and none is needed: this guest lies, and is stopped before anything is freed twice.
    (0..megabytes).map(|_| unsafe { String::from_raw_parts(at, len, len) }).collect()
}

fn misbehave(name: &str, argument: &str, subject: &str) -> Done {
    match name {
        "panic" => panic!("as told"),
        "spin" => loop {
            black_box(0);
        },
        // Spins, and tells in a counter how far it got.
        "count" => loop {
            for turn in 0..1_000_000_u32 {
                black_box(turn);
            }
            counters::add(argument, 1, u32::MAX);
        },
        "work" => {
            for turn in 0..number(argument) * 1_000 {
                black_box(turn);
            }
            Done::Nothing
        }
        // Only where the standard library can: with WASI.
        "sleep" => {
            #[expect(clippy::disallowed_methods, reason = "a guest that sleeps is what the host has to bear")]
            std::thread::sleep(std::time::Duration::from_millis(u64::from(number(argument))));
            Done::Said("awake".into())
        }
        "recurse" => Done::Said(deep(black_box(0)).to_string()),
        "hoard" => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(black_box(vec![1; 1 << 20]));
            }
        }
        // Takes what it is given and is content with less.
        "grow" => {
            let mut megabytes = 0;
            let mut all: Vec<Vec<u8>> = Vec::new();
            while megabytes < number(argument) {
                let mut more = Vec::new();
                if more.try_reserve_exact(1 << 20).is_err() {
                    break;
                }
                all.push(black_box(more));
                megabytes += 1;
            }
            Done::Said(megabytes.to_string())
        }
        "print" => {
            println!("{argument}");
            eprintln!("{argument}");
            Done::Nothing
        }
        _ => flood(name, argument, subject),
    }
}

fn flood(name: &str, argument: &str, subject: &str) -> Done {
    match name {
        "flood-log" => {
            for line in 0..number(argument) {
                log::log(log::Level::Info, &format!("line {line}%0d%0a"));
            }
            Done::Nothing
        }
        "flood-metrics" => {
            for i in 0..number(argument) {
                metrics::count(&format!("m{i}"), &[("l".into(), i.to_string())], 1);
            }
            Done::Nothing
        }
        "flood-counters" => {
            for i in 0..number(argument) {
                counters::add(&format!("k{i}"), 1, 1_000_000);
            }
            Done::Nothing
        }
        // Fills the store; says how many entries went in, and what stopped it.
        "fill-kv" => {
            for i in 0.. {
                if let Err(error) = kv::set(&format!("k{i}"), &[0; 1_000], None) {
                    return Done::Said(format!("{i} {error:?}"));
                }
            }
            Done::Nothing
        }
        _ => probe(name, argument, subject),
    }
}

/// How far it gets.
fn probe(name: &str, argument: &str, subject: &str) -> Done {
    Done::Said(match name {
        // Recursion of so many levels.
        "dig" => levels(black_box(number(argument))).to_string(),
        // So many octets in one call.
        "hand" => counters::read(&"x".repeat(number(argument) as usize)).to_string(),
        "find-long" => format!("{:?}", body::find(&vec![b'y'; number(argument) as usize], 0)),
        "random-bytes" => random::bytes(number(argument)).len().to_string(),
        "read" => body::read(0, number(argument)).len().to_string(),
        "log-long" => {
            log::log(log::Level::Info, &"x".repeat(number(argument) as usize));
            "logged".into()
        }
        "fill-notes" => {
            (0..number(argument)).filter(|i| session::set_note(&format!("k{i}"), Some("v"))).count().to_string()
        }
        // note-long KEY=VALUE, in octets
        "note-long" => {
            let (key, value) = pair(argument);
            let value = "v".repeat(number(value) as usize);
            session::set_note(&"k".repeat(number(key) as usize), Some(&value)).to_string()
        }
        // set-long KEY=VALUE, in octets
        "set-long" => {
            let (key, value) = pair(argument);
            format!("{:?}", kv::set(&"k".repeat(number(key) as usize), &vec![0; number(value) as usize], None))
        }
        // set-for KEY=MILLISECONDS
        "set-for" => {
            let (key, ttl) = pair(argument);
            format!("{:?}", kv::set(key, b"v", Some(number(ttl))))
        }
        // swap KEY=OLD=NEW, where OLD may be empty for nothing
        "swap" => {
            let (key, values) = pair(argument);
            let (old, new) = pair(values);
            let old = (!old.is_empty()).then_some(old.as_bytes());
            format!("{:?}", kv::swap(key, old, new.as_bytes(), None))
        }
        "unset" => format!("{:?}", kv::delete(argument)),
        // measure NAME=LABELS: of this name, with so many labels
        "measure" => {
            let (name, labels) = pair(argument);
            let labels: Vec<_> = (0..number(labels)).map(|i| (format!("l{i}"), "v".repeat(100))).collect();
            metrics::count(name, &labels, 1);
            "measured".into()
        }
        _ => return tell(name, argument, subject),
    })
}

#[inline(never)]
fn levels(n: u32) -> u32 {
    if n == 0 { 0 } else { black_box(levels(black_box(n - 1))) + 1 }
}

#[inline(never)]
fn deep(n: u64) -> u64 {
    if n == u64::MAX {
        return 0;
    }
    black_box(deep(black_box(n + 1))) + 1
}

fn tell(name: &str, argument: &str, subject: &str) -> Done {
    Done::Said(match name {
        "id" => session::id(),
        "listener" => session::listener(),
        "peer" => format!("{:?} {:?} {:?}", session::peer(), session::local(), session::peer_name()),
        "greeting" => format!("{:?} {:?} {:?}", session::helo(), session::tls(), session::auth()),
        "note" => format!("{:?}", session::note(argument)),
        "set-note" => {
            let (key, value) = pair(argument);
            session::set_note(key, Some(value)).to_string()
        }
        "envelope" => format!("{:?} {:?} {:?}", envelope::id(), envelope::sender(), envelope::recipients()),
        "settings" => config::json().len().to_string(),
        "clock" => (clock::now() > 1e12 && clock::ticks() >= 0.0).to_string(),
        "time-left" => clock::time_left().to_string(),
        "random" => format!("{} {}", random::bytes(100_000).len(), random::bytes(8) != random::bytes(8)),
        "counter" => counters::add(argument, 1, 1_000_000).to_string(),
        "take" => counters::take(argument, 1, 2, 0.0).to_string(),
        "get" => format!("{:?}", kv::get(argument)),
        "set" => {
            let (key, value) = pair(argument);
            format!("{:?}", kv::set(key, value.as_bytes(), None))
        }
        "table" => {
            let (table, key) = pair(argument);
            format!("{:?} {:?}", tables::contains(table, key), tables::lookup(table, key))
        }
        // keep KEY: adds what this is about to what is kept there.
        "keep" => {
            let mut kept = kv::get(argument).ok().flatten().unwrap_or_default();
            if !kept.is_empty() {
                kept.extend(b"; ");
            }
            kept.extend(subject.as_bytes());
            format!("{:?}", kv::set(argument, &kept, None))
        }
        // score NAME=POINTS
        "score" => {
            let (name, points) = pair(argument);
            format!("{:?}", mark::score(points.parse().unwrap_or(f64::NAN), name, Some(subject)))
        }
        "tag" => format!("{:?}", mark::tag(argument)),
        "marks" => {
            let symbols = mark::symbols().into_iter();
            let symbols = symbols.map(|s| format!("{}:{}={}({:?})", s.filter, s.name, s.points, s.detail));
            format!("{} {} {}", mark::total(), symbols.collect::<Vec<_>>().join(" "), mark::tags().join(" "))
        }
        "delay" => format!("{:?}", mark::delay(number(argument))),
        "route" => format!("{:?}", mark::route(argument)),
        // route-for SUBJECT=NAME
        "route-for" => {
            let (about, upstream) = pair(argument);
            if about == subject { format!("{:?}", mark::route(upstream)) } else { "elsewhere".into() }
        }
        _ => return of_message(name, argument, subject),
    })
}

fn of_message(name: &str, argument: &str, subject: &str) -> Done {
    Done::Said(match name {
        "names" => format!("{} {}", headers::count(), headers::names().join(" ")),
        "field" => format!("{:?}", headers::value(argument, 0).map(|v| String::from_utf8_lossy(&v).into_owned())),
        "at" => format!("{:?}", headers::at(number(argument)).map(|h| h.name)),
        "body" => {
            let text = body::read(0, 200);
            format!("{} {}", body::size(), String::from_utf8_lossy(&text))
        }
        "body-end" => String::from_utf8_lossy(&body::read(body::size() - 4, 100)).into_owned(),
        "find" => format!("{:?}", body::find(argument.as_bytes(), 0)),
        "hash" => body::sha256().iter().map(|b| format!("{b:02x}")).collect(),
        "parts" => match mime::parts() {
            Ok(parts) => parts
                .iter()
                .map(|p| format!("{:?} {} {:?} {:?} {}", p.parent, p.media_type, p.disposition, p.file_name, p.size))
                .collect::<Vec<_>>()
                .join(" / "),
            Err(error) => format!("{error:?}"),
        },
        "part" => String::from_utf8_lossy(&mime::read(number(argument), 0, 100)).into_owned(),
        "part-text" => format!("{:?}", mime::text(number(argument))),
        "part-hash" => mime::sha256(number(argument)).iter().map(|b| format!("{b:02x}")).collect(),
        _ => return change(name, argument, subject),
    })
}

fn path(address: &str) -> Path {
    let mut words = address.split(' ');
    let address = words.next().unwrap_or_default().to_owned();
    let params =
        words.map(|word| word.split_once('=').map_or((word.into(), None), |(k, v)| (k.into(), Some(v.into()))));
    Path { address, params: params.collect() }
}

fn field(text: &str) -> Header {
    let (name, value) = pair(text);
    Header { name: name.to_owned(), value: value.as_bytes().to_vec() }
}

fn change(name: &str, argument: &str, _subject: &str) -> Done {
    let result = match name {
        "set-sender" => edit::set_sender(&path(argument)),
        "replace" => edit::replace_recipient(&path(argument)),
        "add" => edit::add_recipient(&path(argument)),
        "remove" => edit::remove_recipient(argument),
        "append" => edit::append_header(&field(argument)),
        "insert" => edit::insert_header(0, &field(argument)),
        "change" => {
            let (name, value) = pair(argument);
            edit::change_header(name, 0, Some(value.as_bytes()))
        }
        "delete" => edit::change_header(argument, 0, None),
        "write" => edit::write_body(argument.as_bytes()),
        "write-much" => {
            let piece = vec![b'x'; 1 << 20];
            for megabyte in 0..number(argument) {
                if let Err(error) = edit::write_body(&piece) {
                    return Done::Said(format!("{megabyte} {error:?}"));
                }
            }
            Ok(())
        }
        _ => return world::play(name, argument),
    };
    Done::Said(format!("{result:?}"))
}
