//! GSSAPI: a real Kerberos realm, a Dovecot in it, and curl with a ticket.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::dovecot::Dovecot;
use crate::gateway::Running;
use crate::process::{Daemon, folder};

const REALM: &str = "INSIDE.TEST";
const PASSWORD: &str = "tanstaaf";
const BAD: &str = "< 535 5.7.8 Authentication credentials invalid";

/// A realm with a KDC, somebody in it, and the service that Dovecot is.
struct Realm {
    folder: tempfile::TempDir,
    _kdc: Daemon,
}

impl Realm {
    fn start() -> Realm {
        let folder = folder("kerberos");
        let kdc = crate::imap::free();
        let path = folder.path();
        std::fs::write(path.join("krb5.conf"), client_settings(path, kdc)).unwrap();
        std::fs::write(path.join("kdc.conf"), kdc_settings(path, kdc)).unwrap();
        command(path, "kdb5_util", &["create", "-s", "-P", "of the database", "-r", REALM]);
        for words in [
            format!("addprinc -pw {PASSWORD} tim"),
            format!("addprinc -pw {PASSWORD} ghost"),
            "addprinc -randkey smtp/localhost".to_owned(),
            format!("ktadd -k {}/keytab smtp/localhost", path.display()),
        ] {
            command(path, "kadmin.local", &["-r", REALM, "-q", &words]);
        }
        std::fs::set_permissions(path.join("keytab"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let set = environment(path).map(|(name, value)| format!("{name}={value}"));
        let mut words = vec!["env"];
        words.extend(set.iter().map(String::as_str));
        words.extend(["/usr/sbin/krb5kdc", "-n", "-r", REALM]);
        let mut daemon = Daemon::start(&words, &path.join("kdc.log"));
        daemon.wait_until(|| TcpStream::connect(kdc).is_ok());
        Realm { folder, _kdc: daemon }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A new ticket for somebody, and no other.
    fn log_in(&self, name: &str) {
        let mut kinit = prepared(self.path(), "kinit");
        let mut child = kinit.arg(name).stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{PASSWORD}\n").as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// What curl says with that ticket, and whether the message was taken. The name only makes it try.
    fn submit(&self, gateway: &Running) -> (bool, String) {
        gateway.curl_in(&environment(self.path()), "anybody@inside.test:", "GSSAPI", &[])
    }
}

fn environment(folder: &Path) -> [(&'static str, String); 3] {
    let shown = folder.display();
    [
        ("KRB5_CONFIG", format!("{shown}/krb5.conf")),
        ("KRB5_KDC_PROFILE", format!("{shown}/kdc.conf")),
        ("KRB5CCNAME", format!("FILE:{shown}/tickets")),
    ]
}

fn prepared(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.envs(environment(folder)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("PATH", format!("/usr/sbin:{}", std::env::var("PATH").unwrap()));
    command
}

fn command(folder: &Path, program: &str, words: &[&str]) {
    let done = prepared(folder, program).args(words).output().unwrap();
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// No DNS is asked.
fn client_settings(folder: &Path, kdc: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "[libdefaults]
default_realm = {REALM}
dns_lookup_realm = false
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
[realms]
{REALM} = {{
  kdc = {kdc}
}}
[domain_realm]
localhost = {REALM}
[logging]
kdc = FILE:{folder}/kdc.log
"
    )
}

fn kdc_settings(folder: &Path, kdc: SocketAddr) -> String {
    let (folder, port) = (folder.display(), kdc.port());
    format!(
        "[realms]
{REALM} = {{
  database_name = {folder}/principals
  key_stash_file = {folder}/stash
  acl_file = {folder}/acl
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
  supported_enctypes = aes256-cts:normal
}}
"
    )
}

#[test]
fn a_ticket_is_a_login() {
    let realm = Realm::start();
    let path = realm.path().display();
    let dovecot = Dovecot::start_more(
        "plain gssapi",
        &format!(
            "auth_krb5_keytab = {path}/keytab\nauth_gssapi_hostname = localhost\n\
             import_environment = TZ KRB5_CONFIG={path}/krb5.conf KRB5RCACHENAME=none:\n"
        ),
    );
    let gateway = Running::start(&format!(
        "[[auth.backend]]\nname = \"d\"\nkind = \"dovecot\"\nsocket = \"{}\"",
        dovecot.socket().display()
    ));
    gateway.wait_for_offer("GSSAPI PLAIN LOGIN");
    realm.log_in("tim");
    let (taken, said) = realm.submit(&gateway);
    assert!(taken && said.contains("> AUTH GSSAPI") && said.contains("\n< 235 2.7.0 "), "{said}");
    // Kerberos knows it, and Dovecot lets nobody in by that name.
    realm.log_in("ghost");
    let (taken, said) = realm.submit(&gateway);
    assert!(!taken && said.contains(BAD), "{said}");
    // What is no token, and one for a key that Dovecot has not got.
    assert_eq!(gateway.say(&["AUTH GSSAPI", "dGlt"]), BAD.trim_start_matches("< "));
    command(realm.path(), "kadmin.local", &["-r", REALM, "-q", "cpw -randkey smtp/localhost"]);
    realm.log_in("tim");
    let (taken, said) = realm.submit(&gateway);
    assert!(!taken && said.contains(BAD), "{said}");
}
