//! A real saslauthd, which asks a real slapd.

use std::os::unix::net::UnixStream;

use wasmilter::accounts::Verification;

use crate::asking::{Asked, good};
use crate::process::{Daemon, folder};
use crate::slapd::Slapd;

#[test]
fn saslauthd_decides() {
    let (slapd, folder) = (Slapd::start(), folder("saslauthd"));
    let path = folder.path().to_str().unwrap();
    let settings = format!(
        "ldap_servers: ldap://{}/\nldap_search_base: dc=inside,dc=test\nldap_filter: mail=%u@%r\n\
         ldap_bind_dn: cn=searcher,dc=inside,dc=test\nldap_password: looking around\n",
        slapd.plain
    );
    std::fs::write(folder.path().join("saslauthd.conf"), settings).unwrap();
    let settings = format!("{path}/saslauthd.conf");
    let program = ["/usr/sbin/saslauthd", "-d", "-n", "1", "-a", "ldap", "-O", &settings, "-m", path];
    let mut daemon = Daemon::start(&program, &folder.path().join("log"));
    daemon.wait_until(|| UnixStream::connect(folder.path().join("mux")).is_ok());
    let accounts = Asked::of(&format!("kind = \"saslauthd\"\nsocket = \"{path}/mux\"\nrealm = \"inside.test\""));
    for (name, password, verdict) in [
        ("anna", "correct horse", good("anna")),
        ("anna@inside.test", "correct horse", good("anna@inside.test")),
        ("anna@other.test", "correct horse", Verification::Bad),
        ("anna", "wrong horse", Verification::Bad),
        ("nobody", "correct horse", Verification::Bad),
    ] {
        assert_eq!(accounts.verify(name, password), verdict, "{name} {password}");
    }
    daemon.stop();
    assert_eq!(accounts.verify("anna", "correct horse"), Verification::Unavailable);
    assert_eq!(accounts.verify("anna", "wrong horse"), Verification::Unavailable);
}
