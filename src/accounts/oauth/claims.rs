//! What a token says of itself, held against what the operator demands. Whether it is the provider who says so was
//! settled before; time is an argument.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::accounts::remote::identity;

pub(super) type Claims = Map<String, Value>;

/// The clocks of provider and gateway may differ by this.
pub(super) const LEEWAY: Duration = Duration::from_secs(60);

/// Why a token is no login. Never what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("its signature is of a kind that is not allowed, or it has none")]
    Algorithm,
    #[error("it is a token for another purpose, or has extensions that must not be ignored")]
    Header,
    #[error("its signature is not one of the provider's")]
    Signature,
    #[error("it has no `exp`, or what is no time in `exp`, `nbf` or `iat`")]
    Times,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet: do the clocks differ?")]
    Early,
    #[error("`iss` is not the issuer")]
    Issuer,
    #[error("`aud` names none of our audiences: it was given out for somebody else")]
    Audience,
    #[error("a scope is missing that is demanded")]
    Scope,
    #[error("it is bound to a key (`cnf`), which nobody can show here")]
    Bound,
    #[error("its `token_type` is not Bearer: it is for something else, or has to be shown in another way")]
    Kind,
    #[error("the claim that `identity` names is missing, or is no name")]
    Identity,
    #[error("`email_verified` is not true; see trust-email")]
    Unverified,
    #[error("the identity is in none of the domains")]
    Domain,
}

/// A login, and how long the token is still good; None: nobody says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) identity: Arc<str>,
    pub(super) left: Option<Duration>,
}

/// What is demanded; see `config::OauthAccounts`.
pub(super) struct Demands {
    pub(super) issuer: Option<String>,
    pub(super) audiences: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) identity: String,
    pub(super) trust_email: bool,
    pub(super) domains: Vec<String>,
    /// A token that does not say when it ends is none.
    pub(super) expiry: bool,
}

impl Demands {
    /// Whether a token says that it is of another issuer than ours.
    pub(super) fn is_foreign(&self, claims: &Claims) -> bool {
        self.issuer.as_ref().is_some_and(|ours| text(claims, "iss") != Some(ours))
    }

    /// `now`: since 1970.
    pub(super) fn judge(&self, claims: &Claims, now: Duration) -> Result<Owner, Refused> {
        if self.is_foreign(claims) {
            return Err(Refused::Issuer);
        }
        let left = self.time(claims, now)?;
        if !self.audiences.is_empty() && !self.audiences.iter().any(|ours| has_word(claims.get("aud"), ours)) {
            return Err(Refused::Audience);
        }
        // `scp` is what some say instead.
        let granted = |scope: &String| {
            ["scope", "scp"].iter().any(|claim| match claims.get(*claim) {
                Some(Value::String(several)) => several.split(' ').any(|one| one == scope),
                other => has_word(other, scope),
            })
        };
        if !self.scopes.iter().all(granted) {
            return Err(Refused::Scope);
        }
        if claims.contains_key("cnf") {
            return Err(Refused::Bound);
        }
        if claims.get("token_type").is_some_and(|kind| !is_bearer(kind)) {
            return Err(Refused::Kind);
        }
        Ok(Owner { identity: self.owner(claims)?, left })
    }

    fn time(&self, claims: &Claims, now: Duration) -> Result<Option<Duration>, Refused> {
        let time = |claim| match claims.get(claim) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(Refused::Times),
        };
        let (now, leeway) = (now.as_secs_f64(), LEEWAY.as_secs_f64());
        for beginning in ["nbf", "iat"] {
            if time(beginning)?.is_some_and(|from| from > now + leeway) {
                return Err(Refused::Early);
            }
        }
        match time("exp")? {
            None if self.expiry => Err(Refused::Times),
            None => Ok(None),
            Some(end) if end + leeway <= now => Err(Refused::Expired),
            // Nothing is remembered for longer than the token itself says; one that never ends has no end here, either.
            Some(end) => Ok(Some(Duration::try_from_secs_f64((end - now).max(0.0)).unwrap_or(Duration::MAX))),
        }
    }

    fn owner(&self, claims: &Claims) -> Result<Arc<str>, Refused> {
        let name = text(claims, &self.identity).ok_or(Refused::Identity)?;
        let owner = identity(name.as_bytes()).map_err(|_| Refused::Identity)?;
        if self.identity == "email" && !self.trust_email && !is_true(claims.get("email_verified")) {
            return Err(Refused::Unverified);
        }
        let domain = owner.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        if !self.domains.is_empty() && !domain.is_some_and(|domain| self.domains.contains(&domain)) {
            return Err(Refused::Domain);
        }
        Ok(owner)
    }
}

fn text<'a>(claims: &'a Claims, claim: &str) -> Option<&'a str> {
    claims.get(claim).and_then(Value::as_str)
}

fn is_bearer(kind: &Value) -> bool {
    kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
}

/// Some write it as a word.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(word)) => word == "true",
        _ => false,
    }
}

