//! A mail program as far as a login goes: TLS, EHLO, AUTH, with rsasl's side of each mechanism.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::SCRAM_SHA256_PLUS;
use rsasl::prelude::{Mechname, Registry, SASLClient, SASLConfig, Session, SessionError};
use rsasl::property::{AuthId, AuthzId, OAuthBearerToken, Password};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

/// Who wants to log in, and what it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) name: &'static str,
    pub(crate) acting_for: Option<&'static str>,
    pub(crate) password: &'static str,
    pub(crate) token: &'static str,
    /// The client could bind to the connection, whatever it was offered.
    pub(crate) binds: bool,
    /// What it takes the connection for.
    pub(crate) binding: Vec<u8>,
}

impl SessionCallback for Credentials {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(self.name)?;
        request.satisfy::<Password>(self.password.as_bytes())?;
        request.satisfy::<OAuthBearerToken>(self.token)?;
        request.satisfy::<rsasl::property::ChannelBindings>(&self.binding)?;
        if let Some(other) = self.acting_for {
            request.satisfy::<AuthzId>(other)?;
        }
        // What a server says of a bad token is heard, and no more.
        let _ = request.get_action::<rsasl::mechanisms::oauthbearer::properties::OAuthBearerErrored>();
        let _ = request.get_action::<rsasl::mechanisms::xoauth2::properties::XOAuth2Error>();
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.binds
    }
}

/// rsasl's side of one exchange.
pub(crate) fn exchange(mechanism: &str, credentials: Credentials) -> Session {
    let builder = SASLConfig::builder();
    // By itself rsasl 2.3.1 makes the unbound machine for the name of the bound one.
    let builder = match mechanism {
        "SCRAM-SHA-256-PLUS" => {
            builder.with_registry(Registry::with_mechanisms(std::slice::from_ref(&SCRAM_SHA256_PLUS)))
        }
        _ => builder.with_default_mechanisms(),
    };
    let config = builder.with_callback(credentials).unwrap();
    let name = Mechname::parse(mechanism.as_bytes()).unwrap();
    SASLClient::new(config).start_suggested(&[name]).unwrap()
}

/// Its next message, in base64.
pub(crate) fn answer(session: &mut Session, challenge: Option<&str>) -> Result<String, SessionError> {
    let challenge = challenge.map(|text| STANDARD.decode(text).unwrap());
    let mut said = Vec::new();
    session.step(challenge.as_deref(), &mut said)?;
    Ok(STANDARD.encode(said))
}

/// A certificate to show, and its key, both PEM.
pub(crate) struct Shown<'a> {
    pub(crate) certificate: &'a str,
    pub(crate) key: &'a str,
}

pub(crate) struct Client {
    io: BufReader<TlsStream<TcpStream>>,
    pub(crate) binding: Vec<u8>,
    pub(crate) offer: String,
}

pub(crate) static NEW: &[&SupportedProtocolVersion] = &[&version::TLS13];
pub(crate) static OLD: &[&SupportedProtocolVersion] = &[&version::TLS12];

impl Client {
    /// Connects with TLS from the first octet, and says EHLO.
    pub(crate) async fn connect(
        to: SocketAddr,
        authority: &str,
        versions: &'static [&'static SupportedProtocolVersion],
        shown: Option<Shown<'_>>,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(Shown { certificate, key }) => {
                let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![leaf], key).unwrap()
            }
        };
        let tcp = TcpStream::connect(to).await.unwrap();
        let name = ServerName::try_from("mx.example.org").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let binding = tls.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
        let mut client = Client { io: BufReader::new(tls), binding: binding.to_vec(), offer: String::new() };
        assert!(client.reply().await.starts_with("220 "));
        let offer = client.say("EHLO client.test").await;
        let offer = offer.lines().find_map(|line| line.strip_prefix("250-AUTH ")).unwrap_or_default();
        client.offer = offer.to_owned();
        client
    }

    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.io.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.io.flush().await.unwrap();
        self.reply().await
    }

    /// All lines of it.
    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.io.read_line(&mut line).await.unwrap(), 0, "the gateway is gone after {reply}");
            reply += &line;
            if line.as_bytes()[3] == b' ' {
                return reply.trim_end_matches("\r\n").to_owned();
            }
        }
    }

    /// The reply that ends it. `initial`: the first message comes with the command.
    pub(crate) async fn log_in(&mut self, mechanism: &str, credentials: Credentials, initial: bool) -> String {
        let mut session = exchange(mechanism, credentials);
        let mut reply = if initial && session.are_we_first() {
            let said = answer(&mut session, None).unwrap();
            let said = if said.is_empty() { "=" } else { &said };
            self.say(&format!("AUTH {mechanism} {said}")).await
        } else {
            self.say(&format!("AUTH {mechanism}")).await
        };
        while let Some(challenge) = reply.strip_prefix("334 ").map(str::to_owned) {
            let challenge = Some(challenge.as_str()).filter(|text| !text.is_empty());
            let said = match answer(&mut session, challenge) {
                Ok(said) => said,
                Err(error) => panic!("{mechanism}: the gateway's message is not taken: {error}"),
            };
            reply = self.say(&said).await;
        }
        reply
    }
}
