//! Cyrus SASL's saslauthd: a UNIX socket, four texts with their lengths, and an answer that begins with OK or NO. One
//! connection a question, as it wants it.
//!
//! It tells neither an unknown name from a wrong password nor its own faults from either: some of its mechanisms say NO
//! when what they ask is away. So its NO is "wrong", and it speaks for every name.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::backend::Verdict;
use super::remote::{Away, identity};
use crate::smtp::sasl::Secret;

/// Octets of its answer; more than a word and a reason is none.
const ANSWER_BYTES_MAX: u16 = 1_024;

pub(super) struct Saslauthd {
    pub(super) socket: PathBuf,
    pub(super) service: String,
    /// For names without one.
    pub(super) realm: String,
}

impl Saslauthd {
    /// # Errors
    /// When it is away, or says something else.
    pub(super) async fn verify(&self, name: &str, password: &Secret) -> Result<Verdict, Away> {
        let broken = |why| Away::because(&self.socket.display().to_string(), why);
        let mut stream = UnixStream::connect(&self.socket).await.map_err(broken)?;
        let question = self.question(name, password).ok_or_else(|| Away("the question is too long".to_owned()))?;
        stream.write_all(question.reveal()).await.map_err(broken)?;
        let length = stream.read_u16().await.map_err(broken)?;
        if length > ANSWER_BYTES_MAX {
            return Err(Away("saslauthd's answer is too long to be one".to_owned()));
        }
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.map_err(broken)?;
        match answer.get(..2) {
            Some(b"OK") => identity(name.as_bytes()).map(Verdict::Good),
            Some(b"NO") => Ok(Verdict::Bad),
            _ => Err(Away("saslauthd says neither OK nor NO".to_owned())),
        }
    }

    /// Login, password, service and realm. What stands behind the last @ of a name is its realm, as Cyrus' own library
    /// has it; `saslauthd -r` puts them together again.
    fn question(&self, name: &str, password: &Secret) -> Option<Secret> {
        let (login, realm) = name.rsplit_once('@').unwrap_or((name, &self.realm));
        let parts = [login.as_bytes(), password.reveal(), self.service.as_bytes(), realm.as_bytes()];
        let mut question = Vec::with_capacity(parts.iter().map(|part| part.len() + 2).sum());
        for part in parts {
            question.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
            question.extend_from_slice(part);
        }
        Some(Secret::new(question))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::UnixListener;

    use super::*;

    /// Takes one question, hands it out, and says this.
    async fn ask(name: &str, says: &'static [u8]) -> (Vec<u8>, Result<Verdict, Away>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("mux");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 1_024];
            let count = stream.read(&mut heard).await.unwrap();
            heard.truncate(count);
            stream.write_all(says).await.unwrap();
            heard
        });
        let saslauthd = Saslauthd { socket, service: "smtp".into(), realm: "inside.test".into() };
        let verdict = saslauthd.verify(name, &Secret::new(b"pw".to_vec())).await;
        (server.await.unwrap(), verdict)
    }

    #[tokio::test]
    async fn answers_obeyed() {
        let (heard, verdict) = ask("anna@a@b.test", b"\0\x02OK").await;
        assert_eq!(heard, b"\0\x06anna@a\0\x02pw\0\x04smtp\0\x06b.test");
        assert_eq!(verdict, Ok(Verdict::Good("anna@a@b.test".into())));
        let (heard, verdict) = ask("anna", b"\0\x0eNO auth failed").await;
        assert_eq!(heard, b"\0\x04anna\0\x02pw\0\x04smtp\0\x0binside.test");
        assert_eq!(verdict, Ok(Verdict::Bad));
    }

    #[tokio::test]
    async fn answers_violated() {
        for says in [&b""[..], b"\0", b"\0\x02", b"\0\x02O", b"\0\0", b"\0\x02XX", b"\xff\xffOK", b"OK\0\0\0\0"] {
            assert!(ask("anna", says).await.1.is_err(), "{says:?}");
        }
        let saslauthd = Saslauthd { socket: "/nonexistent/mux".into(), service: "smtp".into(), realm: String::new() };
        assert!(saslauthd.verify("anna", &Secret::new(b"pw".to_vec())).await.is_err());
    }
}
