//! Settings against the JSON Schema that a filter ships.
//!
//! The schema is a stranger's: it is looked through before anybody works with it, so that neither depth nor size, nor
//! references that multiply, nor patterns make the check long. Nothing is ever fetched.

use boon::{Compiler, Draft, ErrorKind, InstanceToken, Schemas, UrlLoader, ValidationError};
use regex::RegexBuilder;
use serde_json::Value;

use super::answer::{excerpt, excerpt_of};
use crate::config::WrongSetting;

/// Objects and lists inside each other.
const DEPTH_MAX: usize = 32;
/// Values of a schema, with those behind each reference counted as often as they are referred to.
const VALUES_MAX: usize = 20_000;
/// Regular expressions.
const PATTERNS_MAX: usize = 64;
/// Octets of one of them, compiled.
const PATTERN_COMPILED_BYTES_MAX: usize = 256 << 10;
/// Octets of a schema's own words in a sentence of ours.
const QUOTED_BYTES_MAX: usize = 200;
/// Settings that are named when they are wrong.
const WRONG_MAX: usize = 20;
/// What the schema is called while it is compiled; nobody asks for it.
const NAME: &str = "https://filter.invalid/settings.json";
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Keywords that change what a reference means, and are of no use in a schema that stands alone.
const REFUSED: [&str; 6] = ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary"];

/// The settings that do not fit. Blocks, for milliseconds.
///
/// # Errors
/// What is wrong with the schema itself.
pub(super) fn check(schema: &str, settings: &str) -> Result<Vec<WrongSetting>, String> {
    let bad = |why: String| format!("ships a settings-schema that cannot be used: {why}");
    let mut schema: Value = serde_json::from_str(schema).map_err(|e| bad(format!("it is not JSON: {e}")))?;
    if let Some(object) = schema.as_object_mut() {
        object.remove("$id");
        if object.get("$schema").is_some_and(|dialect| dialect != DIALECT) {
            return Err(bad(format!("its $schema is not {DIALECT}")));
        }
    }
    Survey::default().of(&schema, &schema, 0).map_err(bad)?;
    let settings: Value = serde_json::from_str(settings).map_err(|e| format!("settings that are not JSON: {e}"))?;
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.use_loader(Box::new(Nowhere));
    let mut schemas = Schemas::new();
    compiler.add_resource(NAME, schema.clone()).map_err(|e| bad(e.to_string()))?;
    let compiled = compiler.compile(NAME, &mut schemas);
    let place = compiled.map_err(|e| bad(excerpt_of(&format!("{e:#}"), QUOTED_BYTES_MAX * 2)))?;
    let mut wrong = Vec::new();
    if let Err(error) = schemas.validate(&settings, place) {
        leaves(&error, &mut wrong);
        for one in &mut wrong {
            one.about = told(&schema, &one.at);
        }
    }
    Ok(wrong)
}

/// Fetches nothing.
struct Nowhere;

impl UrlLoader for Nowhere {
    fn load(&self, url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err(format!("{} would have to be fetched", excerpt(url)).into())
    }
}

/// Walks through a schema as a validator might, and gives up where that would be long.
#[derive(Default)]
struct Survey<'a> {
    values: usize,
    patterns: usize,
    /// References that are being followed.
    within: Vec<&'a str>,
}

impl<'a> Survey<'a> {
    fn of(&mut self, root: &'a Value, value: &'a Value, depth: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(format!("with its references followed it has more than {VALUES_MAX} values"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.of(root, item, depth + 1)),
            Value::Object(object) => object.iter().try_for_each(|(key, value)| {
                self.keyword(root, key, value, depth)?;
                self.of(root, value, depth + 1)
            }),
            _ => Ok(()),
        }
    }

    fn keyword(&mut self, root: &'a Value, key: &str, value: &'a Value, depth: usize) -> Result<(), String> {
        match (key, value) {
            ("$ref", Value::String(to)) => self.reference(root, to, depth),
            ("pattern", Value::String(pattern)) => self.pattern(pattern),
            ("patternProperties", Value::Object(object)) => object.keys().try_for_each(|pattern| self.pattern(pattern)),
            (key, Value::String(_)) if REFUSED.contains(&key) => Err(format!("it has a `{key}`")),
            ("$schema", Value::String(dialect)) if dialect != DIALECT => Err("it changes its $schema".into()),
            _ => Ok(()),
        }
    }

