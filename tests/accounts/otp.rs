//! One-time passwords (RFC 2444): Dovecot counts them down in a database of its own.

use std::os::unix::fs::PermissionsExt as _;

use crate::dovecot::Dovecot;
use crate::gateway::Running;
use crate::process::{folder, run};

const NAME: &str = "otto@inside.test";
const PASSWORD: &str = "tanstaaf";

/// A table with somebody in it, by the line that Dovecot itself makes.
const DATABASE: &str = r"
import sqlite3, sys
path, name, entry = sys.argv[1:]
with sqlite3.connect(path) as database:
    database.execute('CREATE TABLE users (name TEXT PRIMARY KEY, password TEXT)')
    database.execute('INSERT INTO users VALUES (?, ?)', (name, entry.strip()))
";

/// Says AUTH OTP; `back` is for a password that was used already. Prints the challenges and the answer.
const CLIENT: &str = r#"
import hashlib, smtplib, ssl, struct, sys
port, name, password, back = sys.argv[1:]
def fold(digest):
    words = struct.unpack(">5I", digest)
    return struct.pack("<2I", words[0] ^ words[2] ^ words[4], words[1] ^ words[3])
def answer(challenge=None):
    if challenge is None:
        return "\0" + name
    print(challenge.decode())
    algorithm, sequence, seed, _ = challenge.decode().split()
    assert algorithm == "otp-sha1"
    octets = (seed + password).encode()
    for _ in range(int(sequence) + int(back) + 1):
        octets = fold(hashlib.sha1(octets).digest())
    return "hex:" + octets.hex()
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP_SSL("127.0.0.1", int(port), context=context) as smtp:
    smtp.ehlo("client.test")
    try:
        print(*smtp.auth("OTP", answer))
    except smtplib.SMTPAuthenticationError as refused:
        print(refused.smtp_code, refused.smtp_error)
"#;

#[test]
fn a_password_is_good_once() {
    let folder = folder("otp");
    let path = folder.path();
    // Dovecot's own user writes there.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (database, settings) = (path.join("users.sqlite"), path.join("sql.conf.ext"));
    let entry = run("doveadm", &["-O", "pw", "-s", "OTP", "-p", PASSWORD, "-u", NAME], "");
    run("python3", &["-c", DATABASE, database.to_str().unwrap(), NAME, &entry], "");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o666)).unwrap();
    let text = format!(
        "driver = sqlite\nconnect = {}\n\
         password_query = SELECT name AS user, password FROM users WHERE name = '%u'\n\
         update_query = UPDATE users SET password = '%w' WHERE name = '%u'\n",
        database.display()
    );
    std::fs::write(&settings, text).unwrap();
    let passdb = format!("passdb {{\n  driver = sql\n  args = {}\n}}\n", settings.display());
    let dovecot = Dovecot::start_more("plain otp", &passdb);
    let gateway = Running::start(&format!(
        "[[auth.backend]]\nname = \"d\"\nkind = \"dovecot\"\nsocket = \"{}\"",
        dovecot.socket().display()
    ));
    gateway.wait_for_offer("OTP PLAIN LOGIN");
    let port = gateway.port().to_string();
    let log_in = |password: &str, back: &str| {
        let said = run("python3", &["-c", CLIENT, &port, NAME, password, back], "");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        (lines[0].split(' ').nth(1).unwrap().to_owned(), lines[1].split(' ').next().unwrap().to_owned())
    };
    let result = |sequence: &str, code: &str| (sequence.to_owned(), code.to_owned());
    assert_eq!(log_in(PASSWORD, "0"), result("1023", "235"));
    assert_eq!(log_in(PASSWORD, "1"), result("1022", "535"), "it was used");
    assert_eq!(log_in("tanstaafl", "0"), result("1022", "535"));
    assert_eq!(log_in(PASSWORD, "0"), result("1022", "235"));
    assert_eq!(log_in(PASSWORD, "0"), result("1021", "235"));
}
