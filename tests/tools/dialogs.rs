//! Dialogs of filters: those of the standard ones pass, and one that does not says where and why.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use super::{components, filter, says, standard, text};

/// Says what the gateway says to whoever says hello and goes.
const HELLO: &str = "\nS: 220 mx.example.org …\nC: EHLO client.test\nS: 250-mx.example.org …\n";
const MAIL: &str = "C: MAIL FROM:<a@client.test>\n  P: MAIL FROM:<a@client.test>\n  U: 250 2.1.0 Ok\nS: 250 2.1.0 Ok\n";
const BYE: &str = "C: QUIT\nS: 221 2.0.0 Bye\n";

/// The filter that does as its settings say (tests/guests/puppet).
pub(super) fn puppet() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| components::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests")));
    folder.join("puppet.wasm")
}

/// Writes a dialog, and replays it with a filter.
fn replayed(component: &Path, dialog: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.dialog");
    std::fs::write(&path, dialog).unwrap();
    let test = filter(&["test", component.to_str().unwrap(), path.to_str().unwrap()]);
    (test.status.code(), text(&test.stdout) + &text(&test.stderr))
}

#[test]
fn the_standard_filters_pass_their_dialogs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filters");
    for (folder, name) in [
        ("greylist", "greylist"),
        ("blocklist", "blocklist"),
        ("add-header", "add_header"),
        ("attachment-guard", "attachment_guard"),
        ("examples/dnsbl", "dnsbl"),
        ("examples/no-exe", "no_exe"),
    ] {
        let dialogs = root.join(folder).join("tests");
        let test = filter(&["test", standard(name).to_str().unwrap(), dialogs.to_str().unwrap()]);
        assert!(test.status.success(), "{}{}", text(&test.stdout), text(&test.stderr));
        says(&text(&test.stdout), &["ok     ", " passed, 0 failed"]);
    }
}

/// No reply of its own shows them.
#[test]
fn the_points_of_dns_lists_are_there_for_the_next_filter() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        r#"
hostname = "mx.example.org"
upstream = {{ address = "${{UPSTREAM}}" }}
relay = {{ domains = ["example.org"] }}
engine = {{ instances = 8 }}
[[listener]]
name = "mx"
address = "127.0.0.1:0"
[[filter]]
name = "dnsbl"
path = "${{FILTER}}"
grants = {{ dns = true, mark = true }}
settings = {{ lists = [{{ zone = "bl.test", weight = 2.5 }}, {{ zone = "wl.test", weight = -1 }}] }}
[[filter]]
name = "next"
path = "{}"
grants = {{ mark = true, headers = true, body = true, mime = true, metrics = true, counters = true, tables = [], kv = true, dns = true, http = [], facts = true, edit = {{ headers = ["X-*"] }}, delay = "1s", route = [] }}
settings = {{ do = "rcpt: reply-marks" }}
"#,
        puppet().display()
    );
    std::fs::write(folder.path().join("two.toml"), config).unwrap();
    let list = "dns: 7.2.0.192.bl.test A 127.0.0.2\ndns: 7.2.0.192.wl.test A 127.0.0.1\n";
    let dialog = format!(
        "# Both.\nconfig: two.toml\nclient: 192.0.2.7\n{list}{HELLO}{MAIL}\
         C: RCPT TO:<b@example.org>\nS: 550 5.7.1 1.5 \n{BYE}"
    );
    let path = folder.path().join("one.dialog");
    std::fs::write(&path, dialog).unwrap();
    let test = filter(&["test", standard("dnsbl").to_str().unwrap(), path.to_str().unwrap()]);
    assert!(test.status.success(), "{}{}", text(&test.stdout), text(&test.stderr));
}

