//! What a filter is shown to do with mail.

use std::path::{Path, PathBuf};

use serde_json::Value;

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
