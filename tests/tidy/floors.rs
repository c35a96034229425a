//! Who may import whom, and what must stay below the IO line.

use crate::Law;
use crate::source::{File, Findings, Tree, identifier, words};

/// The floors of the house. A module imports from lower numbers only, so neighbours with one number do not know
/// each other.
const FLOORS: [(&str, u32); 21] = [
    ("smtp", 0),
    ("mail", 1),
    ("config", 2),
    ("policy", 3),
    ("session", 4),
    ("net", 5),
    ("state", 5),
    ("report", 5),
    ("checks", 6),
    ("accounts", 7),
    ("upstream", 6),
    ("shared", 6),
    ("milter", 6),
    ("filter", 7),
    ("lookup", 8),
    ("chain", 8),
    ("server", 9),
    ("sink", 9),
    ("admin", 9),
    ("dialog", 10),
    ("cli", 11),
];

/// The first floor that may touch sockets, files and the clock.
const IO_LINE: u32 = 5;

/// Built with the feature `io` only: it reads the one file whose text the floor of `config` turns into values.
const OPENS_THE_CONFIGURATION: &str = "src/config/load.rs";

pub(crate) const LAWS: &[Law] = &[
    Law {
        name: "a module imports only from floors below its own",
        check: downward,
        broken_by: &[
            &[("src/mail/peer.rs", "use crate::config::Config;")],
            &[("src/net/tls.rs", "fn f() { crate::report::tell(); }")],
            &[("src/policy/mod.rs", "use crate::{\n    mail::Peer,\n    session::{Phase, Step},\n};")],
            &[("src/smtp/line.rs", "use super::super::mail::Peer;")],
        ],
        kept_by: &[
            &[("src/session/rcpt.rs", "use crate::{mail::Peer, policy::relay, session::Phase};")],
            &[("src/smtp/line.rs", "// crate::server would be wrong here\nuse super::reply::Reply;")],
            &[("src/lib.rs", "pub use crate::server::Server;")],
        ],
    },
    Law {
        name: "every folder of src has a floor",
        check: known,
        broken_by: &[&[("src/utils/mod.rs", "")], &[("src/helpers.rs", "")]],
        kept_by: &[&[("src/lib.rs", ""), ("src/main.rs", ""), ("src/smtp/mod.rs", "")]],
    },
    Law {
        name: "above the IO line nobody waits, opens or looks at a clock",
        check: pure,
        broken_by: &[
            &[("src/session/rcpt.rs", "async fn check() {}")],
            &[("src/policy/relay.rs", "use std::time::Instant;\nfn f() { let t = Instant::now(); }")],
            &[("src/config/raw.rs", "fn f() { std::fs::read(p); }")],
            &[("src/config/raw.rs", "use std::{fs, net::IpAddr};")],
            &[("src/mail/peer.rs", "use std::net::TcpStream;")],
            &[("src/mail/peer.rs", "use std::net::{IpAddr, UdpSocket};")],
            &[("src/smtp/line.rs", "use tokio::io::AsyncRead;")],
            &[("src/config/load.rs", "use tokio::fs::read;")],
        ],
        kept_by: &[
            &[("src/mail/peer.rs", "use std::net::{IpAddr, SocketAddr};\n// tokio lives below")],
            &[("src/session/mod.rs", "fn f(now: Instant) {}")],
            &[("src/config/raw.rs", "#[cfg(test)]\nmod tests { fn f() { std::fs::read(p); } }")],
            &[("src/config/load.rs", "fn f() { std::fs::read(p); }")],
            &[("src/net/stream.rs", "async fn f() { tokio::spawn(g()).await; }")],
        ],
    },
    Law {
        name: "rustls is named once, in net/tls",
        check: |tree| only(tree, "rustls", &["src/net/tls.rs", "src/net/tls/"]),
        broken_by: &[
            &[("src/upstream/connect.rs", "use rustls::ClientConfig;")],
            &[("src/server/mod.rs", "use tokio_rustls::TlsAcceptor;")],
        ],
        kept_by: &[&[("src/net/tls.rs", "use rustls::ServerConfig;")], &[("src/net/tls/accept.rs", "use rustls::x;")]],
    },
    Law {
        name: "bindgen! stands in one folder",
        check: |tree| only(tree, "bindgen!", &["src/filter/bindings.rs", "src/filter/bindings/"]),
        broken_by: &[&[("src/filter/instance.rs", "wasmtime::component::bindgen!({});")]],
        kept_by: &[&[("src/filter/bindings/mod.rs", "wasmtime::component::bindgen!({});")]],
    },
    Law {
        name: "unsafe is for two audited files: loading our own compiled filters, owning the sockets systemd passes",
        check: |tree| only(tree, "unsafe", &["src/filter/cache.rs", "src/net/inherit.rs"]),
        broken_by: &[&[("src/net/stream.rs", "fn f() { unsafe { g() } }")]],
        kept_by: &[&[("src/filter/cache.rs", "unsafe { g() }")], &[("src/lib.rs", "#![deny(unsafe_code)] // unsafe")]],
    },
    Law {
        name: "anyhow is for main and cli",
        check: |tree| only(tree, "anyhow", &["src/main.rs", "src/cli/"]),
        broken_by: &[&[("src/upstream/mod.rs", "use anyhow::Result;")]],
        kept_by: &[&[("src/cli/serve.rs", "use anyhow::Result;")]],
    },
    Law {
        name: "the gateway's own wording stands in smtp/replies",
        check: |tree| only(tree, "Reply::fixed(", &["src/smtp/"]),
        broken_by: &[&[("src/session/rcpt.rs", "fn f() { Reply::fixed(550, None, \"No\") }")]],
        kept_by: &[
            &[("src/smtp/replies.rs", "pub const NO: Reply = Reply::fixed(550, None, \"No\");")],
            &[("src/session/rcpt.rs", "#[cfg(test)]\nmod tests { fn f() { Reply::fixed(550, None, \"No\") } }")],
            &[("src/upstream/tests/faults.rs", "fn f() { Reply::fixed(550, None, \"No\") }")],
        ],
    },
];

