//! As much of Dovecot as a dialog needs: whoever says AUTH there is answered by the mechanism alone, and whoever says
//! CONT by what was said. The real one is asked in `tests/accounts`.

use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

const HELLO: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\nMECH\tX-FIRST\nMECH\tX-LAST\n\
                     MECH\tX-AWAY\nMECH\tX-GONE\nDONE\n";
/// The example of RFC 2195, whose digest is right.
const CRAM_CHALLENGE: &str = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
const CRAM_ANSWER: &str = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";

/// Listens as long as the runtime lives.
pub(crate) fn listen(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
}

async fn serve(stream: UnixStream) {
    let (reading, mut writing) = stream.into_split();
    let _ = writing.write_all(HELLO.as_bytes()).await;
    let mut lines = BufReader::new(reading).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let fields: Vec<&str> = line.split('\t').collect();
        let (id, said) = (fields.get(1).copied().unwrap_or_default(), fields.get(2).copied().unwrap_or_default());
        let initial = fields.last().and_then(|last| last.strip_prefix("resp="));
        let answer = match (fields[0], said, initial) {
            ("AUTH", "CRAM-MD5", None) => format!("CONT\t{id}\t{CRAM_CHALLENGE}\n"),
            ("CONT", CRAM_ANSWER, _) => format!("OK\t{id}\tuser=tim@example.org\n"),
            // "first", by itself or after an empty challenge.
            ("AUTH", "X-FIRST", None) => format!("CONT\t{id}\t\n"),
            ("AUTH", "X-FIRST", Some("Zmlyc3Q=")) | ("CONT", "Zmlyc3Q=", _) => {
                format!("OK\t{id}\tuser=tim@example.org\n")
            }
            ("AUTH", "X-LAST", Some(_)) => format!("OK\t{id}\tuser=tim@example.org\tresp=dj1sYXN0\n"),
            ("AUTH", "X-AWAY", _) => format!("FAIL\t{id}\ttemp\n"),
            ("AUTH", "X-GONE", _) => return,
            ("AUTH" | "CONT", ..) => format!("FAIL\t{id}\tuser=tim\n"),
            _ => continue,
        };
        let _ = writing.write_all(answer.as_bytes()).await;
    }
}
