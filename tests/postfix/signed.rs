//! DNSSEC against a real BIND: zones that its own tools signed, asked by the gateway's resolver as it is configured.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wasmilter::config;
use wasmilter::net::dns::{NoAnswer, Resolver, Security};

use crate::log::Log;
use crate::mta::run;

/// BIND listens where an interface has an address, and nowhere else.
const HOST: &str = "127.0.0.1";

const APEX: &str = "$TTL 60\n@ SOA ns.signed. hostmaster.signed. 1 600 60 86400 60\n@ NS ns.signed.\n";
/// `salted` proves by NSEC3, `hashed` by more of it than a validator computes.
const DELEGATIONS: &str = "signed. NS ns.signed.\nns.signed. A 127.0.0.1\nhashed. NS ns.signed.\nsalted. NS ns.signed.\nplain. NS ns.signed.\n";
const SIGNED: &str = "ns A 127.0.0.1\nwww A 192.0.2.1\nforged A 192.0.2.66\nalias CNAME host.plain.\n\
                      *.wild TXT \"v=spf1 -all\"\nmail MX 10 www\n";
const PLAIN: &str = "host A 192.0.2.5\n";

struct Bind {
    address: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Bind {
    fn start() -> Bind {
        let folder = tempfile::Builder::new().prefix("wasmilter-bind").tempdir().unwrap();
        let path = folder.path();
        zone(path, "plain", &format!("{APEX}{PLAIN}"));
        signed_zone(path, "signed", &format!("{APEX}{SIGNED}"), &[]);
        signed_zone(path, "salted", &format!("{APEX}{SIGNED}"), &["-3", "beef", "-H", "0"]);
        signed_zone(path, "hashed", APEX, &["-3", "-", "-H", "150"]);
        // The root last: it vouches for those that are signed.
        let anchor = signed_zone(path, ".", &format!("{APEX}{DELEGATIONS}"), &["-g"]);
        std::fs::write(path.join("root.key"), anchor).unwrap();
        let file = path.join("signed.zone");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("192.0.2.66"), "{text}");
        std::fs::write(&file, text.replace("192.0.2.66", "192.0.2.67")).unwrap();

        // A copy, since AppArmor lets the one in its place read nothing but Debian's own folders.
        std::fs::copy("/usr/sbin/named", path.join("named")).unwrap();
        loop {
            // It takes no sockets from us, so somebody else may be faster than it; then it ends.
            let address = UdpSocket::bind((HOST, 0)).unwrap().local_addr().unwrap();
            std::fs::write(path.join("named.conf"), configuration(path, address)).unwrap();
            let (mut process, log) = named(path);
            while process.try_wait().unwrap().is_none() {
                if log.text().contains("all zones loaded") {
                    return Bind { address, folder, process };
                }
                std::thread::yield_now();
            }
            assert!(log.text().contains("unable to listen"), "named ended:\n{}", log.text());
        }
    }

    /// A resolver with this `[resolver]`, and this server.
    fn resolver(&self, keys: &str) -> Resolver {
        let text = format!(
            "hostname = \"mx.inside.test\"\n[upstream]\naddress = \"127.0.0.1:10025\"\n[relay]\ndomains = [\"inside.test\"]\n\
             [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:2525\"\n[resolver]\nservers = [\"{}\"]\n{keys}",
            self.address
        );
        let config = config::parse(&text, "wasmilter.toml", &|_| None).unwrap();
        Resolver::new(&config.resolver).unwrap()
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn named(folder: &Path) -> (Child, Log) {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(folder.join("named")).args(["-g", "-n", "1", "-c"]);
    command.arg(folder.join("named.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let log = Log::of(process.stderr.take().unwrap());
    (process, log)
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let zones = [".", "signed", "salted", "hashed", "plain"]
        .map(|zone| format!("zone \"{zone}\" {{ type primary; file \"{}\"; }};\n", file_of(zone)));
    format!(
        "options {{ directory \"{}\"; listen-on port {} {{ {HOST}; }}; listen-on-v6 {{ none; }}; recursion no; \
         pid-file none; session-keyfile none; dnssec-validation no; }};\ncontrols {{ }};\n{}",
        folder.display(),
        address.port(),
        zones.concat()
    )
}

fn file_of(zone: &str) -> String {
    format!("{}.zone", if zone == "." { "root" } else { zone })
}

fn zone(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(file_of(name)), text).unwrap();
}

/// Its public keys.
fn signed_zone(folder: &Path, name: &str, text: &str, options: &[&str]) -> String {
    let file = file_of(name);
    zone(folder, name, text);
    let mut keys = String::new();
    for kind in [&["-f", "KSK"][..], &[]] {
        let mut keygen = Command::new("dnssec-keygen");
        keygen.current_dir(folder).args(["-q", "-a", "ECDSAP256SHA256"]).args(kind).arg(name);
        let made = String::from_utf8(keygen.output().unwrap().stdout).unwrap();
        keys += &std::fs::read_to_string(folder.join(format!("{}.key", made.trim()))).unwrap();
    }
    let mut sign = Command::new("dnssec-signzone");
    sign.current_dir(folder).arg("-S").args(options).args(["-o", name, "-f", &file, &file]);
    run(&mut sign);
    keys
}

#[tokio::test]
async fn what_bind_signed_is_secure_and_what_was_changed_is_forged() {
    let bind = Bind::start();
    let anchor = bind.folder.path().join("root.key");
    let resolver = bind.resolver(&format!("dnssec = true\ntrust-anchor = \"{}\"\n", anchor.display()));
    let answers = [
        ("www.signed", "A", "192.0.2.1", Security::Secure),
        ("mail.signed", "MX", "10 www.signed", Security::Secure),
        ("any.wild.salted", "TXT", "v=spf1 -all", Security::Secure),
        ("host.plain", "A", "192.0.2.5", Security::Insecure),
        ("alias.signed", "A", "192.0.2.5", Security::Insecure),
    ];
    for (name, kind, text, security) in answers {
        let answer = resolver.ask(name, kind).await;
        let found = answer.as_ref().map(|answer| (answer.records.concat(), answer.security));
        assert_eq!(found, Ok((text.as_bytes().to_vec(), security)), "{name} {kind}");
    }
    let nothing = [
        ("forged.signed", "A", NoAnswer::Bogus),
        ("gone.signed", "A", NoAnswer::NotFound),
        ("www.signed", "TXT", NoAnswer::NoData),
        ("gone.salted", "A", NoAnswer::NotFound),
        ("www.salted", "TXT", NoAnswer::NoData),
        ("gone.hashed", "A", NoAnswer::NotFound),
        ("hashed", "TXT", NoAnswer::NoData),
        ("gone.plain", "A", NoAnswer::NotFound),
        ("nowhere", "A", NoAnswer::NotFound),
        // It is not: the library wants a wildcard's own NSEC covered by another. docs/filters.md says so.
        ("any.wild.signed", "TXT", NoAnswer::Bogus),
    ];
    for (name, kind, why) in nothing {
        assert_eq!(resolver.ask(name, kind).await, Err(why), "{name} {kind}");
    }
}

/// The same server, for who does not look, and for who believes in the root that everybody knows.
#[tokio::test]
async fn the_settings_decide_what_is_believed() {
    let bind = Bind::start();
    let forged = bind.resolver("").ask("forged.signed", "A").await;
    assert_eq!(forged.map(|answer| (answer.records.concat(), answer.security)), {
        Ok((b"192.0.2.67".to_vec(), Security::Unchecked))
    });
    assert_eq!(bind.resolver("dnssec = true\n").ask("www.signed", "A").await, Err(NoAnswer::Bogus));
}
