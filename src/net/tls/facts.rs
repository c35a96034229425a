//! What a finished handshake came to, in the spelling mail logs and Received fields have always used (OpenSSL's).

use std::sync::Arc;

use rustls::{CipherSuite, CommonState, ProtocolVersion, ServerConnection};

use super::{ClientTls, ServerTls};
use crate::mail::TlsFacts;
use crate::smtp::sasl::ChannelBinding;

/// Of a connection on which we are the server, once its handshake is done.
pub(super) fn of_server(tls: &ServerTls) -> TlsFacts {
    let (_, connection) = tls.get_ref();
    TlsFacts {
        sni: connection.server_name().map(Arc::from),
        channel_binding: channel_binding(connection),
        ..common(connection)
    }
}

/// `tls-exporter` (RFC 9266). Only of TLS 1.3: whether a connection of TLS 1.2 has the extended master secret, without
/// which it binds to nothing, rustls does not say.
fn channel_binding(connection: &ServerConnection) -> Option<ChannelBinding> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    let octets = [0; ChannelBinding::OCTETS];
    let exported = connection.export_keying_material(octets, b"EXPORTER-Channel-Binding", Some(b"")).ok()?;
    Some(ChannelBinding::new(exported))
}

/// Of a connection on which we are the client.
pub(super) fn of_client(tls: &ClientTls) -> TlsFacts {
    let (_, connection) = tls.get_ref();
    common(connection)
}

fn common(state: &CommonState) -> TlsFacts {
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        // rustls speaks no other; a handshake that is done has a version.
        _ => "TLS",
    };
    let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
    let (cipher, bits) = suite.map_or_else(|| (Arc::from("unknown"), 0), cipher);
    TlsFacts::new(version, cipher, bits)
}

/// A cipher suite in OpenSSL's spelling, and the bits of its key.
pub(super) fn cipher(suite: CipherSuite) -> (Arc<str>, u16) {
    let (name, bits) = match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => ("TLS_AES_256_GCM_SHA384", 256),
        CipherSuite::TLS13_AES_128_GCM_SHA256 => ("TLS_AES_128_GCM_SHA256", 128),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => ("TLS_CHACHA20_POLY1305_SHA256", 256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => ("ECDHE-ECDSA-AES256-GCM-SHA384", 256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => ("ECDHE-ECDSA-AES128-GCM-SHA256", 128),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => ("ECDHE-ECDSA-CHACHA20-POLY1305", 256),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => ("ECDHE-RSA-AES256-GCM-SHA384", 256),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => ("ECDHE-RSA-AES128-GCM-SHA256", 128),
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => ("ECDHE-RSA-CHACHA20-POLY1305", 256),
        other => {
            let name = format!("{other:?}");
            let bits = if name.contains("128") { 128 } else { 256 };
            return (Arc::from(name), bits);
        }
    };
    (Arc::from(name), bits)
}
