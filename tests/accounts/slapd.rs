//! A real slapd, OpenLDAP's server, with a few people in it.

use std::net::{SocketAddr, TcpListener, TcpStream};

use wasmilter::accounts::Verification;

use crate::asking::{Asked, good};
use crate::process::{Daemon, folder, run};

const PEOPLE: &str = "dn: dc=inside,dc=test
objectClass: dcObject
objectClass: organization
o: inside
dc: inside

dn: cn=searcher,dc=inside,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: searcher
userPassword: looking around

dn: uid=anna,dc=inside,dc=test
objectClass: inetOrgPerson
cn: Anna
sn: A
uid: anna
mail: anna@inside.test
userPassword: correct horse

dn: uid=closed,dc=inside,dc=test
objectClass: inetOrgPerson
cn: Closed
sn: C
uid: closed
mail: closed@inside.test

dn: uid=one,dc=inside,dc=test
objectClass: inetOrgPerson
cn: One
sn: O
uid: one
mail: twice@inside.test
userPassword: correct horse

dn: uid=two,dc=inside,dc=test
objectClass: inetOrgPerson
cn: Two
sn: T
uid: two
mail: twice@inside.test
userPassword: correct horse
";

pub(crate) struct Slapd {
    folder: tempfile::TempDir,
    daemon: Daemon,
    pub(crate) plain: SocketAddr,
    tls: SocketAddr,
}

