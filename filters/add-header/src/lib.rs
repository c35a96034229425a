//! Adds header fields the operator names, and takes forged ones away.
//!
//! Stage: headers. Grants: `edit = { headers = [...] }` with every name that is added or removed. Settings:
//!
//! ```toml
//! [filter.settings]
//! # Fields to add, by name. In a value, {id} is the transaction's, {session} the session's, {peer} the client's
//! # address, {name} its confirmed host name, {helo} what it called itself, {identity} who logged in, {sender}
//! # the reverse-path, {listener} where it came in; "unknown" where there is nothing. Default: one, as here.
//! fields = { X-Wasmilter = "{id} from {peer} by {listener}" }
//! # Fields to take away before that: names, or the beginning of names with a "*". Default: none.
//! remove = ["X-Spam-*"]
//! # Whether fields that are added here are taken away when the client wrote them itself. Default: true.
//! replace = true
//! # Where they go: "top" or "bottom" of the header block. Default: "top".
//! place = "top"
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use wasmilter_filter::*;

#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Settings {
    fields: BTreeMap<String, String>,
    remove: Vec<String>,
    replace: bool,
    place: Place,
}

#[derive(Deserialize)]
enum Place {
    #[serde(rename = "top")]
    Top,
    #[serde(rename = "bottom")]
    Bottom,
}

impl Default for Settings {
    fn default() -> Self {
        let fields = [("X-Wasmilter".to_owned(), "{id} from {peer} by {listener}".to_owned())].into();
        Settings { fields, remove: Vec::new(), replace: true, place: Place::Top }
    }
}

#[derive(Default)]
struct AddHeader(Settings);

impl Filter for AddHeader {
    fn about() -> About {
        About::new(env!("CARGO_PKG_VERSION"), "adds header fields, and takes forged ones away")
            .phase(Phase::Transform)
            .settings(include_str!("../settings.json"))
    }

    fn init(&mut self) -> Result<(), String> {
        self.0 = config()?;
        Ok(())
    }

    fn headers(&mut self, fields: &Headers) -> Verdict {
        match self.take_away(fields).and_then(|()| self.add()) {
            Ok(()) => next(),
            // Letting it pass would let a forged field pass.
            Err(wrong) => defer("4.3.5", "Local configuration error").because(wrong),
        }
    }
}

impl AddHeader {
    fn take_away(&self, fields: &Headers) -> Result<(), String> {
        // From the bottom, so that the places of those above stay what they are.
        for (place, field) in fields.iter().enumerate().rev().filter(|(_, field)| self.is_unwanted(&field.name)) {
            let above = fields.iter().take(place).filter(|above| above.is(&field.name)).count();
            edit::remove_header(&field.name, u32::try_from(above).unwrap_or(u32::MAX))
                .map_err(|wrong| format!("{} cannot be removed: {wrong:?}", field.name))?;
        }
        Ok(())
    }

    fn add(&self) -> Result<(), String> {
        (0..).zip(&self.0.fields).try_for_each(|(nth, (name, value))| {
            let value = filled(value, fact);
            let added = match self.0.place {
                Place::Top => edit::insert_header(nth, name, &value),
                Place::Bottom => edit::append_header(name, &value),
            };
            added.map_err(|wrong| format!("{name} cannot be added: {wrong:?}"))
        })
    }

    fn is_unwanted(&self, name: &str) -> bool {
        self.0.remove.iter().any(|pattern| is_like(name, pattern))
            || self.0.replace && self.0.fields.keys().any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
        None => name.eq_ignore_ascii_case(pattern),
    }
}

/// `template` with each `{word}` that means something replaced by it, once: what was put in is not looked at again.
fn filled(template: &str, meaning: impl Fn(&str) -> Option<String>) -> String {
    let mut pieces = template.split('{');
    let mut value = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        match piece.split_once('}').and_then(|(word, rest)| Some((meaning(word)?, rest))) {
            Some((said, rest)) => value.extend([text::ascii(&said).as_str(), rest]),
            None => value.extend(["{", piece]),
        }
    }
    value
}

fn fact(word: &str) -> Option<String> {
    let known = match word {
        "id" => envelope().id(),
        "session" => Some(session().id()),
        "peer" => Some(session().peer().address),
        "name" => session().peer_name(),
        "helo" => session().helo(),
        "identity" => session().auth().map(|login| login.identity),
        "sender" => envelope().sender().map(|path| format!("<{}>", path.address)),
        "listener" => Some(session().listener()),
        _ => return None,
    };
    Some(known.unwrap_or_else(|| "unknown".to_owned()))
}

export!(AddHeader: about, init, headers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_once() {
        let meaning = |word: &str| (word == "helo").then(|| "{helo}\r\nX: ü".to_owned());
        assert_eq!(filled("{{helo} {other} {helo", meaning), "{{helo}??X: ? {other} {helo");
        assert!(is_like("x-SPAM-Score", "X-Spam-*") && is_like("a", "A") && !is_like("ab", "a") && is_like("é", "*"));
    }
}
