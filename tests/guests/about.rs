//! What a filter says of itself: its version, its phase, the schema of its settings.

use wasmilter::config::FilterPhase;

use crate::support::{Filter, fault, load, session, told};

/// In the words of the puppet's script.
fn escaped(text: &str) -> String {
    text.chars().map(|c| if "\",;%'".contains(c) { format!("%{:02x}", u32::from(c)) } else { c.into() }).collect()
}

fn refusal(filter: Filter) -> String {
    load(&[filter]).map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn description_obeyed() {
    let chain = load(&[
        Filter::puppet("about: version 1.4.0, summary counts things; helo: say last").edits("sender = true"),
        Filter::puppet("about: inspect; helo: say first").named("second").edits("sender = true"),
        Filter::puppet("about: inspect; helo: say operator").named("third").with("phase = \"seal\""),
    ])
    .unwrap();
    let named: Vec<_> = chain.programs().map(|p| (&*p.profile().name, p.phase())).collect();
    let wanted = [("second", FilterPhase::Inspect), ("puppet", FilterPhase::Transform), ("third", FilterPhase::Seal)];
    assert_eq!(named, wanted);
    let about = chain.programs().nth(1).and_then(|p| p.about()).unwrap();
    assert_eq!((&*about.version, &*about.summary), ("1.4.0", "counts things"));
    let outcome = session(&chain).helo().await;
    let said: Vec<_> = outcome.opinions.iter().map(|o| (o.version.as_deref(), o.reason.as_deref())).collect();
    assert_eq!(
        said,
        [(Some("0.1.0"), Some("first")), (Some("1.4.0"), Some("last")), (Some("0.1.0"), Some("operator"))]
    );
}

/// The description is asked of an instance of its own: what it does there is gone before mail comes.
#[tokio::test]
async fn description_of_an_instance_that_is_gone_obeyed() {
    let chain = load(&[Filter::puppet("about: counter c; init: counter d; helo: counter c")]);
    // `init` says something, which is its way to fail: it was called, once, after the description.
    assert!(chain.map(|_| ()).unwrap_err().contains("init: 1"));
    let chain = load(&[Filter::puppet("about: counter c; helo: counter c")]).unwrap();
    assert_eq!(told(&session(&chain).helo().await), "2");
}

#[test]
fn description_violated() {
    let says = |what: &str| refusal(Filter::puppet(&format!("about: {what}")));
    assert!(says("version").contains("says that its version is \"\""));
    assert!(says("version 1 2").contains("letters, digits"));
    assert!(says("version 1%0a2").contains("letters, digits"));
    assert!(says("long 65").contains("a version of 65 octets"));
    assert!(says("long-summary 257").contains("a summary of 257 octets"));
    assert!(says("long-schema 65537").contains("a settings-schema of 65537 octets"));
    assert!(says("summary a%1b[31m").contains("control character U+001B"));
    assert!(says("panic").contains("describe: ") && says("panic").contains("unreachable"));
    assert!(says("spin").contains("describe: ") && says("spin").contains("interrupt"));
    assert!(says("hoard").contains("describe: "));
    // More than one call may hand over.
    assert!(says("long-summary 9999999").contains("describe: "));
}

#[test]
fn phase_violated() {
    let error = refusal(Filter::puppet("about: inspect"));
    assert!(error.contains("runs at the phase inspect") && error.contains("write `phase = \"transform\"`"), "{error}");
    assert!(load(&[Filter::puppet("about: inspect").with("phase = \"transform\"")]).is_ok());
}

#[tokio::test]
async fn settings_schema_obeyed() {
    let schema = r#"{"type":"object","properties":{"do":{"type":"string"}},"additionalProperties":false}"#;
    let chain = load(&[Filter::puppet(&format!("about: schema {}; helo: say fits", escaped(schema)))]).unwrap();
    let outcome = session(&chain).helo().await;
    assert_eq!((told(&outcome), fault(&outcome)), ("fits", None));
}

#[test]
fn settings_schema_violated() {
    let schema = r#"{"required":["key"],"properties":{"do":{"type":"integer","description":"what to do"}}}"#;
    let error = refusal(Filter::puppet(&format!("about: schema {}", escaped(schema))));
    let place = error.lines().count();
    assert_eq!(place, 1, "one line for the log: {error}");
    assert!(error.contains("its settings are not what it takes: test.toml:"), "{error}");
    assert!(error.contains("the setting `do` of the filter \"puppet\" must be a whole number"), "{error}");
    assert!(error.contains("the settings of the filter \"puppet\" lack `key`"), "{error}");
    let remote = escaped(r#"{"$ref":"https://evil.example/x.json"}"#);
    let error = refusal(Filter::puppet(&format!("about: schema {remote}")));
    assert!(error.contains("ships a settings-schema that cannot be used"), "{error}");
}
