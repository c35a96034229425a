//! Tokens that Dovecot knows by asking somebody: OAUTHBEARER and XOAUTH2 as mechanisms of Dovecot's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};

use crate::dovecot::Dovecot;
use crate::gateway::Running;

/// Says whose token it is, to whoever asks: `good` is tim's, all others nobody's.
fn introspection() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            let _headers = lines.take_while(|line| !line.is_empty()).count();
            let token = asked.split_once("access_token=").map_or("", |(_, behind)| behind);
            let said = if token.split(['&', ' ']).next() == Some("good") {
                r#"{"active":"true","email":"tim@inside.test"}"#
            } else {
                r#"{"active":"false"}"#
            };
            let length = said.len();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(&stream, "{head}\r\nContent-Length: {length}\r\n\r\n{said}");
        }
    });
    address
}

#[test]
fn dovecot_asks_about_tokens() {
    let asked = introspection();
    let settings = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "introspection_url = http://{asked}/token?access_token=\nintrospection_mode = get\n\
         username_attribute = email\nactive_attribute = active\nactive_value = true\n"
    );
    std::fs::write(settings.path(), text).unwrap();
    let mechanisms = "oauthbearer xoauth2";
    let passdb = format!(
        "passdb {{\n  driver = oauth2\n  mechanisms = {mechanisms}\n  args = {}\n}}\n",
        settings.path().display()
    );
    let dovecot = Dovecot::start_more(&format!("plain {mechanisms}"), &passdb);
    let gateway = Running::start(&format!(
        "[[auth.backend]]\nname = \"d\"\nkind = \"dovecot\"\nsocket = \"{}\"",
        dovecot.socket().display()
    ));
    gateway.wait_for_offer("OAUTHBEARER XOAUTH2 PLAIN LOGIN");
    for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
        assert_eq!(gateway.log_in("tim@inside.test", mechanism, "good"), "235", "{mechanism}");
        assert_eq!(gateway.log_in("tim@inside.test", mechanism, "bad"), "535", "{mechanism}");
        assert_eq!(gateway.log_in("anna@inside.test", mechanism, "good"), "535", "{mechanism}: another's");
    }
}
