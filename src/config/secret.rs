//! `${NAME}` in a text: a secret, or whatever else differs from one machine to the next, comes from the environment
//! and stands in no file. `$${` is a `${` that is meant literally. Nothing else is done to a text.

use super::reader::Environment;

/// Why a text could not be completed. Never holds a value of the environment.
pub(super) struct Unexpandable {
    pub(super) title: String,
    pub(super) help: String,
}

/// Replaces each `${NAME}`. What was put in is not looked at again.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<String, Unexpandable> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (name, after) = after.split_once('}').ok_or_else(|| Unexpandable {
            title: "`${` is not followed by a name and `}`".to_owned(),
            help: "write \"${NAME}\"; if the characters themselves are meant, write \"$${\"".to_owned(),
        })?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Unexpandable {
                title: "what stands in `${}` is not the name of an environment variable".to_owned(),
                help: "a name has letters, digits and `_`; if the characters themselves are meant, write \"$${\""
                    .to_owned(),
            });
        }
        let value = environment(name).ok_or_else(|| Unexpandable {
            title: format!("the environment variable `{name}` is not set"),
            help: format!("set {name} for the gateway: in a systemd unit with Environment= or EnvironmentFile="),
        })?;
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let environment = |name: &str| (name == "KEY").then(|| "${KEY}!".to_owned());
        expand(text, &environment).map_err(|why| why.title)
    }

    #[test]
    fn names_are_replaced_once() {
        assert_eq!(expanded("plain $ {x} $1"), Ok("plain $ {x} $1".to_owned()));
        assert_eq!(expanded("a${KEY}b${KEY}"), Ok("a${KEY}!b${KEY}!".to_owned()));
        assert_eq!(expanded("$${KEY}"), Ok("${KEY}".to_owned()));
        assert!(expanded("${NONE}").unwrap_err().contains("`NONE` is not set"));
        assert!(expanded("${").is_err());
        assert!(expanded("${a b}").is_err());
    }
}
