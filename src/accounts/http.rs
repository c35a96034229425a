//! An HTTP service that knows accounts, asked as nginx's mail proxy asks it (`auth_http`): all in header fields, and the
//! answer in header fields of a 200.
//!
//! Auth-Server and Auth-Port of an answer are nginx's business, not ours. A refusal with a code that begins with 4 is
//! "not for now".

use std::sync::Arc;
use std::time::Duration;

use super::backend::Verdict;
use super::remote::{Away, Reach, identity};
use super::{BackendError, Client};
use crate::config::{HttpGrant, Password, Url};
use crate::mail::PeerName;
use crate::net::http::{self, Request, Response};
use crate::smtp::sasl::Secret;

/// Octets of an answer's body, which nobody reads.
const BODY_BYTES_MAX: usize = 64 * 1_024;
/// A wrong password waits as long as Auth-Wait says, and no longer than this.
const WAIT_MAX: Duration = Duration::from_secs(10);

pub(super) struct Http {
    client: http::Client,
    url: Url,
    headers: Vec<(String, Password)>,
    timeout: Duration,
}

impl Http {
    /// # Errors
    /// The CA file cannot be read, or there are no roots.
    pub(super) fn new(
        name: &str,
        (url, ca): (&Url, Option<&std::path::Path>),
        headers: &[(String, Password)],
        timeout: Duration,
        reach: &Reach<'_>,
    ) -> Result<Http, BackendError> {
        let ca = ca.map(std::path::Path::to_path_buf);
        let grant = HttpGrant { urls: vec![url.clone()], response_bytes_max: BODY_BYTES_MAX, ca };
        let client = http::Client::new(reach.resolver, reach.dialer, &grant);
        let client = client.map_err(|error| BackendError::Tls { backend: name.to_owned(), error })?;
        Ok(Http { client, url: url.clone(), headers: headers.to_vec(), timeout })
    }

    /// And how long a refusal is to wait.
    ///
    /// # Errors
    /// When it is away, or says what cannot be understood.
    pub(super) async fn verify(
        &self,
        client: &Client<'_>,
        name: &str,
        password: &Secret,
    ) -> Result<(Verdict, Duration), Away> {
        let request = self.request(client, name, password);
        let answer = self.client.send(&request, self.timeout).await.map_err(|why| Away(why.to_string()))?;
        judge(&answer, name)
    }

    fn request(&self, client: &Client<'_>, name: &str, password: &Secret) -> Request {
        let session = client.session;
        let known = match &session.peer_name {
            PeerName::Confirmed(name) => name,
            PeerName::Unavailable => "[UNAVAILABLE]",
            PeerName::TemporarilyUnavailable => "[TEMPUNAVAIL]",
        };
        let helo = session.hello.as_ref().map_or("", |hello| &*hello.name);
        let mut headers: Vec<(String, Vec<u8>)> = [
            ("Auth-Method", b"plain".to_vec()),
            ("Auth-User", escape(name.as_bytes())),
            ("Auth-Pass", escape(password.reveal())),
            ("Auth-Protocol", b"smtp".to_vec()),
            ("Auth-Login-Attempt", client.attempt.to_string().into_bytes()),
            ("Client-IP", session.peer.ip().to_canonical().to_string().into_bytes()),
            ("Client-Host", escape(known.as_bytes())),
            ("Auth-SMTP-Helo", escape(helo.as_bytes())),
        ]
        .into_iter()
        .map(|(field, value)| (field.to_owned(), value))
        .collect();
        if let Some(tls) = &session.tls {
            headers.push(("Auth-SSL".to_owned(), b"on".to_vec()));
            headers.push(("Auth-SSL-Protocol".to_owned(), tls.version.replace("TLSv1.0", "TLSv1").into_bytes()));
        }
        let ours = self.headers.iter().map(|(field, value)| (field.clone(), value.reveal().as_bytes().to_vec()));
        headers.extend(ours);
        Request { method: "GET", url: self.url.clone(), headers, body: Vec::new() }
    }
}

/// As nginx does: what would end a field or a word is in hexadecimal digits behind a %.
fn escape(value: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for octet in value {
        match octet {
            0..=b' ' | b'%' | 0x7f => escaped.extend_from_slice(format!("%{octet:02X}").as_bytes()),
            _ => escaped.push(*octet),
        }
    }
    escaped
}

