//! What the gateway knows outlives it, and nothing about the file stops mail.

use std::path::Path;
use std::process::Command;

use crate::components;
use crate::gateway::{Client, Gateway};
use crate::upstream::Upstream;

/// Told when a snapshot was written, too.
const LOG: &str = "[log]\nlevel = \"info,wasmilter::server::keeper=debug\"\n";

fn state(more: &str) -> String {
    format!("[state]\nsnapshot = \"state.redb\"\n{more}{LOG}")
}

/// Three messages an address and hour.
fn limited(more: &str) -> String {
    format!(
        "{}[[limit]]\nname = \"few\"\ncount = \"messages\"\nper = [\"address\"]\nrate = \"1/1h burst 3\"\n",
        state(more)
    )
}

/// The answer to MAIL.
fn mail(gateway: &Gateway) -> String {
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>")
}

fn recipient(gateway: &Gateway, address: &str) -> String {
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say(&format!("RCPT TO:<{address}>"))
}

/// One that has begun after this and is whole.
fn written_anew(gateway: &mut Gateway) {
    (0..2).for_each(|_| drop(gateway.wait_for("snapshot written")));
}

#[test]
fn greylisting_and_limits_go_on_after_a_restart() {
    let built = components::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filters"));
    let upstream = Upstream::start();
    let filter = format!(
        "[[filter]]\nname = \"greylist\"\npath = {:?}\n[filter.grants]\nkv = {{}}\ntables = []\n\
         [filter.settings]\ndelay-seconds = 0\n",
        built.join("greylist.wasm")
    );
    let mut gateway = Gateway::start(upstream.address, &(state("snapshot-every = \"1s\"\n") + &filter));
    assert!(recipient(&gateway, "b@example.org").starts_with("451 4.7.1 "));
    gateway = gateway.again("TERM");
    assert!(gateway.seen.concat().contains("known again"), "{:?}", gateway.seen);
    assert!(recipient(&gateway, "b@example.org").starts_with("250 "));
    // Killed, it has lost what came after the last snapshot, and no more.
    assert!(recipient(&gateway, "c@example.org").starts_with("451 4.7.1 "));
    written_anew(&mut gateway);
    gateway = gateway.again("KILL");
    assert!(recipient(&gateway, "c@example.org").starts_with("250 "));
}

#[test]
fn a_limit_that_is_used_up_stays_used_up() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, &limited(""));
    (0..3).for_each(|_| assert!(mail(&gateway).starts_with("250 ")));
    assert!(mail(&gateway).starts_with("450 4.7.1 "));
    gateway = gateway.again("TERM");
    assert!(mail(&gateway).starts_with("450 4.7.1 "));
    let (_, metrics) = gateway.get("/metrics");
    assert!(!metrics.contains("wasmilter_snapshots_total{result=\"failed\"}"), "{metrics}");
    // Another limit than before: its counts begin.
    let path = gateway.configuration();
    let text = std::fs::read_to_string(&path).unwrap().replace("burst 3", "burst 2");
    std::fs::write(&path, text).unwrap();
    gateway = gateway.again("TERM");
    assert!(mail(&gateway).starts_with("250 "));
}

#[test]
fn a_file_that_is_no_good_is_moved_aside_and_said() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(upstream.address, &limited(""));
    mail(&gateway);
    let file = gateway.folder.path().join("state.redb");
    gateway.signal("TERM");
    let folder = std::sync::Arc::clone(&gateway.folder);
    gateway.wait();
    let mut octets = std::fs::read(&file).unwrap();
    let middle = octets.len() / 2;
    octets.truncate(middle);
    std::fs::write(&file, &octets).unwrap();
    let mut gateway = Gateway::start_in(folder, std::process::Command::new(env!("CARGO_BIN_EXE_wasmilter")));
    let said = gateway.seen.concat();
    assert!(said.contains("moved aside") && said.contains("state.redb.corrupt"), "{said}");
    let aside = std::fs::metadata(file.with_extension("redb.corrupt")).unwrap();
    assert_eq!(aside.len(), u64::try_from(octets.len()).unwrap());
    assert!(mail(&gateway).starts_with("250 "));
    gateway = gateway.again("TERM");
    assert!(gateway.seen.concat().contains("known again"));
}

#[test]
fn a_folder_that_is_not_there_and_a_full_disk_stop_no_mail() {
    let upstream = Upstream::start();
    let nowhere = "[state]\nsnapshot = \"missing/state.redb\"\nsnapshot-every = \"1s\"\n";
    let mut gateway = Gateway::start(upstream.address, &(nowhere.to_owned() + LOG));
    assert!(gateway.seen.concat().contains("no snapshot: what is counted"), "{:?}", gateway.seen);
    gateway.wait_for("the snapshot cannot be written");
    assert!(mail(&gateway).starts_with("250 "));
    // It is tried again, and works as soon as it can.
    std::fs::create_dir(gateway.folder.path().join("missing")).unwrap();
    gateway.wait_for("snapshot written");
    let (_, metrics) = gateway.get("/metrics");
    assert!(metrics.contains("wasmilter_snapshots_total{result=\"failed\"}"), "{metrics}");

    let every = limited("snapshot-every = \"1s\"\n");
    let mut full = Gateway::start_with_file_size(8, upstream.address, &every);
    full.wait_for("the snapshot cannot be written");
    (0..3).for_each(|_| assert!(mail(&full).starts_with("250 ")));
    assert!(mail(&full).starts_with("450 4.7.1 "));
    full.signal("TERM");
    let (status, log) = full.wait();
    assert!(status.success(), "{log}");
}

#[test]
fn two_gateways_do_not_share_a_file() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(upstream.address, &state(""));
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_wasmilter"))
        .args(["serve", "--config"])
        .arg(gateway.configuration())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("state.redb is in use by another process"), "{said}");
    assert!(mail(&gateway).starts_with("250 "));
}

#[test]
fn a_reload_begins_changes_and_ends_snapshots() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, LOG);
    let path = gateway.configuration();
    let without = std::fs::read_to_string(&path).unwrap();
    let file = |name: &str| gateway_file(&path, name);
    let mut reload = |state: &str| {
        std::fs::write(&path, format!("{without}\n{state}")).unwrap();
        gateway.signal("HUP");
        gateway.wait_for("reloaded");
        if !state.is_empty() {
            gateway.wait_for("snapshot written");
        }
    };
    reload("[state]\nsnapshot = \"one.redb\"\nsnapshot-every = \"1s\"\n");
    reload("[state]\nsnapshot = \"two.redb\"\nsnapshot-every = \"1s\"\n");
    assert!(file("one.redb") && file("two.redb"));
    reload("[state]\nsnapshot = \"two.redb\"\nsnapshot-every = \"2s\"\n");
    reload("");
    gateway.signal("TERM");
    assert!(gateway.wait().0.success());
}

fn gateway_file(configuration: &Path, name: &str) -> bool {
    configuration.with_file_name(name).is_file()
}

#[test]
fn a_service_with_a_folder_of_its_own_needs_no_word_of_it() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let mut program = Command::new(env!("CARGO_BIN_EXE_wasmilter"));
    program.env("STATE_DIRECTORY", folder.path());
    let gateway = Gateway::start_by(program, upstream.address, "");
    gateway.signal("TERM");
    assert!(gateway.wait().0.success());
    assert!(folder.path().join("state.redb").is_file());
}
