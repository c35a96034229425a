//! What a filter is shown to do with mail.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::dialogs::puppet;
use super::{filter, says, standard, text};

const CLEAN: &str = "From: Ann <ann@client.test>\nTo: bob@example.org\nX-Spam: no\nSubject: Lunch\n\nAt noon.\n";
const PROGRAM: &str = "Return-Path: <bounce@client.test>\nFrom: ann@client.test\nTo: bob@example.org, eve@example.org\n\
    Subject: Invoice\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\n\
    Hello\n--b\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"x\u{202e}.exe\"\n\n\
    MZ\n--b--\n";

/// A folder with an .eml, an mbox and a Maildir: three clean messages, three with a program.
fn mail() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = "From x@y.test Sat Jan  3 01:05:34 1996\n";
    for (file, text) in [
        ("a.eml", PROGRAM.to_owned()),
        ("box.mbox", format!("{from}{CLEAN}>From here\n\n{from}{PROGRAM}\n{from}{CLEAN}")),
        ("maildir/cur/1:2,S", PROGRAM.to_owned()),
        ("maildir/new/2", CLEAN.to_owned()),
        ("maildir/tmp/3", CLEAN.to_owned()),
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn standard_text(name: &str) -> String {
    shown(&standard(name)).to_owned()
}

#[test]
fn one_message_is_shown_with_verdict_and_cost() {
    let folder = mail();
    let run = filter(&["run", &standard_text("no_exe"), shown(&folder.path().join("a.eml"))]);
    assert!(run.status.success(), "{run:?}");
    let run = text(&run.stdout);
    let wanted = [
        "granted what it imports: mime = true",
        "from        <bounce@client.test> (Return-Path)",
        "to          bob@example.org, eve@example.org (To and Cc)",
        "verdict     reject at message\n",
        "the client hears 550 5.7.1 attachment ",
        "cost        message     1 call",
        "memory 256.0 KiB",
    ];
    says(&run, &wanted);
    assert!(!run.contains(['\u{202e}', '\u{1b}']), "{run}");
}

#[test]
fn the_command_line_speaks_before_the_message() {
    let folder = mail();
    let path = folder.path().join("a.eml");
    let run = filter(&[
        "run",
        &standard_text("blocklist"),
        shown(&path),
        "--from",
        "<>",
        "--rcpt",
        "c@example.org",
        "--helo",
        "bad.test",
        "--settings",
        r#"{"helo": ["bad"]}"#,
        "--table",
        &format!("bad={}", shown(&table(folder.path()))),
    ]);
    assert!(run.status.success(), "{run:?}");
    let wanted = [
        "from        <> (the command line)",
        "to          c@example.org (the command line)",
        "verdict     reject at helo",
        "550 5.7.1 Not accepted here",
    ];
    says(&text(&run.stdout), &wanted);
}

fn table(folder: &Path) -> PathBuf {
    let path = folder.join("bad.txt");
    std::fs::write(&path, "bad.test\n").unwrap();
    path
}

#[test]
fn settings_and_grants_come_from_a_configuration() {
    let folder = mail();
    let toml = "hostname = \"mx.example.org\"\n[relay]\ndomains = [\"example.org\"]\n[upstream]\naddress = \
        \"127.0.0.1:10025\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:2525\"\n[[filter]]\nname = \
        \"headers\"\npath = \"/nowhere\"\ngrants = { edit = { headers = [\"X-*\"] } }\nsettings = { fields = { X-Seen = \
        \"by {listener}\" }, remove = [\"X-Spam\"] }\n";
    let config = folder.path().join("wasmilter.toml");
    std::fs::write(&config, toml).unwrap();
    let mail = folder.path().join("maildir/new/2");
    let run = |name: &str| {
        filter(&["run", &standard_text("add_header"), shown(&mail), "--config", shown(&config), "--filter", name])
    };
    let found = run("headers");
    assert!(found.status.success(), "{found:?}");
    let wanted =
        ["+X-Seen: by headers\n", "-X-Spam: no\n", "@@ -1,", " From: Ann <ann@client.test>\n", "verdict     next"];
    says(&text(&found.stdout), &wanted);
    let missing = run("other");
    assert_eq!(missing.status.code(), Some(64));
    says(&text(&missing.stderr), &["has no filter \"other\"", "it has headers"]);
}

#[test]
fn many_messages_become_a_summary() {
    let folder = mail();
    let run = filter(&["run", &standard_text("no_exe"), shown(folder.path()), "--jobs", "2", "--show", "reject"]);
    assert!(run.status.success(), "{run:?}");
    let run = text(&run.stdout);
    let wanted = [
        "next                3   50.0 %",
        "reject              3   50.0 %",
        "together            6",
        "3  reject: 550 5.7.1 attachment ",
        "half take ",
        "box.mbox:2\n",
    ];
    says(&run, &wanted);
    assert_eq!(run.matches("verdict     reject").count(), 3, "{run}");
}

#[test]
fn programs_get_a_line_a_message() {
    let folder = mail();
    let run = filter(&["run", &standard_text("no_exe"), shown(folder.path()), "--format", "json"]);
    let lines: Vec<Value> = text(&run.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0]["action"], "reject");
    assert_eq!(lines[0]["ended"]["stage"], "message");
    assert_eq!(lines[1]["message"].as_str().map(|name| name.ends_with("box.mbox:1")), Some(true));
    assert_eq!(lines[6]["summary"]["actions"], serde_json::json!({ "next": 3, "reject": 3 }));
}