/// The floor's name for a file of the host, `None` for lib.rs and main.rs.
fn floor(file: &File) -> Option<&str> {
    let inside = file.path.strip_prefix("src/")?;
    let name = inside.split('/').next()?;
    match name {
        "lib.rs" | "main.rs" => None,
        _ => Some(name.trim_end_matches(".rs")),
    }
}

fn number(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(floor, _)| *floor == name).map(|(_, number)| *number)
}

fn known(tree: &Tree) -> Findings {
    tree.host()
        .filter(|file| floor(file).is_some_and(|name| number(name).is_none()))
        .map(|file| format!("{}: give it a number in tests/tidy/floors.rs", file.path))
        .collect()
}

fn downward(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for file in tree.host() {
        let Some(own) = floor(file) else { continue };
        for (at, target) in imports(file) {
            let allowed = target == own || matches!((number(own), number(target)), (Some(o), Some(t)) if t < o);
            if !allowed {
                findings.push(format!("{}: {own} imports {target}", file.at(at)));
            }
        }
    }
    findings
}

/// Every first name after `crate::`, also in groups, and after a chain of `super::` that leaves the floor.
fn imports(file: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for at in words(&file.code, "crate::") {
        let after = file.code[at + "crate::".len()..].trim_start();
        match after.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).into_iter().map(|name| (at, name))),
            None => found.push((at, identifier(after))),
        }
    }
    let depth = file.path.trim_end_matches("/mod.rs").matches('/').count();
    for at in words(&file.code, "super::") {
        if file.code[..at].ends_with("super::") {
            continue;
        }
        let after = file.code[at..].trim_start_matches("super::");
        let steps = (file.code[at..].len() - after.len()) / "super::".len();
        if steps >= depth && number(identifier(after)).is_some() {
            found.push((at, identifier(after)));
        }
    }
    found
}

/// The first identifiers of the entries of `a::b, c::{d, e}, f}`.
fn group_heads(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b',' | b'}' if depth == 0 => {
                heads.push(identifier(group[start..at].trim_start()));
                start = at + 1;
                if byte == b'}' {
                    break;
                }
            }
            b'}' => depth -= 1,
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn pure(tree: &Tree) -> Findings {
    const NEVER: [&str; 14] = [
        "tokio",
        "rustls",
        "wasmtime",
        "hickory_resolver",
        "redis",
        "async",
        "await",
        "Instant::now",
        "SystemTime::now",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "ToSocketAddrs",
    ];
    const NOT_SHIPPED: [&str; 5] = ["fs", "File::open", "std::process", "std::thread", "std::env"];
    let mut findings = Findings::new();
    for file in tree.host() {
        if floor(file).and_then(number).is_none_or(|number| number >= IO_LINE) {
            continue;
        }
        for word in NEVER {
            findings.extend(words(&file.code, word).map(|at| format!("{}: {word}", file.at(at))));
        }
        if file.path == OPENS_THE_CONFIGURATION {
            continue;
        }
        for word in NOT_SHIPPED {
            findings.extend(words(&file.shipped, word).map(|at| format!("{}: {word}", file.at(at))));
        }
    }
    findings
}

/// `word` in shipped code of the host outside `places`; a place with a final `/` is a folder.
fn only(tree: &Tree, word: &str, places: &[&str]) -> Findings {
    let allowed = |path: &str| places.iter().any(|p| path == *p || (p.ends_with('/') && path.starts_with(p)));
    tree.host()
        .filter(|file| !allowed(&file.path))
        .flat_map(|file| {
            let also = if word == "rustls" { "tokio_rustls" } else { word };
            let first = words(&file.shipped, word).map(|at| file.at(at));
            let second = words(&file.shipped, also).filter(move |_| also != word).map(|at| file.at(at));
            first.chain(second).collect::<Vec<_>>()
        })
        .collect()
}
