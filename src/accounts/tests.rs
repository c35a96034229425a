//! Known hashes of other programs, files that will not do, and the same work for everybody.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::hash::{Cost, NOBODY};
use std::time::Duration;

use super::*;
use crate::config::{AuthRemote, AuthService};
use crate::mail::{Hello, TlsFacts};
use crate::net::dial::{Dial, Tcp};
use crate::net::dns::Resolver;
use crate::smtp::sasl::Mechanisms;

/// openssl passwd -6 -salt saltstring
const OPENSSL_SHA512: &str =
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
/// openssl passwd -5 -salt saltstring
const OPENSSL_SHA256: &str = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
/// jBCrypt's test vector for "a".
const BCRYPT_A: &str = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";
/// The reference implementation's test vector for "password", 256 KiB.
const ARGON2ID: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn parse(text: &str) -> Result<PasswordFile, (usize, LineFault)> {
    PasswordFile::parse(text.as_bytes())
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// A session that wants to log in, with TLS.
pub(super) fn facts() -> SessionFacts {
    let tls = TlsFacts::new("TLSv1.3", "TLS_AES_256_GCM_SHA384".into(), 256);
    let (peer, local) = ("192.0.2.7:4711".parse().unwrap(), "[::ffff:192.0.2.25]:587".parse().unwrap());
    SessionFacts {
        hello: Some(Hello { name: "client.test".into(), extended: true }),
        tls: Some(Arc::new(tls)),
        ..SessionFacts::new("5f3a".into(), "submission".into(), peer, local)
    }
}

/// The one that answers so.
pub(super) fn remote(service: AuthService, timeout: Duration) -> Remote {
    let resolver = Resolver::new(&config::Resolver::default()).unwrap();
    let reach = Reach { upstreams: None, resolver: &resolver, dialer: &(Arc::new(Tcp) as Arc<dyn Dial>) };
    Remote::new("asked", &AuthRemote { timeout, concurrent_max: 10, service }, &reach).unwrap()
}

async fn verify(accounts: &Accounts, name: &str, password: &str) -> Verification {
    accounts
        .verify(&Client { session: &facts(), attempt: 1, standing: LoginStanding::Unknown }, name, &secret(password))
        .await
}

#[test]
fn hashes_of_other_programs_verify() {
    for (stored, password) in [
        (OPENSSL_SHA512.to_owned(), "Hello world!"),
        (OPENSSL_SHA256.to_owned(), "Hello world!"),
        (BCRYPT_A.to_owned(), "a"),
        (BCRYPT_A.replace("$2a$", "$2y$"), "a"),
        (BCRYPT_A.replace("$2a$", "$2b$"), "a"),
        (ARGON2ID.to_owned(), "password"),
        (format!("{{ARGON2ID}}{ARGON2ID}"), "password"),
        (format!("{{blf-crypt}}{BCRYPT_A}"), "a"),
        (format!("{{SHA512-CRYPT}}{OPENSSL_SHA512}"), "Hello world!"),
        (format!("{{CRYPT}}{OPENSSL_SHA256}"), "Hello world!"),
    ] {
        let hash = StoredHash::parse(&stored).unwrap();
        assert!(hash.verify(password.as_bytes()), "{stored}");
        assert!(!hash.verify(b"Hello world?"), "{stored}");
        assert!(!hash.verify(b""), "{stored}");
    }
}

#[test]
fn what_is_no_hash_is_refused_and_not_quoted() {
    let fault = |text: &str| StoredHash::parse(text).unwrap_err();
    for text in ["", "hunter2", "$1$abc$def", "$2x$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"] {
        assert_eq!(fault(text), HashFault::Unknown, "{text}");
        assert!(!fault("hunter2").to_string().contains("hunter2"));
    }
    assert_eq!(fault("{PLAIN}hunter2"), HashFault::Scheme("PLAIN".to_owned()));
    assert_eq!(fault("{SSHA}x\u{1b}[31m"), HashFault::Scheme("SSHA".to_owned()));
    assert_eq!(fault(&format!("{{ARGON2ID}}{BCRYPT_A}")), HashFault::Contradiction("ARGON2ID".to_owned()));
    for cut in [&OPENSSL_SHA512[..60], &BCRYPT_A[..40], &ARGON2ID[..50], "$6$rounds=10$ab$cd", "$2b$"] {
        assert!(matches!(fault(cut), HashFault::Malformed(_)), "{cut}");
    }
    for costly in [
        ARGON2ID.replace("m=256", "m=4000000"),
        ARGON2ID.replace("t=2", "t=1000"),
        BCRYPT_A.replace("$06$", "$31$"),
        OPENSSL_SHA512.replace("$6$", "$6$rounds=999999999$"),
    ] {
        assert!(matches!(fault(&costly), HashFault::TooCostly { .. }), "{costly}");
    }
}

#[test]
fn what_is_made_verifies_and_is_salted() {
    for scheme in [Scheme::Argon2id, Scheme::Sha512Crypt] {
        let (one, two) = (make(scheme, b"swordfish").unwrap(), make(scheme, b"swordfish").unwrap());
        assert_ne!(one.reveal(), two.reveal());
        assert!(one.verify(b"swordfish") && !one.verify(b"swordfisch"));
    }
    assert!(make(Scheme::Bcrypt, b"swordfish").unwrap().verify(b"swordfish"));
    assert_eq!(make(Scheme::Bcrypt, &[b'x'; 73]).unwrap_err(), MakeFault::TooLongForBcrypt);
    // glibc's crypt(3) keeps 16 characters of salt; more would be cut from what it compares with.
    let hash = make(Scheme::Sha512Crypt, b"swordfish").unwrap();
    assert_eq!(hash.reveal().split('$').nth(3).unwrap().len(), 16);
}

#[test]
fn names_are_exact_and_the_file_may_be_dovecots() {
    let file = parse(&format!(
        "# people\r\n\nanna@example.org:{BCRYPT_A}\r\nAnna@example.org:{ARGON2ID}\nbülent:{{CRYPT}}{BCRYPT_A}::::::\n"
    ))
    .unwrap();
    assert_eq!(file.count(), 3);
    assert_eq!(file.verify("anna@example.org", b"a"), Verdict::Good("anna@example.org".into()));
    assert_eq!(file.verify("Anna@example.org", b"a"), Verdict::Bad);
    assert_eq!(file.verify("Anna@example.org", b"password"), Verdict::Good("Anna@example.org".into()));
    assert_eq!(file.verify("bülent", b"a"), Verdict::Good("bülent".into()));
    assert_eq!(file.verify("nobody", b"a"), Verdict::NotMine);
    assert_eq!(file.verify("", b"a"), Verdict::NotMine);
}

#[test]
fn a_bad_line_refuses_the_file_and_is_named() {
    let good = format!("anna:{BCRYPT_A}\n");
    let fault = |line: &str| {
        let (number, fault) = parse(&format!("{good}{line}\n")).unwrap_err();
        assert_eq!(number, 2, "{line}");
        fault
    };
    assert_eq!(fault("otto"), LineFault::NoColon);
    assert_eq!(fault(&format!("anna:{ARGON2ID}")), LineFault::Duplicate { first: 1 });
    assert!(matches!(fault(&format!(":{BCRYPT_A}")), LineFault::Name(_)));
    assert!(matches!(fault(&format!(" otto:{BCRYPT_A}")), LineFault::Name(_)));
    assert!(matches!(fault(&format!("ot\tto:{BCRYPT_A}")), LineFault::Name(_)));
    assert!(matches!(fault(&format!("{}:{BCRYPT_A}", "o".repeat(NAME_OCTETS_MAX + 1))), LineFault::Name(_)));
    assert_eq!(fault(&format!("otto:{BCRYPT_A}:::nologin")), LineFault::MoreFields);
    assert_eq!(fault("otto:hunter2"), LineFault::Hash(HashFault::Unknown));
    assert_eq!(PasswordFile::parse(b"anna:\xff").unwrap_err(), (1, LineFault::NotText));
}

#[test]
fn a_file_on_disk_is_named_with_its_line_and_its_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    let error = PasswordFile::load(&path).unwrap_err().to_string();
    assert!(error.contains("users") && error.contains("No such file"), "{error}");
    std::fs::write(&path, "otto:hunter2\n").unwrap();
    let error = PasswordFile::load(&path).unwrap_err().to_string();
    assert!(error.contains("users:1: ") && !error.contains("hunter2"), "{error}");
    std::fs::write(&path, format!("anna:{BCRYPT_A}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(PasswordFile::load(&path).unwrap().warnings().is_empty());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(PasswordFile::load(&path).unwrap().warnings()[0].contains("every user"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "# nobody yet\n").unwrap();
    assert!(PasswordFile::load(&path).unwrap().warnings()[0].contains("holds no account"));
    // Nothing of it is read.
    std::fs::File::create(&path).unwrap().set_len(PASSWORD_FILE_BYTES_MAX + 1).unwrap();
    let error = PasswordFile::load(&path).unwrap_err().to_string();
    assert!(error.contains("larger than 67108864 octets"), "{error}");
}

#[test]
fn unknown_names_cost_what_most_accounts_cost() {
    let file = parse(&format!("a:{OPENSSL_SHA512}\nb:{BCRYPT_A}\nc:{}\n", BCRYPT_A.replace("$2a$", "$2b$"))).unwrap();
    assert_eq!(file.decoy_cost(), Some(Cost::Bcrypt { cost: 6 }));
    let nobody = parse("").unwrap();
    assert_eq!(nobody.decoy_cost(), Some(Cost::Argon2id { memory_kib: 19_456, passes: 2, lanes: 1 }));
    // The decoy is some account's hash: knowing that password opens nothing under another name.
    assert_eq!(file.verify("nobody", b"a"), Verdict::NotMine);
    assert!(StoredHash::parse(NOBODY).is_ok());
}

/// What a configuration of these files alone comes to.
fn backends(list: Vec<Backend>) -> Backends {
    Backends { list, mechanisms: None, hashing_max: 1, cache_entries_max: 10 }
}

fn one(text: &str) -> Backends {
    backends(vec![Backend::of_file("file", parse(text).unwrap(), None)])
}

#[tokio::test]
async fn accounts_are_reloaded() {
    let accounts = Accounts::new(one(&format!("anna:{BCRYPT_A}")));
    assert_eq!(verify(&accounts, "anna", "a").await, Verification::Good("anna".into()));
    assert_eq!(verify(&accounts, "anna", "b").await, Verification::Bad);
    assert_eq!(verify(&accounts, "otto", "a").await, Verification::Bad);
    accounts.reload(one(&format!("otto:{BCRYPT_A}")));
    assert_eq!(verify(&accounts, "anna", "a").await, Verification::Bad);
    assert_eq!(verify(&accounts, "otto", "a").await, Verification::Good("otto".into()));
    assert_eq!(accounts.count(), 1);
}

#[tokio::test]
async fn the_first_backend_that_knows_the_name_decides() {
    let staff = parse(&format!("anna:{BCRYPT_A}\n")).unwrap();
    let guests = parse(&format!("anna:{ARGON2ID}\notto:{ARGON2ID}\n")).unwrap();
    let both = vec![Backend::of_file("staff", staff, None), Backend::of_file("guests", guests, None)];
    let accounts = Accounts::new(backends(both));
    assert_eq!(verify(&accounts, "anna", "a").await, Verification::Good("anna".into()));
    assert_eq!(verify(&accounts, "anna", "password").await, Verification::Bad, "the second file's password");
    assert_eq!(verify(&accounts, "otto", "password").await, Verification::Good("otto".into()));
    assert_eq!(verify(&accounts, "eve", "password").await, Verification::Bad);
    assert_eq!(*accounts.mechanisms(), Served::here(Mechanisms::PASSWORDS));
}

#[tokio::test]
async fn right_passwords_are_remembered_where_that_is_wanted_and_until_a_reload() {
    let remembering = |text: &str| {
        let file = parse(text).unwrap();
        backends(vec![Backend::of_file("file", file, Some(std::time::Duration::from_mins(5)))])
    };
    let accounts = Accounts::new(remembering(&format!("anna:{BCRYPT_A}")));
    let current = accounts.current.load_full();
    let cache = current.cache.as_ref().unwrap();
    let key = |password: &[u8]| cache.key("file", "anna", password);
    assert_eq!(verify(&accounts, "anna", "b").await, Verification::Bad);
    assert_eq!(cache.get(&key(b"b")), None, "a wrong one is not remembered");
    assert_eq!(verify(&accounts, "anna", "a").await, Verification::Good("anna".into()));
    assert_eq!(cache.get(&key(b"a")).as_deref(), Some("anna"));
    // Not the file is asked now.
    cache.put(key(b"remembered"), "anna".into(), std::time::Duration::from_mins(5));
    assert_eq!(verify(&accounts, "anna", "remembered").await, Verification::Good("anna".into()));
    accounts.reload(remembering(&format!("anna:{BCRYPT_A}")));
    assert_eq!(verify(&accounts, "anna", "remembered").await, Verification::Bad);
    assert!(Accounts::new(one("")).current.load().cache.is_none());
}

#[test]
fn editing_leaves_other_lines_alone() {
    let hash = StoredHash::parse(BCRYPT_A).unwrap();
    let text = format!("# people\nanna:{ARGON2ID}\n\n#otto:old\notto:{ARGON2ID}");
    let (changed, found) = with_entry(&text, "otto", Some(&hash));
    assert!(found);
    assert_eq!(*changed, format!("# people\nanna:{ARGON2ID}\n\n#otto:old\notto:{BCRYPT_A}\n"));
    let (changed, found) = with_entry(&changed, "eve", Some(&hash));
    assert!(!found && changed.ends_with(&format!("eve:{BCRYPT_A}\n")));
    let (changed, found) = with_entry(&changed, "anna", None);
    assert!(found && !changed.contains("anna"));
    let (same, found) = with_entry(&changed, "nobody", None);
    assert!(!found);
    assert_eq!(same, changed);
}

#[test]
fn secrets_do_not_print() {
    let file = parse(&format!("anna:{BCRYPT_A}")).unwrap();
    let mut shown = format!("{file:?} {:?}", StoredHash::parse(BCRYPT_A).unwrap());
    shown += &format!("{:?}", Accounts::new(backends(vec![Backend::of_file("file", file, None)])));
    assert!(!shown.contains("m0CrhHm") && !shown.contains("anna"), "{shown}");
}

/// Dovecot's `doveadm pw -s SCRAM-SHA-256 -p pencil` has this form; the values are RFC 7677's.
const SCRAM_PENCIL: &str = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,\
                            WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

#[test]
fn keys_for_scram_serve_passwords_too() {
    let hash = StoredHash::parse(SCRAM_PENCIL).unwrap();
    assert!(hash.verify(b"pencil") && !hash.verify(b"pencils"));
    assert_eq!(hash.reveal(), SCRAM_PENCIL);
    let made = make(Scheme::ScramSha256, b"pencil").unwrap();
    assert!(made.verify(b"pencil") && !made.verify(b""));
    assert!(StoredHash::parse(made.reveal()).is_ok());
    // As a client prepares it (RFC 4013): a soft hyphen is nothing, a Roman nine is a IX.
    let made = make(Scheme::ScramSha256, "I\u{ad}X".as_bytes()).unwrap();
    assert!(made.verify("IX".as_bytes()) && made.verify("\u{2168}".as_bytes()));
    let fault = |text: &str| StoredHash::parse(text).unwrap_err();
    assert!(matches!(fault(&SCRAM_PENCIL.replace("4096", "1000")), HashFault::TooCheap { min: 4_096, .. }));
    assert!(matches!(fault(&SCRAM_PENCIL.replace("4096", "99999999")), HashFault::TooCostly { .. }));
    assert_eq!(fault(&SCRAM_PENCIL[..90]), HashFault::Malformed("SCRAM-SHA-256"));
    assert_eq!(fault(SCRAM_PENCIL.strip_prefix("{SCRAM-SHA-256}").unwrap()), HashFault::Unknown);
}

#[tokio::test]
async fn scram_is_offered_where_everybody_has_keys_or_where_it_is_asked_for() {
    let scram = format!("anna:{SCRAM_PENCIL}\n");
    let mixed = format!("{scram}otto:{BCRYPT_A}\n");
    let offered = |backends| Accounts::new(backends).mechanisms().are_here();
    let all = Mechanisms::PASSWORDS.or(Mechanisms::SCRAM);
    assert_eq!(offered(one(&scram)), all);
    assert_eq!(offered(one(&mixed)), Mechanisms::PASSWORDS);
    assert_eq!(offered(one("")), Mechanisms::PASSWORDS);
    let named = |mechanisms: Mechanisms| Some(mechanisms.iter().map(Name::from).collect());
    let asked = |text: &str, mechanisms| Backends { mechanisms: named(mechanisms), ..one(text) };
    let wanted = Mechanisms::SCRAM.or(Mechanisms::CERTIFICATES);
    assert_eq!(offered(asked(&mixed, wanted)), wanted);
    assert_eq!(offered(asked("", wanted)), Mechanisms::CERTIFICATES);
    assert!(asked(&mixed, wanted).warnings().is_empty());
    let warnings = asked("", wanted).warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("SCRAM-SHA-256-PLUS SCRAM-SHA-256"), "{warnings:?}");
}

#[tokio::test]
async fn a_name_without_keys_gets_some_that_stay_the_same() {
    let accounts = Accounts::new(one(&format!("anna:{SCRAM_PENCIL}\notto:{BCRYPT_A}\n")));
    let (keys, nonce) = accounts.scram_keys("anna").await.unwrap();
    assert_eq!(format!("{{SCRAM-SHA-256}}{}", keys.to_text()), SCRAM_PENCIL);
    let (_, another) = accounts.scram_keys("anna").await.unwrap();
    assert!(nonce.len() == 24 && nonce != another && !nonce.contains(','));
    for name in ["otto", "nobody"] {
        let (made_up, _) = accounts.scram_keys(name).await.unwrap();
        assert_eq!((made_up.iterations, made_up.salt.len()), (keys.iterations, keys.salt.len()));
        assert_eq!(accounts.scram_keys(name).await.unwrap().0, made_up);
    }
    accounts.reload(one(&format!("anna:{SCRAM_PENCIL}\n")));
    assert_eq!(accounts.scram_keys("nobody").await.unwrap().0.iterations, 4_096);
}

#[test]
fn a_secret_is_the_whole_first_line_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let read = |octets: &[u8]| {
        std::fs::write(&path, octets).unwrap();
        first_line(&path).map(|secret| secret.reveal().to_owned())
    };
    let longest = "x".repeat(4_096);
    assert_eq!(read(format!("secret\r\n{longest}{longest}").as_bytes()).unwrap(), "secret");
    assert_eq!(read(longest.as_bytes()).unwrap(), longest);
    for octets in ["".as_bytes(), b"\nsecret", b"a\0b", b"\xff\n", format!("{longest}x\n").as_bytes()] {
        assert!(read(octets).is_err(), "{octets:?}");
    }
}