#[test]
fn a_dialog_that_is_not_heard_says_where_and_what_instead() {
    let dialog = format!("# One.\n{HELLO}{MAIL}C: RCPT TO:<b@example.org>\nS: 250 2.1.5 Ok\n{BYE}");
    let (status, shown) = replayed(&standard("greylist"), &dialog);
    assert_eq!(status, Some(1), "{shown}");
    let wanted = [
        "one.dialog:11 (as written)",
        "-S: 250 2.1.5 Ok\n",
        "+S: 451 4.7.1 Greylisted, please try again later\n",
        "help: - is what the dialog says",
        "1 dialog: 0 passed, 1 failed",
    ];
    says(&shown, &wanted);
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn what_the_server_never_hears_is_found_soon_and_says_what_the_client_heard() {
    let dialog = format!("# One.\n{HELLO}{MAIL}C: RCPT TO:<b@example.org>\n  P: RCPT TO:<b@example.org>\n{BYE}");
    let (status, shown) = replayed(&standard("greylist"), &dialog);
    assert_eq!(status, Some(1), "{shown}");
    let wanted = [
        "the upstream never heard RCPT TO:<b@example.org>",
        "meanwhile the client heard 451 4.7.1 Greylisted, please try again later",
    ];
    says(&shown, &wanted);
}

#[test]
fn the_world_is_what_the_dialog_says() {
    let script = r#"{"do":"mail: remember k; rcpt: texts example.org, aloud"}"#;
    let head = format!("# One.\nsettings: {script}\ndns: example.org TXT \"v=spf1 \" \"-all\"\n");
    let dialog =
        format!("{head}{HELLO}{MAIL}C: RCPT TO:<b@example.org>\nS: 550 5.7.1 v=spf1 -all Security::Unchecked\n{BYE}");
    let (status, shown) = replayed(&puppet(), &dialog);
    assert_eq!(status, Some(0), "{shown}");

    let head = "# One.\nsettings: {\"do\":\"helo: send GET https://api.test/v1/x, aloud\"}\n\
                http: GET https://api.test/v1/x -> 200 yes\n";
    let dialog = format!("{head}\nS: 220 mx.example.org …\nC: EHLO client.test\nS: 550 5.7.1 200 …\n{BYE}");
    let (status, shown) = replayed(&puppet(), &dialog);
    assert_eq!(status, Some(0), "{shown}");

    let head = "# One.\nsettings: {\"do\":\"helo: recall given, aloud; mail: time, aloud\"}\nkv: given = yes\n\
                clock: 2026-03-01T12:00:00Z\n";
    let dialog = format!(
        "{head}\nS: 220 mx.example.org …\nC: EHLO client.test\nS: 550 5.7.1 true 0\nC: QUIT\nS: 221 2.0.0 Bye\n"
    );
    let (status, shown) = replayed(&puppet(), &dialog);
    assert_eq!(status, Some(0), "{shown}");

    let head = "# One.\nsettings: {\"do\":\"mail: remember k; rcpt: recall k, aloud\"}\n";
    let dialog = format!(
        "{head}{HELLO}{MAIL}clock: +59s\nC: RCPT TO:<b@example.org>\nS: 550 5.7.1 true 1\nclock: +1s\n\
         C: RCPT TO:<b@example.org>\nS: 550 5.7.1 false 0\n{BYE}"
    );
    let (status, shown) = replayed(&puppet(), &dialog);
    assert_eq!(status, Some(0), "{shown}");

    let head = "# One.\nsettings: {\"do\":\"mail: time, aloud\"}\nclock: 2026-03-01T12:00:00Z\n";
    let dialog = format!("{head}{HELLO}C: MAIL FROM:<a@client.test>\nS: 550 5.7.1 1772366400000 0\n{BYE}");
    let (status, shown) = replayed(&puppet(), &dialog);
    assert_eq!(status, Some(0), "{shown}");
}

#[test]
fn a_question_that_nothing_answers_is_named() {
    let dialog = format!(
        "# One.\nsettings: {{\"do\":\"rcpt: texts other.test, aloud\"}}\n{HELLO}{MAIL}C: RCPT TO:<b@example.org>\n\
         S: 550 5.7.1 v=spf1 -all Security::Unchecked\n{BYE}"
    );
    let (status, shown) = replayed(&puppet(), &dialog);
    assert_eq!(status, Some(1), "{shown}");
    let wanted =
        ["+S: 550 5.7.1 ", "asked, and not answered here: dns: TXT other.test", "help: write the answer into the head"];
    says(&shown, &wanted);
}

#[test]
fn a_fault_and_the_filters_log_are_shown() {
    let dialog = format!(
        "# One.\nsettings: {{\"do\":\"rcpt: panic\"}}\n{HELLO}{MAIL}C: RCPT TO:<b@example.org>\n\
         P: RCPT TO:<b@example.org>\n{BYE}"
    );
    let (status, shown) = replayed(&puppet(), &dialog);
    assert_eq!(status, Some(1), "{shown}");
    says(&shown, &["meanwhile the client heard 451 4.3.0", "warn: a filter failed (trap)", "help: the filter failed"]);
}

#[test]
fn what_a_dialog_may_not_say_is_named_with_its_line() {
    for (dialog, wanted) in [
        ("# One.\ncolour: red\n\nS: 220 x\n", "one.dialog:2 "),
        ("# One.\n\nS: 220 x\nX: y\n", "one.dialog:4 "),
        ("# One.\ngrants: kv\n\nS: 220 x\n", "grants: write an inline table of TOML"),
        ("# One.\nsettings: []\n\nS: 220 x\n", "settings: is no JSON object"),
        ("# One.\ndns: a TXT\n\nS: 220 x\n", "dns: write a name, a type"),
        ("# One.\nlistener: none\n\nS: 220 x\n", "there is no listener \"none\""),
        ("# One.\ngrants: { kw = true }\n\nS: 220 x\n", "kw"),
    ] {
        let (status, shown) = replayed(&standard("no_exe"), dialog);
        assert_eq!(status, Some(1), "{shown}");
        says(&shown, &[wanted, "help: "]);
    }
}

#[test]
fn a_folder_of_a_filter_is_tested_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("target")).unwrap();
    std::fs::create_dir_all(at("tests")).unwrap();
    std::fs::write(
        at("filter.toml"),
        "name = \"grey\"\nlang = \"rust\"\n[filter]\nsettings = { text = \"Not yet\" }\n",
    )
    .unwrap();
    let dialog = format!("# One.\n{HELLO}{MAIL}C: RCPT TO:<b@example.org>\nS: 451 4.7.1 Not yet\n{BYE}");
    std::fs::write(at("tests/one.dialog"), dialog).unwrap();
    let here = folder.path().to_str().unwrap();
    let unbuilt = filter(&["test", here]);
    assert_eq!(unbuilt.status.code(), Some(66));
    says(&text(&unbuilt.stderr), &["grey.wasm", "help: build it first"]);
    std::fs::copy(standard("greylist"), at("target/grey.wasm")).unwrap();
    let test = filter(&["test", here, "--format", "json"]);
    assert!(test.status.success(), "{}", text(&test.stdout));
    let shown: Value = serde_json::from_slice(&test.stdout).unwrap();
    assert_eq!((&shown["passed"], &shown["failed"]), (&1.into(), &0.into()));
    std::fs::remove_file(at("tests/one.dialog")).unwrap();
    assert_eq!(filter(&["test", here]).status.code(), Some(66));
}

#[test]
fn a_filter_is_run_with_the_answers_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (mail, answers) = (folder.path().join("a.eml"), folder.path().join("answers"));
    std::fs::write(&mail, "To: b@example.org\n\nx\n").unwrap();
    std::fs::write(&answers, "# The world.\ndns: example.org TXT \"v=spf1 -all\"\n").unwrap();
    let settings = r#"{"do":"rcpt: texts example.org, aloud"}"#;
    let run = |more: &[&str]| {
        let puppet = puppet();
        let mut all = vec!["run", puppet.to_str().unwrap(), mail.to_str().unwrap(), "--settings", settings];
        all.extend(more);
        let run = filter(&all);
        text(&run.stdout) + &text(&run.stderr)
    };
    says(
        &run(&["--answers", answers.to_str().unwrap()]),
        &["the client hears 550 5.7.1 v=spf1 -all Security::Unchecked"],
    );
    says(&run(&[]), &["asked, and not answered: dns: TXT example.org", "help: write the answers into a file"]);
}
