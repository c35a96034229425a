//! What `[[auth.backend]]` says of an OAuth provider: whose tokens are a login here, and how it is known.

use std::path::PathBuf;

use super::Url;

/// Those who have a token of this provider, for this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthAccounts {
    /// `iss` of a token, octet for octet. None only where the provider is asked for each token.
    pub issuer: Option<String>,
    /// One of these has to be in `aud`. Empty only where the provider is asked, and a scope is demanded instead.
    pub audiences: Vec<String>,
    /// All of these have to be in `scope`.
    pub scopes: Vec<String>,
    /// The claim that says whose token it is.
    pub identity: String,
    /// `email` is believed although nobody says that it was verified.
    pub trust_email: bool,
    /// What an identity has to end in, behind its @, in lower case; empty: nothing in particular.
    pub domains: Vec<String>,
    /// None: the platform's roots.
    pub ca: Option<PathBuf>,
    pub proof: OauthProof,
}

impl OauthAccounts {
    /// Where the provider says of itself what programs need to know.
    #[must_use]
    pub fn page(&self) -> Option<&Url> {
        match &self.proof {
            OauthProof::Signature { keys: OauthKeys::Discovered(page), .. } => Some(page),
            _ => None,
        }
    }
}

/// How it is known that a token is the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OauthProof {
    /// It is a JWT (RFC 9068), with a signature of one of the provider's keys.
    Signature { keys: OauthKeys, algorithms: Vec<SignatureAlgorithm> },
    /// The provider says so (RFC 7662).
    Introspection { url: Url, client_id: String, client_secret_file: PathBuf },
}

/// Where its keys are (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OauthKeys {
    At(Url),
    /// Where this page (OpenID Connect Discovery 1.0) says that they are.
    Discovered(Url),
}

/// Signatures with a key that only the provider has (RFC 7518 section 3, RFC 8037). Those with a shared one, and
/// `none`, have no name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl SignatureAlgorithm {
    /// Each with its name in `alg`.
    pub const ALL: &'static [(&'static str, SignatureAlgorithm)] = &[
        ("RS256", SignatureAlgorithm::Rs256),
        ("RS384", SignatureAlgorithm::Rs384),
        ("RS512", SignatureAlgorithm::Rs512),
        ("PS256", SignatureAlgorithm::Ps256),
        ("PS384", SignatureAlgorithm::Ps384),
        ("PS512", SignatureAlgorithm::Ps512),
        ("ES256", SignatureAlgorithm::Es256),
        ("ES384", SignatureAlgorithm::Es384),
        ("EdDSA", SignatureAlgorithm::EdDsa),
    ];

    /// Case counts (RFC 7515 section 4.1.1).
    #[must_use]
    pub fn parse(name: &str) -> Option<SignatureAlgorithm> {
        SignatureAlgorithm::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }
}