    fn reference(&mut self, root: &'a Value, to: &'a str, depth: usize) -> Result<(), String> {
        let target = to.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let target = target
            .ok_or_else(|| format!("it refers to {}: references stay within it, like #/$defs/NAME", excerpt(to)))?;
        let value = root.pointer(target).ok_or_else(|| format!("it refers to {}, which it has not", excerpt(to)))?;
        if self.within.contains(&target) {
            return Err(format!("{} refers to itself", excerpt(to)));
        }
        self.within.push(target);
        let seen = self.of(root, value, depth + 1);
        self.within.pop();
        seen
    }

    /// These run in time that grows with the text alone, whatever they say.
    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(format!("it has more than {PATTERNS_MAX} patterns"));
        }
        let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_COMPILED_BYTES_MAX).build();
        compiled.map(drop).map_err(|_| {
            format!(
                "its pattern {} is none, is too large, or looks around or back, which is not done",
                excerpt(pattern)
            )
        })
    }
}

/// What went wrong where nothing below it did.
fn leaves(error: &ValidationError<'_, '_>, wrong: &mut Vec<WrongSetting>) {
    if wrong.len() >= WRONG_MAX {
        return;
    }
    let through = matches!(
        error.kind,
        ErrorKind::Group
            | ErrorKind::Schema { .. }
            | ErrorKind::Reference { .. }
            | ErrorKind::ContentSchema
            | ErrorKind::AllOf
    );
    if through && !error.causes.is_empty() {
        return error.causes.iter().for_each(|cause| leaves(cause, wrong));
    }
    let tokens = error.instance_location.tokens.iter();
    let at: Vec<String> = tokens
        .map(|token| match token {
            InstanceToken::Prop(name) => excerpt(name),
            InstanceToken::Item(place) => place.to_string(),
        })
        .collect();
    if let ErrorKind::AdditionalProperties { got } = &error.kind {
        wrong.extend(got.iter().take(WRONG_MAX).map(|name| {
            let at = at.iter().cloned().chain([excerpt(name)]).collect();
            WrongSetting { at, why: "is none that it has".into(), about: None }
        }));
        return;
    }
    wrong.push(WrongSetting { at, why: why(&error.kind), about: None });
}

/// Never the setting itself, which may be somebody's key.
fn why(kind: &ErrorKind<'_, '_>) -> String {
    let shown = |value: &dyn std::fmt::Display| excerpt_of(&value.to_string(), QUOTED_BYTES_MAX);
    match kind {
        ErrorKind::Type { want, .. } => {
            let names: Vec<&str> = want.iter().map(type_name).collect();
            format!("must be {}", names.join(" or "))
        }
        ErrorKind::Enum { want } => {
            let choices: Vec<String> = want.iter().map(ToString::to_string).collect();
            format!("must be one of {}", shown(&choices.join(", ")))
        }
        ErrorKind::Const { want } => format!("must be {}", shown(want)),
        ErrorKind::Required { want } => format!("lack `{}`", shown(&want.join("`, `"))),
        ErrorKind::Pattern { want, .. } => format!("must match the pattern {}", shown(want)),
        ErrorKind::MinLength { want, .. } => format!("must have at least {want} characters"),
        ErrorKind::MaxLength { want, .. } => format!("must have at most {want} characters"),
        ErrorKind::MinItems { want, .. } => format!("must have at least {want} items"),
        ErrorKind::MaxItems { want, .. } => format!("must have at most {want} items"),
        ErrorKind::MinProperties { want, .. } => format!("must have at least {want} keys"),
        ErrorKind::MaxProperties { want, .. } => format!("must have at most {want} keys"),
        ErrorKind::UniqueItems { .. } => "has the same item twice".into(),
        ErrorKind::Minimum { want, .. } => format!("must be at least {want}"),
        ErrorKind::Maximum { want, .. } => format!("must be at most {want}"),
        ErrorKind::ExclusiveMinimum { want, .. } => format!("must be more than {want}"),
        ErrorKind::ExclusiveMaximum { want, .. } => format!("must be less than {want}"),
        ErrorKind::MultipleOf { want, .. } => format!("must be a multiple of {want}"),
        ErrorKind::PropertyName { .. } => "has a key that its schema does not allow".into(),
        ErrorKind::FalseSchema => "must not be there".into(),
        _ => "does not fit its schema".into(),
    }
}

fn type_name(one: boon::Type) -> &'static str {
    match one {
        boon::Type::Null => "nothing",
        boon::Type::Boolean => "true or false",
        boon::Type::Number => "a number",
        boon::Type::Integer => "a whole number",
        boon::Type::String => "a text",
        boon::Type::Array => "a list",
        boon::Type::Object => "a section",
    }
}