#[test]
fn a_fault_is_shown_with_where_the_filter_was() {
    let folder = mail();
    let path = folder.path().join("a.eml");
    let run = filter(&["run", &standard_text("endless"), shown(&path), "--rcpt", "loop@example.org"]);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let wanted =
        ["verdict     fault at rcpt (fault: cpu)", "the client hears 451 4.3.0", "warn: a filter failed (cpu)"];
    says(&text(&run.stdout), &wanted);
}

#[test]
fn two_versions_are_held_against_each_other() {
    let folder = mail();
    let (this, other) = (standard_text("no_exe"), standard_text("endless"));
    let same = filter(&["run", &this, shown(folder.path()), "--against", &this]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    says(&text(&same.stdout), &["0 of 6 messages differ"]);
    let differs = filter(&["run", &this, shown(folder.path()), "--against", &other, "--jobs", "2"]);
    assert_eq!(differs.status.code(), Some(1), "{differs:?}");
    let wanted = [
        "a.eml\n  this   reject at message: 550 5.7.1 attachment ",
        "  other  next\n",
        "this \\ other            next\n",
        "  reject                     3\n",
        "3 of 6 messages differ",
    ];
    says(&text(&differs.stdout), &wanted);
    let nothing = filter(&["run", &this, "nowhere.eml", "--against", &other]);
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
}

#[test]
fn edits_that_differ_are_a_difference() {
    let folder = mail();
    let mail = folder.path().join("maildir/new/2");
    let run = filter(&["run", &standard_text("add_header"), shown(&mail), "--against", &standard_text("no_exe")]);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let wanted = ["  this   next\n  other  next\n", "-X-Wasmilter: ", "1 of 1 messages differ"];
    says(&text(&run.stdout), &wanted);
}

#[test]
fn what_cannot_be_run_is_said_with_what_to_do() {
    let folder = mail();
    let mail = folder.path().join("a.eml");
    let run = |more: &[&str]| {
        let this = standard_text("no_exe");
        let mut arguments = vec!["run", &this, shown(&mail)];
        arguments.extend(more);
        let run = filter(&arguments);
        (run.status.code(), text(&run.stderr))
    };
    for (more, status, wanted) in [
        (&["--grant", "kv = true"][..], 65, "imports `mime`, which is not granted"),
        (&["--grant", "kv = 7"], 64, "`kv` wants true, false, or a quota"),
        (&["--settings", "[1]"], 64, "the settings are no JSON object"),
        (&["--show", "some"], 64, "nothing is called \"some\" here"),
        (&["nowhere.eml"], 66, "cannot read nowhere.eml"),
    ] {
        let (code, said) = run(more);
        assert_eq!(code, Some(status), "{said}");
        says(&said, &[wanted, "help: "]);
    }
}

/// The puppet's part, and all that it then may do.
fn marking(script: &str, mail: &Path, more: &[&str]) -> std::process::Output {
    let puppet = puppet();
    let settings = serde_json::json!({ "do": script }).to_string();
    let mut arguments = vec!["run", shown(&puppet), shown(mail), "--settings", &settings];
    let all = "headers body mime metrics counters dns facts mark";
    let grants: Vec<String> = all.split(' ').map(|name| format!("{name} = true")).collect();
    let rest = [
        "tables = []",
        "kv = true",
        "http = []",
        "edit = { headers = true }",
        "delay = '10s'",
        "route = ['bulk', 'default']",
        "quarantine = 'jail'",
    ];
    for grant in grants.iter().map(String::as_str).chain(rest) {
        arguments.extend(["--grant", grant]);
    }
    filter(&[&arguments, more].concat())
}

#[test]
fn marks_are_shown_beside_the_verdict() {
    let folder = mail();
    let script = "mail: score SLOW=0.1, tag bulk, route bulk; rcpt: score FAST=-2.5, delay 1500; message: quarantine";
    let run = marking(script, &folder.path().join("a.eml"), &[]);
    assert!(run.status.success(), "{run:?}");
    let run = text(&run.stdout);
    let wanted = [
        "verdict     quarantine at message\n",
        "the client hears 250 2.0.0 Ok, once the place that is granted has the message\n",
        "marks       SLOW: +0.1 points (bounce@client.test)\n",
        "FAST: -2.5 points (",
        "together: -2.4 points\n",
        "tag bulk\n",
        "answers at rcpt are held back for 3 s\n",
        "goes to the upstream \"bulk\"\n",
    ];
    says(&run, &wanted);
}

#[test]
fn marks_that_differ_are_a_difference() {
    let folder = mail();
    let idle = puppet().with_file_name("idle.wasm");
    let run = marking("mail: tag bulk", &folder.path().join("a.eml"), &["--against", shown(&idle)]);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    says(&text(&run.stdout), &["  this   next\n  other  next\n  -tag bulk\n", "1 of 1 messages differ"]);
}

#[test]
fn quarantine_needs_no_grant_where_all_is_granted() {
    let folder = mail();
    let mail = folder.path().join("a.eml");
    let puppet = puppet();
    let settings = r#"{"do":"message: quarantine"}"#;
    let run = filter(&["run", shown(&puppet), shown(&mail), "--settings", settings]);
    assert!(run.status.success(), "{run:?}");
    says(&text(&run.stdout), &["quarantine = { recipient = \"quarantine@example.org\" }", "verdict     quarantine"]);
}

#[test]
fn marks_are_counted_and_chosen_by() {
    let folder = mail();
    let script = "mail: score SLOW=0.1, tag bulk; message: quarantine";
    let run = marking(script, folder.path(), &["--show", "quarantine"]);
    let run = text(&run.stdout);
    let wanted = [
        "  quarantine          6  100.0 %\n",
        "marks of 6 messages (points and times of all together)\n",
        "        6  SLOW: +0.6 points\n",
        "        6  tag bulk\n",
    ];
    says(&run, &wanted);
    assert_eq!(run.matches("verdict     quarantine at message").count(), 6, "{run}");
    let run = marking("mail: tag bulk", folder.path(), &["--show", "marked"]);
    assert_eq!(text(&run.stdout).matches("marks       tag bulk\n").count(), 6);
    let run = marking("mail: delay 250", &folder.path().join("a.eml"), &["--format", "json"]);
    let lines: Vec<Value> = text(&run.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["marks"]["delays"], serde_json::json!([{ "stage": "mail", "answers": 1, "seconds": 0.25 }]));
    let wanted = serde_json::json!([{ "kind": "delay", "name": "mail", "messages": 1, "sum": 0.25 }]);
    assert_eq!(lines[1]["summary"]["marks"], wanted);
}
