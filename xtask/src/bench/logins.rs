//! `cargo xtask bench --logins`: what a login costs, and how long people wait for theirs while somebody with 10,000
//! addresses guesses at 10,000 accounts.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::load::{TICKS_PER_SECOND, cpu_ticks, median};
use super::process::{Certificate, Gateway, Scratch, Sink, free_port};
use crate::shell::{Outcome, output};

const ACCOUNTS: usize = 10_000;
const PASSWORD: &str = "correct horse";
/// People who log in, one after the other, over and over.
const PEOPLE: &str = "50";
/// Rounds of theirs without an attack, after one that makes them known.
const QUIET_ROUNDS: usize = 5;
/// Between rounds in the attack: nobody logs in so often that the limit of connections a minute is theirs.
const PAUSE: Duration = Duration::from_millis(250);
/// Addresses of the attack, guesses of each, connections at once.
const ATTACK: [&str; 3] = ["10000", "10", "2000"];
/// Logins side by side, where it is measured how many there can be in a second.
const CROWD: [&str; 3] = ["1000", "1", "16"];

/// What a client said of its logins.
struct Said(String);

impl Said {
    fn number(&self, key: &str) -> Outcome<f64> {
        let word = self.0.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
        word.and_then(|number| number.parse().ok()).ok_or_else(|| format!("no {key} in {:?}", self.0))
    }
}

/// Measures, and gives the tables.
pub(crate) fn measure(program: &Path, client: &Path) -> Outcome<String> {
    let scratch = Scratch::new()?;
    let certificate = Certificate::make(&scratch)?;
    let sink = Sink::start(&scratch)?;
    let passwords = scratch.path.join("passwords");
    std::fs::write(&passwords, accounts(program)?).map_err(|why| format!("{}: {why}", passwords.display()))?;
    let start = |cache: &str| {
        let port = free_port()?;
        let text = configuration(port, sink.port, &certificate, &passwords, cache);
        Gateway::of(program, &scratch, port, &text)
    };
    let mut text =
        String::from("| logins | each second | CPU ms each | half of them within, ms |\n|---|---:|---:|---:|\n");
    for (name, cache) in [("password hashed (argon2id)", "off"), ("remembered (`cache`)", "10min")] {
        let gateway = start(cache)?;
        logins(client, &gateway, CROWD)?;
        let before = cpu_ticks(gateway.process_id())?;
        let said = logins(client, &gateway, CROWD)?;
        let cpu_ms = (cpu_ticks(gateway.process_id())? - before) / TICKS_PER_SECOND * 1_000.0;
        let good = all_good(&said)?;
        let (rate, p50) = (good / said.number("seconds=")?, said.number("p50_us=")? / 1_000.0);
        let _ = writeln!(text, "| {name} | {rate:.0} | {:.2} | {p50:.1} |", cpu_ms / good);
    }
    text.push_str("\n| people's logins | half within, ms | 95 % within, ms |\n|---|---:|---:|\n");
    for (name, cache) in [("password hashed", "off"), ("remembered", "10min")] {
        attack(client, &start(cache)?, name, &mut text)?;
    }
    Ok(text)
}

fn attack(client: &Path, gateway: &Gateway, name: &str, text: &mut String) -> Outcome {
    let people = [PEOPLE, "1", "1"];
    logins(client, gateway, people)?;
    let quiet = (0..QUIET_ROUNDS).map(|_| logins(client, gateway, people)).collect::<Outcome<Vec<_>>>()?;
    let mut attack = asked(client, gateway, ATTACK);
    let mut attack = attack.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|why| why.to_string())?;
    let mut meanwhile = Vec::new();
    while attack.try_wait().map_err(|why| why.to_string())?.is_none() {
        #[expect(clippy::disallowed_methods, reason = "a measurement of something that goes on by itself")]
        std::thread::sleep(PAUSE);
        meanwhile.push(logins(client, gateway, people)?);
    }
    let ended = attack.wait_with_output().map_err(|why| why.to_string())?;
    let said = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    if !ended.status.success() {
        return Err(format!("the attack failed: {said}"));
    }
    // The last round may have gone on without it.
    meanwhile.pop();
    let _ = writeln!(text, "| {name} | {} |", figures(&quiet)?);
    let _ = writeln!(text, "| {name}, in the attack ({} rounds; {said}) | {} |", meanwhile.len(), figures(&meanwhile)?);
    Ok(())
}

fn figures(rounds: &[Said]) -> Outcome<String> {
    for round in rounds {
        all_good(round)?;
    }
    let of = |key| rounds.iter().map(|round| Ok(round.number(key)? / 1_000.0)).collect::<Outcome<Vec<_>>>();
    let half = median(of("p50_us=")?).ok_or("the attack was over before anybody had logged in")?;
    let most = median(of("p95_us=")?).unwrap_or_default();
    Ok(format!("{half:.1} | {most:.1}"))
}

/// How many; whoever knows the password is to get in.
fn all_good(said: &Said) -> Outcome<f64> {
    for key in ["bad=", "put_off=", "turned_away="] {
        if said.number(key)? > 0.0 {
            return Err(format!("people with the right password were not let in: {}", said.0));
        }
    }
    said.number("good=")
}

fn logins(client: &Path, gateway: &Gateway, numbers: [&str; 3]) -> Outcome<Said> {
    output(asked(client, gateway, numbers)).map(|said| Said(said.trim().to_owned()))
}

fn asked(client: &Path, gateway: &Gateway, numbers: [&str; 3]) -> Command {
    let mut command = super::process::with_all_descriptors(client);
    command.args(["logins", &format!("127.0.0.1:{}", gateway.port)]).args(numbers);
    command
}

/// All of them with the same password, and with the same hash of it.
fn accounts(program: &Path) -> Outcome<String> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("echo '{PASSWORD}' | \"$0\" passwd nobody")]).arg(program);
    let line = output(command)?;
    let hash = line.trim().strip_prefix("nobody").ok_or_else(|| format!("unlike an entry: {line}"))?.to_owned();
    Ok((0..ACCOUNTS).map(|number| format!("u{number}@inside.test{hash}\n")).collect())
}

/// Whatever holds back whoever guesses is as it comes.
fn configuration(port: u16, sink: u16, certificate: &Certificate, passwords: &Path, cache: &str) -> String {
    format!(
        r#"
hostname = "mx.inside.test"

[[listener]]
name = "submissions"
address = "127.0.0.1:{port}"
tls = "implicit"
auth = "required"

[tls]
certificate = "{}"
key = "{}"

[[auth.backend]]
name = "people"
kind = "file"
path = "{}"
cache = "{}"

[upstream]
address = "127.0.0.1:{sink}"
identify = "none"
connect = "lazy"

[relay]
domains = ["inside.test"]

[resolver]
servers = ["127.0.0.1:9"]

[timeouts]
resolve = "100ms"
"#,
        certificate.certificate.display(),
        certificate.key.display(),
        passwords.display(),
        cache,
    )
}