fn judge(answer: &Response, name: &str) -> Result<(Verdict, Duration), Away> {
    if answer.status != 200 {
        return Err(Away(format!("the service answers with status {}", answer.status)));
    }
    let field = |wanted: &str| {
        let mut fields = answer.headers.iter().filter(|(field, _)| field == wanted).map(|(_, value)| value.as_slice());
        let first = fields.next();
        first.filter(|_| fields.next().is_none())
    };
    let status =
        field("auth-status").ok_or_else(|| Away("the service's answer has no Auth-Status, or two".to_owned()))?;
    if status == b"OK" {
        let user: Arc<str> = identity(field("auth-user").unwrap_or(name.as_bytes()))?;
        return Ok((Verdict::Good(user), Duration::ZERO));
    }
    if field("auth-error-code").is_some_and(|code| code.starts_with(b"4")) {
        return Err(Away("the service says that it cannot tell for now (Auth-Error-Code 4…)".to_owned()));
    }
    let seconds = field("auth-wait").and_then(|wait| str::from_utf8(wait).ok()).and_then(|wait| wait.parse().ok());
    Ok((Verdict::Bad, Duration::from_secs(seconds.unwrap_or(0)).min(WAIT_MAX)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::remote::Remote;
    use super::super::tests::{facts, remote, secret};
    use super::*;
    use crate::config::AuthService;
    use crate::state::limits::LoginStanding;

    const SOON: Duration = Duration::from_secs(20);

    /// A service that knows anna, says for everybody else what their password asks for, and hands out what it heard.
    async fn serve() -> (Remote, tokio::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/smtp", listener.local_addr().unwrap())).unwrap();
        let (tell, heard) = tokio::sync::mpsc::channel(100);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
                let request = String::from_utf8(request).unwrap();
                let said =
                    |name: &str| request.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
                let says = match (said("auth-user: ").as_str(), said("auth-pass: ").as_str()) {
                    ("anna@example.org", "correct%20horse") => "200 OK\r\nAuth-Status: OK\r\nAuth-User: anna",
                    (_, "later") => "200 OK\r\nAuth-Status: busy\r\nAuth-Error-Code: 451 4.3.2",
                    (_, "broken") => "500 Internal Server Error\r\nAuth-Status: OK",
                    _ => "200 OK\r\nAuth-Status: Invalid login or password\r\nAuth-Wait: 0",
                };
                let _ = tell.send(request).await;
                let answer = format!("HTTP/1.1 {says}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let headers = vec![("X-Auth-Key".to_owned(), Password::new("sesame".to_owned()))];
        (remote(AuthService::Http { url, ca: None, headers }, SOON), heard)
    }

    async fn ask(remote: &Remote, name: &str, password: &str) -> Verdict {
        let client = Client { session: &facts(), attempt: 3, standing: LoginStanding::Unknown };
        remote.verify_password(&client, name, &secret(password)).await
    }

    #[tokio::test]
    async fn the_service_decides_and_hears_who_asks() {
        let (remote, mut heard) = serve().await;
        assert_eq!(ask(&remote, "anna@example.org", "correct horse").await, Verdict::Good("anna".into()));
        let request = heard.recv().await.unwrap();
        assert!(request.starts_with("GET /smtp HTTP/1.1\r\n"), "{request}");
        for field in [
            "auth-method: plain",
            "auth-user: anna@example.org",
            "auth-pass: correct%20horse",
            "auth-protocol: smtp",
            "auth-login-attempt: 3",
            "client-ip: 192.0.2.7",
            "client-host: [UNAVAILABLE]",
            "auth-smtp-helo: client.test",
            "auth-ssl: on",
            "auth-ssl-protocol: TLSv1.3",
            "x-auth-key: sesame",
        ] {
            assert!(request.lines().any(|line| line == field), "{field}: {request}");
        }
        for (name, password, verdict) in [
            ("anna@example.org", "wrong horse", Verdict::Bad),
            ("nobody", "correct horse", Verdict::Bad),
            ("anna@example.org", "later", Verdict::Unavailable),
            ("anna@example.org", "broken", Verdict::Unavailable),
        ] {
            assert_eq!(ask(&remote, name, password).await, verdict, "{name} {password}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_no_verdict() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        // Somebody is there and says nothing.
        let silent =
            remote(AuthService::Http { url: url.clone(), ca: None, headers: Vec::new() }, Duration::from_millis(100));
        assert_eq!(ask(&silent, "anna", "correct horse").await, Verdict::Unavailable);
        drop(listener);
        let nobody = remote(AuthService::Http { url, ca: None, headers: Vec::new() }, SOON);
        assert_eq!(ask(&nobody, "anna", "correct horse").await, Verdict::Unavailable);
    }

    fn answer(status: u16, fields: &[(&str, &str)]) -> Response {
        let headers = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Response { status, headers, body: Vec::new() }
    }

    #[test]
    fn values_are_escaped_as_nginx_does() {
        assert_eq!(escape(b"a b%\r\n\x7f\xc3\xa4+@"), b"a%20b%25%0D%0A%7F\xc3\xa4+@");
    }

    #[test]
    fn answers_are_judged() {
        let verdict = |status, fields: &[(&str, &str)]| judge(&answer(status, fields), "anna");
        let good = |name: &str| Ok((Verdict::Good(name.into()), Duration::ZERO));
        let bad = |seconds| Ok((Verdict::Bad, Duration::from_secs(seconds)));
        assert_eq!(verdict(200, &[("auth-status", "OK"), ("auth-server", "192.0.2.1")]), good("anna"));
        assert_eq!(verdict(200, &[("auth-status", "OK"), ("auth-user", "anna@example.org")]), good("anna@example.org"));
        assert_eq!(verdict(200, &[("auth-status", "Invalid login or password")]), bad(0));
        assert_eq!(
            verdict(200, &[("auth-status", "No"), ("auth-wait", "3"), ("auth-error-code", "535 5.7.8")]),
            bad(3)
        );
        assert_eq!(verdict(200, &[("auth-status", "No"), ("auth-wait", "9999")]), bad(10));
        for (status, fields) in [
            (200, &[("auth-status", "later"), ("auth-error-code", "454 4.7.0")][..]),
            (200, &[]),
            (200, &[("auth-status", "OK"), ("auth-status", "OK")]),
            (200, &[("auth-status", "OK"), ("auth-user", "")]),
            (500, &[("auth-status", "OK")]),
            (302, &[("auth-status", "OK")]),
            (401, &[]),
        ] {
            assert!(verdict(status, fields).is_err(), "{status} {fields:?}");
        }
    }
}
