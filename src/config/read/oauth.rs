//! What `[[auth.backend]]` says of an OAuth provider.

use crate::config::auth::AuthService;
use crate::config::oauth::{OauthAccounts, OauthKeys, OauthProof, SignatureAlgorithm};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{Url, names};

/// Octets of an issuer, an audience, a scope, a claim's name.
const WORD_BYTES_MAX: usize = 1_024;
/// Audiences, scopes and domains, each.
const WORDS_MAX: usize = 100;
const IDENTITY_DEFAULT: &str = "email";
/// Below the issuer (OpenID Connect Discovery 1.0 section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";
const ISSUER_EXAMPLE: &str = "issuer = \"https://login.example.org\"";

pub(super) fn read(section: &Section<'_>) -> Option<AuthService> {
    let introspected = section.value("introspection").is_some();
    contradictions(section, introspected);
    let issuer =
        if introspected { section.get("issuer", word) } else { section.required("issuer", ISSUER_EXAMPLE, word) };
    let scopes = section.get_or("scope", Vec::new(), |v| words(v, scope));
    let audiences = if introspected {
        section.get_or("audience", Vec::new(), |v| words(v, word))
    } else {
        section.required("audience", "audience = \"smtp\"", |v| words(v, word)).unwrap_or_default()
    };
    if introspected && section.value("audience").is_none() && section.value("scope").is_none() {
        let problem = Problem::at(section.span(), "tokens that were given out for others would be logins here");
        let help = "add `audience` or `scope`, which only those have that are meant for mail";
        section.reader.error(problem.label("no `audience`, no `scope`").help(help));
    }
    let identity = section.get_or("identity", IDENTITY_DEFAULT.to_owned(), word);
    let trust_email = section.get_or("trust-email", false, Value::flag);
    let domains = section.get_or("domains", Vec::new(), |v| words(v, domain));
    let ca = section.get("ca", Value::path);
    let proof = if introspected { introspection(section) } else { signature(section, issuer.as_deref()) };
    Some(AuthService::Oauth(Box::new(OauthAccounts {
        issuer,
        audiences,
        scopes,
        identity,
        trust_email,
        domains,
        ca,
        proof: proof?,
    })))
}

/// Keys that mean nothing beside others.
fn contradictions(section: &Section<'_>, introspected: bool) {
    let in_vain: &[(&'static str, &str)] = if introspected {
        &[
            ("jwks", "the provider is asked for each token, so nobody needs its keys"),
            ("algorithms", "the provider is asked for each token, so no signature is looked at"),
        ]
    } else {
        &[
            ("client-id", "without `introspection` the provider is not asked for tokens"),
            ("client-secret-file", "without `introspection` the provider is not asked for tokens"),
            ("cache", "without `introspection` nobody is asked for a token whose answer could be remembered"),
        ]
    };
    for (key, why) in in_vain {
        if let Some(value) = section.value(key) {
            let help =
                format!("take `{key}` away, or {} `introspection`", if introspected { "write no" } else { "add" });
            section.reader.error(Problem::at(value.span(), *why).label("not used").help(help));
        }
    }
    let by_email =
        section.value("identity").is_none_or(|value| value.text().is_ok_and(|text| text == IDENTITY_DEFAULT));
    if let Some(value) = section.value("trust-email").filter(|_| !by_email) {
        let problem = Problem::at(value.span(), "it is another claim that says whose token it is");
        section.reader.error(problem.label("not used").help("take it away; it is about identity = \"email\""));
    }
}

fn signature(section: &Section<'_>, issuer: Option<&str>) -> Option<OauthProof> {
    let all = || SignatureAlgorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect();
    let algorithms = section.get_or("algorithms", all(), |v| {
        let named = v.list(|item| item.one_of(SignatureAlgorithm::ALL));
        if v.items().is_empty() { Err(v.error("is empty, so no token would be good")) } else { Ok(named) }
    });
    let keys = match section.value("jwks") {
        Some(_) => section.get("jwks", address).map(OauthKeys::At),
        None => {
            let value = section.value("issuer")?;
            let issuer = issuer?;
            let page = format!("{}{DISCOVERY}", issuer.strip_suffix('/').unwrap_or(issuer));
            match Url::parse(&page) {
                Ok(url) if url.query.is_none() && url.is_kept_private() => Some(OauthKeys::Discovered(url)),
                Ok(url) if url.query.is_none() => {
                    section.reader.error(exposed(&value));
                    None
                }
                _ => {
                    let problem = value.error("is no address at which its keys could be found");
                    section.reader.error(problem.help("add jwks = \"https://…\", where its keys are"));
                    None
                }
            }
        }
    };
    Some(OauthProof::Signature { keys: keys?, algorithms })
}

fn introspection(section: &Section<'_>) -> Option<OauthProof> {
    let url = section.get("introspection", address);
    let client_id = section.required("client-id", "client-id = \"wasmilter\"", word);
    let example = "client-secret-file = \"/etc/wasmilter/oauth-secret\"";
    let client_secret_file = section.required("client-secret-file", example, Value::path);
    Some(OauthProof::Introspection { url: url?, client_id: client_id?, client_secret_file: client_secret_file? })
}

/// What is believed of it, and told to it, is nobody else's to change or to hear.
fn address(value: &Value<'_>) -> Result<Url, Problem> {
    let help = "write an address of the web: \"https://login.example.org/jwks\"";
    let url = value.parsed("an address", help, |text| Url::parse(text).map_err(str::to_owned))?;
    if url.is_kept_private() { Ok(url) } else { Err(exposed(value)) }
}

fn exposed(value: &Value<'_>) -> Problem {
    let problem = value.error("would be reached in clear, and whoever is on the way could say who logs in here");
    problem.help("begin it with https://")
}

/// One, or a list.
fn words<T>(value: &Value<'_>, read: impl Fn(&Value<'_>) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
    let count = value.items().len();
    if count == 0 || count > WORDS_MAX {
        return Err(value.error(format!("has to be one to {WORDS_MAX}")));
    }
    Ok(value.list(|item| read(item)))
}

fn word(value: &Value<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    if text.is_empty() || text.len() > WORD_BYTES_MAX || text.contains(char::is_control) {
        return Err(value.error(format!("is not a word of 1 to {WORD_BYTES_MAX} octets")));
    }
    Ok(text)
}

/// RFC 6749 section 3.3.
fn scope(value: &Value<'_>) -> Result<String, Problem> {
    let text = word(value)?;
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        return Ok(text);
    }
    Err(value.error("is not one scope").help("write several as a list: scope = [\"mail\", \"smtp\"]"))
}

fn domain(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a domain", "write it without an @: \"example.org\"", |text| names::domain(text, true))
}