/// What the schema says of a setting, where it says it at once.
fn told(schema: &Value, at: &[String]) -> Option<String> {
    let value = at.iter().try_fold(schema, |schema, key| schema.get("properties")?.get(key));
    let text = value?.get("description")?.as_str()?;
    Some(excerpt_of(text, QUOTED_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn said(schema: &str, settings: &str) -> Vec<String> {
        let wrong = check(schema, settings).unwrap();
        wrong.iter().map(|one| format!("{} {}", one.at.join("."), one.why)).collect()
    }

    #[test]
    fn what_does_not_fit_is_named_and_never_shown() {
        let schema = r##"{
            "$id": "https://example.org/mine", "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "additionalProperties": false, "required": ["key"],
            "properties": {
                "key": { "type": "string", "pattern": "^[a-z]+$", "description": "of the service" },
                "limits": { "type": "array", "items": { "$ref": "#/$defs/limit" } },
                "how": { "enum": ["top", "bottom"] }
            },
            "$defs": { "limit": { "type": "integer", "minimum": 1 } }
        }"##;
        assert!(said(schema, r#"{"key":"abc","limits":[1,2],"how":"top"}"#).is_empty());
        let found = said(schema, r#"{"key":"S3CRET","limits":[1,0,"x"],"how":"up","other":1}"#);
        let mut wanted = [
            "key must match the pattern ^[a-z]+$",
            "limits.1 must be at least 1",
            "limits.2 must be a whole number",
            "how must be one of \"top\", \"bottom\"",
            "other is none that it has",
        ];
        wanted.sort_unstable();
        let mut sorted = found.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, wanted);
        assert_eq!(said(schema, "{}"), [" lack `key`"]);
        let wrong = check(schema, r#"{"key":1}"#).unwrap();
        assert_eq!(wrong[0].about.as_deref(), Some("of the service"));
        assert!(said("true", "{}").is_empty());
    }

    #[test]
    fn hostile_schemas_are_refused_at_once() {
        let deep = format!("{}1{}", "{\"not\":".repeat(100), "}".repeat(100));
        // Each level refers to the next one twenty times: thousands of millions of steps for a validator.
        let mut levels = String::new();
        for level in 0..8 {
            let references = vec![format!("{{\"$ref\":\"#/$defs/d{}\"}}", level + 1); 20].join(",");
            levels.push_str(&format!("\"d{level}\":{{\"allOf\":[{references}]}},"));
        }
        let multiplied = format!("{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{levels}\"d8\":true}}}}");
        let patterns: Vec<String> = (0..65).map(|n| format!("\"p{n}\":true")).collect();
        let patterns = format!("{{\"patternProperties\":{{{}}}}}", patterns.join(","));
        for (schema, words) in [
            ("{", "it is not JSON"),
            ("[1]", "cannot be used"),
            ("{\"type\":\"strange\"}", "cannot be used"),
            (&*deep, "nested deeper"),
            (&*multiplied, "more than 20000 values"),
            (&*patterns, "more than 64 patterns"),
            ("{\"$ref\":\"https://evil.example/x.json\"}", "references stay within it"),
            ("{\"$ref\":\"file:///etc/passwd\"}", "references stay within it"),
            ("{\"$ref\":\"#/$defs/none\"}", "which it has not"),
            ("{\"$ref\":\"#\"}", "refers to itself"),
            ("{\"properties\":{\"a\":{\"$ref\":\"#\"}}}", "refers to itself"),
            ("{\"$defs\":{\"a\":{\"$id\":\"https://evil.example/\"}}}", "it has a `$id`"),
            ("{\"$schema\":\"https://evil.example/meta\"}", "$schema is not"),
            ("{\"properties\":{\"a\":{\"$schema\":\"https://evil.example/meta\"}}}", "changes its $schema"),
            ("{\"pattern\":\"(a{1000}){1000}\"}", "is too large"),
            ("{\"pattern\":\"(?=a)b\"}", "is none, is too large, or looks around"),
        ] {
            let error = check(schema, "{\"a\":{}}").unwrap_err();
            assert!(error.contains(words), "{schema:.80}: {error}");
        }
    }

    /// A pattern that takes other engines for ever.
    #[test]
    fn patterns_run_in_linear_time() {
        let settings = format!("{{\"a\":\"{}!\"}}", "a".repeat(50_000));
        assert_eq!(said("{\"properties\":{\"a\":{\"pattern\":\"^(a+)+$\"}}}", &settings).len(), 1);
    }
}
