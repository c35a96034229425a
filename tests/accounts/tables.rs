//! Recipients that a real slapd knows.

use std::sync::Arc;

use wasmilter::accounts::Reach;
use wasmilter::config::parse;
use wasmilter::lookup::{Lookups, Sources};
use wasmilter::net::dial::{Dial, Tcp};
use wasmilter::net::dns::Resolver;
use wasmilter::policy::tables::{Found, Wanted};
use wasmilter::report::Metrics;

use crate::slapd::Slapd;

struct Asked {
    lookups: Lookups,
    runtime: tokio::runtime::Runtime,
}

impl Asked {
    /// `[table.people.ldap]` with these keys.
    fn of(ldap: &str) -> Asked {
        let text = format!(
            "hostname = \"mx.inside.test\"\nupstream = {{ address = \"127.0.0.1:10025\" }}\n\
             relay = {{ domains = [\"inside.test\"], recipients = \"people\" }}\n[[listener]]\nname = \"mx\"\n\
             address = \"127.0.0.1:25\"\n[table.people.ldap]\n{ldap}\n"
        );
        let config = parse(&text, "/etc/wasmilter/wasmilter.toml", &|_| None).unwrap_or_else(|why| panic!("{why}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (resolver, dialer) = (Resolver::new(&config.resolver).unwrap(), Arc::new(Tcp) as Arc<dyn Dial>);
        let reach = Reach { upstreams: None, resolver: &resolver, dialer: &dialer };
        let lookups = Lookups::new(&config.tables, &reach, None, &Sources::new()).unwrap();
        Asked { lookups, runtime }
    }

    fn ask(&self, key: &str) -> Found {
        let wanted = Wanted { table: "people".into(), key: key.into() };
        self.runtime.block_on(self.lookups.ask(&wanted, &Metrics::detached().unwrap()))
    }
}

#[test]
fn a_directory_says_who_there_is() {
    let mut slapd = Slapd::start();
    let folder = slapd.folder().display().to_string();
    let port = slapd.plain.port();
    let keys = format!(
        "url = \"ldap://localhost:{port}\"\nbase = \"dc=inside,dc=test\"\nfilter = \"(mail=%u)\"\n\
         bind-dn = \"cn=searcher,dc=inside,dc=test\"\npassword-file = \"{folder}/searcher\""
    );
    let secure = keys.replace("base =", &format!("starttls = true\nca = \"{folder}/certificate.pem\"\nbase ="));
    for table in [Asked::of(&keys), Asked::of(&secure)] {
        for (key, found) in [
            ("anna@inside.test", Found::Held(String::new())),
            ("twice@inside.test", Found::Held(String::new())),
            ("nobody@inside.test", Found::Absent),
            ("@inside.test", Found::Absent),
            ("*", Found::Absent),
            ("*@inside.test", Found::Absent),
            ("x)(uid=anna", Found::Absent),
        ] {
            assert_eq!(table.ask(key), found, "{key}");
        }
    }
    let guessing = Asked::of(&keys.replace("/searcher\"", "/another\""));
    assert_eq!(guessing.ask("nobody@inside.test"), Found::Doubt);
    let elsewhere = Asked::of(&keys.replace("dc=inside,dc=test\"\nfilter", "dc=outside,dc=test\"\nfilter"));
    assert_eq!(elsewhere.ask("nobody@inside.test"), Found::Doubt, "there is no such base");

    let table = Asked::of(&keys);
    assert_eq!(table.ask("anna@inside.test"), Found::Held(String::new()));
    slapd.stop();
    assert_eq!(table.ask("anna@inside.test"), Found::Held(String::new()), "it is remembered");
    assert_eq!(table.ask("nobody@inside.test"), Found::Doubt);
    slapd.again();
    assert_eq!(table.ask("nobody@inside.test"), Found::Absent);
}
