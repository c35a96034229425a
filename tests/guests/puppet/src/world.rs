//! What a puppet asks of the world beyond the mail.

use crate::tricks::Done;
use crate::wasmilter::filter::dns::{self, Security};
use crate::wasmilter::filter::{clock, counters, facts, http, kv};
use crate::words::{number, pair};

fn shown<T>(answer: Result<(Vec<T>, Security), dns::Error>, show: impl Fn(T) -> String) -> String {
    match answer {
        Ok((values, security)) => {
            format!("{} {security:?}", values.into_iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Err(error) => error.name().to_owned(),
    }
}

fn strings(answer: Result<dns::Strings, dns::Error>) -> String {
    shown(answer.map(|answer| (answer.values, answer.security)), |value| value)
}

/// "GET https://…": status, the first field and the body.
fn send(argument: &str) -> String {
    let (method, url) = argument.split_once(' ').unwrap_or(("GET", argument));
    let method = match method {
        "POST" => http::Method::Post,
        "HEAD" => http::Method::Head,
        _ => http::Method::Get,
    };
    let body = if matches!(method, http::Method::Post) { b"{}".to_vec() } else { Vec::new() };
    let request = http::Request { method, url: url.to_owned(), headers: Vec::new(), body, timeout_ms: None };
    match http::send(&request) {
        Ok(answer) => {
            let field = answer.headers.first().map_or("", |(name, _)| name);
            format!("{} {field} {}", answer.status, String::from_utf8_lossy(&answer.body))
        }
        Err(error) => format!("{error:?}"),
    }
}

pub fn play(name: &str, argument: &str) -> Done {
    Done::Said(match name {
        "addresses" => strings(dns::addresses(argument)),
        "texts" => shown(dns::texts(argument).map(|a| (a.values, a.security)), |v| String::from_utf8_lossy(&v).into()),
        "exchangers" => shown(dns::mail_exchangers(argument).map(|a| (a.values, a.security)), |v| {
            format!("{}:{}", v.preference, v.host)
        }),
        "pointers" => strings(dns::names(argument)),
        // listed WHAT=ZONE
        "listed" => {
            let (what, zone) = pair(argument);
            strings(dns::listed(what, zone))
        }
        // lookup NAME=KIND
        "lookup" => {
            let (name, kind) = pair(argument);
            strings(dns::lookup(name, kind))
        }
        // Asks so often; says what the last question came to.
        "ask-often" => {
            (0..number(argument)).map(|_| strings(dns::addresses("two.test"))).fold(String::new(), |_, last| last)
        }
        "send" => send(argument),
        "send-often" => {
            (0..number(argument)).map(|_| send("GET https://api.test/v1/x")).fold(String::new(), |_, last| last)
        }
        // Names, and what is known of each.
        "facts" => facts::names().join(" "),
        "fact" => facts::find(argument)
            .iter()
            .map(|fact| {
                let said: Vec<_> = fact.properties.iter().map(|(key, value)| format!(" {key}={value}")).collect();
                format!("{}{}", fact.outcome, said.concat())
            })
            .collect::<Vec<_>>()
            .join(" / "),
        // What time it is, and how long it has been.
        "time" => format!("{} {}", clock::now(), clock::ticks()),
        // For a minute.
        "remember" => format!("{:?} {}", kv::set(argument, b"1", Some(60_000)), counters::add(argument, 1, 60_000)),
        "recall" => format!("{} {}", kv::get(argument).is_ok_and(|value| value.is_some()), counters::read(argument)),
        other => format!("no such trick: {other}"),
    })
}
