//! `cargo xtask test`: what a change has to pass, from the quickest question to the slowest.
//!
//! One step after the other, the first failure ends it. No step is skipped: what a step needs is installed, or
//! the step fails and says what is missing.

use std::time::{Duration, Instant};

use crate::shell::{Outcome, cargo, command, root, run};
use crate::{demo, tools};

struct Step {
    name: &'static str,
    title: &'static str,
    run: fn() -> Outcome,
}

const STEPS: [Step; 12] = [
    Step { name: "fmt", title: "every workspace is formatted", run: fmt },
    Step { name: "tidy", title: "the laws of the house that text can check", run: tidy },
    Step { name: "deny", title: "licences, bans and sources of the dependencies", run: deny },
    Step { name: "pure", title: "the floors above the IO line build, lint and test alone", run: pure },
    Step { name: "clippy", title: "lints of the host", run: clippy },
    Step { name: "filters", title: "the filters: lints, components, tests", run: filters },
    Step { name: "guests", title: "the hostile guests: lints", run: guests },
    Step { name: "test", title: "unit tests, dialogs, hostile guests, configurations", run: test },
    Step { name: "fuzz", title: "the fuzz targets compile, without a lint", run: fuzz },
    Step { name: "demo", title: "the demonstration, from a clone's point of view", run: demo::once },
    Step {
        name: "accounts",
        title: "logins that a real Dovecot, slapd, saslauthd and OpenID provider verify",
        run: accounts,
    },
    Step {
        name: "postfix",
        title: "end to end with a real Postfix (and Exim) behind the gateway, and BIND",
        run: postfix,
    },
];

/// What takes more of the network and of the machine than every change deserves: with `--all`, or by name.
const HEAVY: [Step; 2] = [
    Step { name: "redis", title: "several gateways with a real redis-server between them", run: redis },
    Step { name: "sdks", title: "the SDKs: new filters and examples in every language", run: sdks },
];

/// Runs the steps asked for (all but the heavy ones, if none is named) in their order.
pub(crate) fn all(words: &[&str]) -> Outcome {
    let mut wanted: Vec<&str> = Vec::new();
    let mut heavy = false;
    let known = || STEPS.iter().chain(&HEAVY);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--list" => {
                known().for_each(|step| println!("{:<8} {}", step.name, step.title));
                return Ok(());
            }
            "--all" => heavy = true,
            "--only" => match words.next().and_then(|name| known().find(|step| step.name == *name)) {
                Some(step) => wanted.push(step.name),
                None => return Err("--only wants the name of a step, see `cargo xtask test --list`".into()),
            },
            other => return Err(format!("`test` does not know the word {other}")),
        }
    }
    let is_heavy = |step: &Step| HEAVY.iter().any(|other| other.name == step.name);
    let is_wanted =
        |step: &&Step| if wanted.is_empty() { heavy || !is_heavy(step) } else { wanted.contains(&step.name) };
    let steps: Vec<&Step> = known().filter(is_wanted).collect();
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n== {}/{} {}: {}", index + 1, steps.len(), step.name, step.title);
        let start = Instant::now();
        let outcome = (step.run)();
        times.push((step.name, start.elapsed()));
        if let Err(why) = outcome {
            println!("\n== FAILED {}: {why}", step.name);
            println!("{} passed, 1 failed, {} not run", index, steps.len() - index - 1);
            return Err(format!("step {} failed", step.name));
        }
        println!("== ok {} ({:.1} s)", step.name, start.elapsed().as_secs_f64());
    }
    println!();
    for (name, time) in &times {
        println!("{name:<8} {:>7.1} s", time.as_secs_f64());
    }
    println!("{} passed, 0 failed", steps.len());
    Ok(())
}

/// Known vulnerabilities. Not a step of `test`: the database lives on a host that not every machine reaches, and
/// its answer changes without a change of ours.
pub(crate) fn advisories() -> Outcome {
    cargo_deny(&["advisories"])
}

/// What the matrix of faults shows, as a page of the documentation.
pub(crate) fn write_faults() -> Outcome {
    let mut command = cargo(&["test", "--locked", "--package", "faults", "no_fault_breaks_the_first_law"]);
    command.env("FAULTS", "write");
    run(command)
}