/// The value itself, or one of several.
fn has_word(value: Option<&Value>, word: &str) -> bool {
    match value {
        Some(Value::String(one)) => one == word,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(word)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn demands() -> Demands {
        Demands {
            issuer: Some("https://login.test".into()),
            audiences: vec!["smtp".into(), "mail".into()],
            scopes: vec!["send".into()],
            identity: "email".into(),
            trust_email: false,
            domains: Vec::new(),
            expiry: true,
        }
    }

    /// A good one, with some claims in place of its own; null takes one away.
    fn claims(other: &Value) -> Claims {
        let mut claims = json!({
            "iss": "https://login.test", "aud": "smtp", "scope": "openid send", "exp": NOW + 300, "iat": NOW,
            "email": "anna@example.org", "email_verified": true
        });
        for (claim, value) in other.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(claim),
                value => claims.as_object_mut().unwrap().insert(claim.clone(), value.clone()),
            };
        }
        claims.as_object().unwrap().clone()
    }

    fn judge(demands: &Demands, other: &Value) -> Result<String, Refused> {
        demands.judge(&claims(other), Duration::from_secs(NOW)).map(|owner| owner.identity.to_string())
    }

    #[test]
    fn what_is_demanded_has_to_be_there() {
        let good = Ok("anna@example.org".to_owned());
        for other in [
            json!({}),
            json!({"aud": ["somebody", "mail"]}),
            json!({"scope": "send"}),
            json!({"scope": null, "scp": ["send"]}),
            json!({"scope": null, "scp": "read send"}),
            json!({"email_verified": "true"}),
            json!({"nbf": NOW, "iat": null}),
            json!({"exp": NOW + 1, "nbf": 1.5, "iat": NOW + 60}),
            json!({"exp": NOW - 59}),
            json!({"token_type": "bearer"}),
        ] {
            assert_eq!(judge(&demands(), &other), good, "{other}");
        }
        for (other, why) in [
            (json!({"iss": "https://login.test/"}), Refused::Issuer),
            (json!({"iss": null}), Refused::Issuer),
            (json!({"iss": ["https://login.test"]}), Refused::Issuer),
            (json!({"aud": null}), Refused::Audience),
            (json!({"aud": "smtp mail"}), Refused::Audience),
            (json!({"aud": ["SMTP"]}), Refused::Audience),
            (json!({"aud": {"smtp": true}}), Refused::Audience),
            (json!({"aud": [["smtp"]]}), Refused::Audience),
            (json!({"scope": null}), Refused::Scope),
            (json!({"scope": "sender resend"}), Refused::Scope),
            (json!({"exp": null}), Refused::Times),
            (json!({"exp": "1900000000"}), Refused::Times),
            (json!({"exp": true}), Refused::Times),
            (json!({"nbf": "x"}), Refused::Times),
            (json!({"iat": []}), Refused::Times),
            (json!({"exp": NOW - 60}), Refused::Expired),
            (json!({"exp": -1}), Refused::Expired),
            (json!({"nbf": NOW + 61}), Refused::Early),
            (json!({"iat": NOW + 61}), Refused::Early),
            (json!({"cnf": {"jkt": "x"}}), Refused::Bound),
            (json!({"token_type": "DPoP"}), Refused::Kind),
            (json!({"email": null}), Refused::Identity),
            (json!({"email": ["anna@example.org"]}), Refused::Identity),
            (json!({"email": ""}), Refused::Identity),
            (json!({"email": "anna\r\nroot"}), Refused::Identity),
            (json!({"email": "a".repeat(256)}), Refused::Identity),
            (json!({"email_verified": false}), Refused::Unverified),
            (json!({"email_verified": null}), Refused::Unverified),
            (json!({"email_verified": 1}), Refused::Unverified),
        ] {
            assert_eq!(judge(&demands(), &other), Err(why), "{other}");
        }
    }

    #[test]
    fn what_is_not_demanded_may_be_missing() {
        let trusting = Demands { trust_email: true, ..demands() };
        assert!(judge(&trusting, &json!({"email_verified": null})).is_ok());
        let by_name = Demands { identity: "sub".into(), ..demands() };
        assert_eq!(judge(&by_name, &json!({"sub": "4711", "email_verified": null})), Ok("4711".into()));
        assert_eq!(judge(&by_name, &json!({"sub": 4711})), Err(Refused::Identity));
        let asked = Demands { issuer: None, audiences: Vec::new(), expiry: false, ..demands() };
        assert!(judge(&asked, &json!({"iss": null, "aud": null, "exp": null})).is_ok());
        assert_eq!(judge(&asked, &json!({"exp": NOW - 60})), Err(Refused::Expired));
    }

    #[test]
    fn only_those_of_the_domains() {
        let ours = Demands { domains: vec!["example.org".into(), "example.net".into()], ..demands() };
        assert!(judge(&ours, &json!({})).is_ok());
        assert!(judge(&ours, &json!({"email": "anna@Example.NET"})).is_ok());
        for other in ["anna", "anna@example.com", "anna@x.example.org", "anna@example.org@example.com", "example.org"] {
            assert_eq!(judge(&ours, &json!({"email": other})), Err(Refused::Domain), "{other}");
        }
    }

    #[test]
    fn it_is_known_how_long_a_token_is_good() {
        let left = |exp: Value| demands().judge(&claims(&json!({"exp": exp})), Duration::from_secs(NOW)).unwrap().left;
        assert_eq!(left(json!(NOW + 300)), Some(Duration::from_secs(300)));
        assert_eq!(left(json!(NOW - 30)), Some(Duration::ZERO));
        assert_eq!(left(json!(1e300)), Some(Duration::MAX));
    }
}
