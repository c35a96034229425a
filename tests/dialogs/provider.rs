//! What the dialogs' OAuth provider has to say: its keys at `/keys`, 503 everywhere else.
//!
//! Its key is that of RFC 8037 appendix A, whose private half everybody knows: tokens in dialogs are made with it, and
//! are good until the year 2100.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"rfc8037","use":"sig","alg":"EdDSA",
"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// Where it listens, for as long as the runtime lives: `http://127.0.0.1:…`.
pub(crate) async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let heard = stream.read_buf(&mut request).await.unwrap_or(0);
                    if heard == 0 || request.len() > HEAD_BYTES_MAX {
                        return;
                    }
                }
                let (status, body) =
                    if request.starts_with(b"GET /keys HTTP/1.1\r\n") { ("200 OK", KEYS) } else { ("503 Away", "") };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}