/// The workspaces of this repository.
const MANIFESTS: [&str; 4] = ["Cargo.toml", "filters/Cargo.toml", "fuzz/Cargo.toml", "tests/guests/Cargo.toml"];

fn fmt() -> Outcome {
    tools::components()?;
    for manifest in MANIFESTS {
        run(cargo(&["fmt", "--manifest-path", manifest, "--all", "--check"]))?;
    }
    Ok(())
}

fn tidy() -> Outcome {
    run(cargo(&["test", "--quiet", "--locked", "--no-default-features", "--test", "tidy"]))
}

fn deny() -> Outcome {
    cargo_deny(&["licenses", "bans", "sources"])
}

fn cargo_deny(checks: &[&str]) -> Outcome {
    let deny = tools::cargo_deny()?;
    for manifest in MANIFESTS {
        let mut command = command(&deny, &["--locked", "--manifest-path", manifest, "--config", "deny.toml", "check"]);
        command.args(checks);
        run(command)?;
    }
    Ok(())
}

fn pure() -> Outcome {
    tools::components()?;
    run(cargo(&["clippy", "--quiet", "--locked", "--no-default-features", "--lib", "--", "-D", "warnings"]))?;
    run(cargo(&["test", "--quiet", "--locked", "--no-default-features", "--lib"]))
}

fn clippy() -> Outcome {
    tools::components()?;
    run(cargo(&["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // Those that `cargo test` alone leaves out are no targets to `--all-targets`.
    let apart = ["--test", "accounts", "--test", "postfix", "--test", "redis", "--test", "sdks"];
    run(cargo(&[&["clippy", "--quiet", "--locked", "--workspace"], &apart[..], &["--", "-D", "warnings"]].concat()))
}

/// For the guests' own target and for this machine, where their tests run.
fn filters() -> Outcome {
    lint_guests("filters")?;
    run_in("filters", &["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    run_in("filters", &["test", "--quiet", "--locked", "--workspace"])
}

fn guests() -> Outcome {
    lint_guests("tests/guests")
}

fn lint_guests(folder: &str) -> Outcome {
    tools::components()?;
    tools::wasm_targets()?;
    run_in(folder, &["clippy", "--quiet", "--locked", "--target", "wasm32-unknown-unknown", "--", "-D", "warnings"])
}

/// From the workspace's own folder, because that is where cargo finds which linker makes a component.
fn run_in(folder: &str, args: &[&str]) -> Outcome {
    let mut command = cargo(args);
    command.current_dir(root().join(folder));
    run(command)
}

fn test() -> Outcome {
    tools::wasm_targets()?;
    run(cargo(&["test", "--locked", "--workspace"]))
}

/// Everything an author's machine would have; what makes components of JavaScript and Python they fetch by themselves.
fn sdks() -> Outcome {
    tools::wasm_targets()?;
    tools::sdk_programs()?;
    run(command("node", &["--test", "filters/sdk-js/wasmilter.test.mjs"]))?;
    let mut python = command("python3", &["-B", "-m", "unittest", "-q"]);
    python.current_dir(root().join("filters/sdk-python"));
    run(python)?;
    run(cargo(&["test", "--locked", "--workspace", "--test", "sdks"]))
}

fn redis() -> Outcome {
    tools::wasm_targets()?;
    tools::redis_programs()?;
    run(cargo(&["test", "--locked", "--workspace", "--test", "redis"]))
}

fn fuzz() -> Outcome {
    tools::cpp_compiler()?;
    let lint = [
        "clippy",
        "--quiet",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target-dir",
        "target",
        "--all-features",
    ];
    run(cargo(&[&lint[..], &["--", "-D", "warnings"]].concat()))
}

fn accounts() -> Outcome {
    tools::account_programs()?;
    if !tools::is_root()? {
        return Err("Dovecot starts for root only: run this step as root".into());
    }
    let mut test = cargo(&["test", "--locked", "--workspace", "--test", "accounts"]);
    test.env("OIDC_PROVIDER", tools::oidc_provider()?);
    run(test)
}

fn postfix() -> Outcome {
    tools::mail_programs()?;
    if !tools::is_root()? {
        return Err("Postfix starts for root only: run this step as root".into());
    }
    let mut test = cargo(&["test", "--locked", "--workspace", "--test", "postfix"]);
    test.env("EXIM", tools::exim()?);
    run(test)
}