impl Slapd {
    pub(crate) fn start() -> Slapd {
        let folder = folder("slapd");
        let path = folder.path();
        std::fs::create_dir(path.join("db")).unwrap();
        std::fs::write(path.join("people.ldif"), PEOPLE).unwrap();
        std::fs::write(path.join("searcher"), "looking around\n").unwrap();
        std::fs::write(path.join("another"), "guessing\n").unwrap();
        for name in ["certificate", "another"] {
            let (key, pem) = (path.join(format!("{name}.key")), path.join(format!("{name}.pem")));
            let (key, pem) = (key.to_str().unwrap(), pem.to_str().unwrap());
            let kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
            let what = ["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
            run("openssl", &[&kind[..], &what[..], &["-keyout", key, "-out", pem]].concat(), "");
        }
        std::fs::write(path.join("slapd.conf"), settings(&path.display().to_string())).unwrap();
        let [configuration, people] = ["slapd.conf", "people.ldif"].map(|name| path.join(name).display().to_string());
        run("/usr/sbin/slapadd", &["-f", &configuration, "-l", &people], "");
        // slapd binds by itself, so there is a moment in which somebody else could take them.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let [plain, tls] = [free(), free()].map(|socket| socket.local_addr().unwrap());
        let mut slapd = Slapd { daemon: start(path, plain, tls), folder, plain, tls };
        slapd.wait();
        slapd
    }

    fn wait(&mut self) {
        let (plain, tls) = (self.plain, self.tls);
        self.daemon.wait_until(|| TcpStream::connect(plain).is_ok() && TcpStream::connect(tls).is_ok());
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn stop(&mut self) {
        self.daemon.stop();
    }

    pub(crate) fn again(&mut self) {
        self.daemon = start(self.folder.path(), self.plain, self.tls);
        self.wait();
    }

    /// A backend of kind "ldap" with these keys.
    fn asked(&self, url: &str, keys: &str) -> Asked {
        let text = keys.replace("FOLDER", &self.folder.path().display().to_string());
        let url = url.replace("PLAIN", &self.plain.port().to_string()).replace("TLS", &self.tls.port().to_string());
        Asked::of(&format!("kind = \"ldap\"\nurl = \"{url}\"\n{text}"))
    }
}

fn start(folder: &std::path::Path, plain: SocketAddr, tls: SocketAddr) -> Daemon {
    let configuration = folder.join("slapd.conf").display().to_string();
    let addresses = format!("ldap://{plain}/ ldaps://{tls}/");
    Daemon::start(&["/usr/sbin/slapd", "-d", "0", "-f", &configuration, "-h", &addresses], &folder.join("log"))
}

/// `bind_anon_cred`: this one would let in everybody who says no password.
fn settings(folder: &str) -> String {
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/pid
argsfile {folder}/args
modulepath /usr/lib/ldap
moduleload back_mdb
allow bind_anon_cred
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/certificate.key
database mdb
suffix \"dc=inside,dc=test\"
directory {folder}/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=\"cn=searcher,dc=inside,dc=test\" read by anonymous auth by * none
"
    )
}

const SEARCH: &str = "search = { base = \"dc=inside,dc=test\", filter = \"(mail=%u)\", \
                      bind-dn = \"cn=searcher,dc=inside,dc=test\", password-file = \"FOLDER/searcher\" }\n";
const CA: &str = "ca = \"FOLDER/certificate.pem\"\n";

#[test]
fn the_directory_decides_who_may_bind() {
    let slapd = Slapd::start();
    let pattern = slapd.asked("ldap://127.0.0.1:PLAIN", "bind-dn = \"uid=%n,dc=inside,dc=test\"");
    let clear = slapd.asked("ldap://localhost:PLAIN", SEARCH);
    let begun = slapd.asked("ldap://localhost:PLAIN", &format!("starttls = true\n{CA}{SEARCH}"));
    let implicit = slapd.asked("ldaps://localhost:TLS", &format!("{CA}{SEARCH}"));
    for accounts in [pattern, clear, begun, implicit] {
        for (name, password, verdict) in [
            ("anna@inside.test", "correct horse", good("anna@inside.test")),
            ("anna@inside.test", "wrong horse", Verification::Bad),
            ("anna@inside.test", "correct horse", good("anna@inside.test")),
            ("anna@inside.test", "", Verification::Bad),
            ("closed@inside.test", "correct horse", Verification::Bad),
            ("nobody@inside.test", "correct horse", Verification::Bad),
            ("*", "correct horse", Verification::Bad),
            ("anna*@inside.test", "correct horse", Verification::Bad),
            ("x)(uid=anna", "correct horse", Verification::Bad),
            ("anna,dc=inside,dc=test", "correct horse", Verification::Bad),
        ] {
            assert_eq!(accounts.verify(name, password), verdict, "{name} {password}");
        }
    }
    let clear = slapd.asked("ldap://localhost:PLAIN", SEARCH);
    assert_eq!(clear.verify("twice@inside.test", "correct horse"), Verification::Unavailable);
}

#[test]
fn a_directory_that_is_away_or_somebody_else_is_no_verdict() {
    let mut slapd = Slapd::start();
    let another = CA.replace("certificate.pem", "another.pem");
    let guessing = SEARCH.replace("FOLDER/searcher", "FOLDER/another");
    for (url, keys) in [
        ("ldaps://localhost:TLS", format!("{another}{SEARCH}")),
        ("ldap://localhost:PLAIN", format!("starttls = true\n{another}{SEARCH}")),
        // The certificate is for another name.
        ("ldaps://127.0.0.1:TLS", format!("{CA}{SEARCH}")),
        ("ldap://localhost:PLAIN", guessing),
        // TLS where there is none.
        ("ldaps://localhost:PLAIN", format!("timeout = \"1s\"\n{CA}{SEARCH}")),
    ] {
        let accounts = slapd.asked(url, &keys);
        assert_eq!(accounts.verify("anna@inside.test", "correct horse"), Verification::Unavailable, "{url} {keys}");
    }
    let accounts = slapd.asked("ldaps://localhost:TLS", &format!("{CA}{SEARCH}"));
    assert_eq!(accounts.verify("anna@inside.test", "correct horse"), good("anna@inside.test"));
    slapd.daemon.stop();
    assert_eq!(accounts.verify("anna@inside.test", "correct horse"), Verification::Unavailable);
    assert_eq!(accounts.verify("nobody@inside.test", "correct horse"), Verification::Unavailable);
    slapd.again();
    assert_eq!(accounts.verify("anna@inside.test", "correct horse"), good("anna@inside.test"));
    assert_eq!(accounts.verify("anna@inside.test", "wrong horse"), Verification::Bad);
}
