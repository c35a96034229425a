//! What the chores need on the machine, installed where we may, or named in one sentence.
//!
//! Nothing is ever skipped because a tool is missing: a check that did not run proves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Outcome, cargo, command, output, root, run, succeeds};

/// The targets of the filters (`wasip2`) and of the smallest hostile guests.
pub(crate) const WASM_TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-unknown-unknown"];

/// Compiled once and kept in `target/tools`; a version of its own in the path, so that a raise rebuilds it.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Program → Debian package.
type Programs = [(&'static str, &'static str)];

/// For the end-to-end test and the bench.
const MAIL_PROGRAMS: &Programs = &[
    ("postfix", "postfix"),
    ("smtp-source", "postfix"),
    ("swaks", "swaks"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx"),
    ("/usr/lib/nginx/modules/ngx_mail_module.so", "libnginx-mod-mail"),
    ("/usr/sbin/named", "bind9"),
    ("dnssec-signzone", "bind9-utils"),
    ("postfwd1", "postfwd"),
];

/// Who knows accounts.
const ACCOUNT_PROGRAMS: &Programs = &[
    ("/usr/sbin/dovecot", "dovecot-core"),
    ("/usr/lib/dovecot/imap", "dovecot-imapd"),
    ("/usr/lib/dovecot/modules/auth/libmech_gssapi.so", "dovecot-gssapi"),
    ("/usr/lib/dovecot/modules/auth/libdriver_sqlite.so", "dovecot-sqlite"),
    ("krb5kdc", "krb5-kdc"),
    ("kadmin.local", "krb5-admin-server"),
    ("kinit", "krb5-user"),
    ("/usr/sbin/saslauthd", "sasl2-bin"),
    ("/usr/sbin/slapd", "slapd"),
    ("postfix", "postfix"),
    ("swaks", "swaks"),
    ("/usr/share/perl5/IO/Socket/SSL.pm", "libio-socket-ssl-perl"),
    ("/usr/share/perl5/Authen/SASL.pm", "libauthen-sasl-perl"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
    ("curl", "curl"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// The last that every Node.js of a supported Debian runs.
const OIDC_PROVIDER_VERSION: &str = "8.8.1";

/// What several gateways have between them.
const REDIS_PROGRAMS: &Programs =
    &[("redis-server", "redis-server"), ("redis-cli", "redis-tools"), ("setpriv", "util-linux")];

/// What the SDKs ask of an author's machine.
const SDK_PROGRAMS: &Programs = &[
    ("clang", "clang"),
    ("wasm-ld", "lld"),
    ("/usr/include/wasm32-wasi/stdio.h", "wasi-libc"),
    ("/var/lib/dpkg/info/libclang-rt-dev-wasm32.list", "libclang-rt-dev-wasm32"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3"),
];
/// Debian's Python comes without what makes virtual environments.
const PYTHON_VENV: &Programs = &[("/var/lib/dpkg/info/python3-venv.list", "python3-venv")];

/// Asked by every package before it starts a service of its own; 101 is no.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// What Exim's program is linked with.
const EXIM_LIBRARIES: &str = "libdb5.3 libgnutls-dane0 libidn12 libidn2-0 libnsl2 libpcre2-8-0";
/// Its program looks for this user at its start.
const EXIM_USER: &str = "Debian-exim";

/// For the library that drives the fuzz targets.
const CPP_COMPILER: &Programs = &[("c++", "g++")];

/// Makes sure that `cargo fmt` and `cargo clippy` exist.
pub(crate) fn components() -> Outcome {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !succeeds(cargo(&[subcommand, "--version"])) {
            run(command("rustup", &["component", "add", component])).map_err(|why| {
                format!("`cargo {subcommand}` is missing and rustup could not add the component {component}: {why}")
            })?;
        }
    }
    Ok(())
}

/// Makes sure that the compiler can build for WebAssembly.
pub(crate) fn wasm_targets() -> Outcome {
    for target in WASM_TARGETS {
        let libraries = output(command("rustc", &["--print", "target-libdir", "--target", target]))?;
        if !Path::new(libraries.trim()).is_dir() {
            run(command("rustup", &["target", "add", target]))
                .map_err(|why| format!("the compiler has no target {target} and rustup could not add it: {why}"))?;
        }
    }
    Ok(())
}

/// Makes sure that Postfix and the clients of the end-to-end test exist.
pub(crate) fn mail_programs() -> Outcome {
    install(MAIL_PROGRAMS)
}

/// Makes sure that those exist who are asked for accounts.
pub(crate) fn account_programs() -> Outcome {
    install(ACCOUNT_PROGRAMS)
}

/// A real OpenID provider from npm, in `target/tools`: the folder with its `node_modules`.
pub(crate) fn oidc_provider() -> Outcome<PathBuf> {
    let home = root().join("target/tools").join(format!("oidc-provider-{OIDC_PROVIDER_VERSION}"));
    let module = home.join("node_modules/oidc-provider/lib/index.js");
    if !module.is_file() {
        std::fs::create_dir_all(&home).map_err(|why| format!("{}: {why}", home.display()))?;
        let mut npm = command("npm", &["install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"]);
        npm.arg("--prefix").arg(&home).arg(format!("oidc-provider@{OIDC_PROVIDER_VERSION}"));
        run(npm)?;
    }
    if module.is_file() { Ok(home) } else { Err(format!("npm installed no {}", module.display())) }
}

/// Makes sure that there is a Redis to be started.
pub(crate) fn redis_programs() -> Outcome {
    install(REDIS_PROGRAMS)
}

/// Exim's program, unpacked into `target/tools`: as a package it would take Postfix's place.
pub(crate) fn exim() -> Outcome<PathBuf> {
    let home = root().join("target/tools/exim");
    let program = home.join("usr/sbin/exim4");
    if !program.is_file() {
        std::fs::create_dir_all(&home).map_err(|why| format!("{}: {why}", home.display()))?;
        let fetch = format!(
            "apt-get install -y -q --no-install-recommends --no-upgrade {EXIM_LIBRARIES} && apt-get download -q exim4-daemon-light"
        );
        let unpack =
            format!("{{ {fetch} || {{ apt-get update -q && {fetch}; }}; }} && dpkg -x exim4-daemon-light_*.deb .");
        let mut apt = command("sh", &["-c", &unpack]);
        apt.current_dir(&home).env("DEBIAN_FRONTEND", "noninteractive");
        run(apt)?;
    }
    if !succeeds(command("id", &["-u", EXIM_USER])) {
        run(command("useradd", &["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", EXIM_USER]))?;
    }
    if program.is_file() { Ok(program) } else { Err("the package exim4-daemon-light has no usr/sbin/exim4".into()) }
}

/// Makes sure that filters can be built in every language that has an SDK.
pub(crate) fn sdk_programs() -> Outcome {
    install(SDK_PROGRAMS)?;
    if succeeds(command("python3", &["-c", "import ensurepip, venv"])) { Ok(()) } else { install(PYTHON_VENV) }
}

/// Makes sure that C++ can be compiled.
pub(crate) fn cpp_compiler() -> Outcome {
    install(CPP_COMPILER)
}

/// Makes sure that the programs exist; `apt-get` is asked as root only.
fn install(programs: &Programs) -> Outcome {
    let missing = || programs.iter().filter(|(program, _)| find(program).is_none());
    let mut packages: Vec<&str> = missing().map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let packages = packages.join(" ");
    if !is_root()? || find("apt-get").is_none() {
        return Err(format!("missing, and without root and apt-get not ours to install: {packages}"));
    }
    // Nothing must greet the network only because a test wanted its programs: unconfigured, Postfix does not start, and
    // the proxies and the name server are told not to, now or at the next boot.
    let install = format!(
        "test -e {SERVICE_POLICY} || {{ trap 'rm -f {SERVICE_POLICY}' EXIT; \
         printf '#!/bin/sh\\nexit 101\\n' >{SERVICE_POLICY}; chmod 755 {SERVICE_POLICY}; }}; \
         fresh=; for it in haproxy nginx; do case ' {packages} ' in *\" $it \"*) fresh=\"$fresh $it\";; esac; done; \
         case ' {packages} ' in *' bind9 '*) fresh=\"$fresh named\";; esac; \
         case ' {packages} ' in *' dovecot-core '*) fresh=\"$fresh dovecot\";; esac; \
         case ' {packages} ' in *' sasl2-bin '*) fresh=\"$fresh saslauthd\";; esac; \
         case ' {packages} ' in *' slapd '*) fresh=\"$fresh slapd\";; esac; \
         case ' {packages} ' in *' krb5-kdc '*) fresh=\"$fresh krb5-kdc krb5-admin-server\";; esac; \
         echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections 2>/dev/null; \
         echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections 2>/dev/null; \
         apt-get install -y -q --no-install-recommends {packages} || \
         {{ apt-get update -q && apt-get install -y -q --no-install-recommends {packages}; }} || exit; \
         test -z \"$fresh\" || systemctl disable -q $fresh 2>/dev/null || true"
    );
    let mut apt = command("sh", &["-c", &install]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run(apt)?;
    match missing().next() {
        None => Ok(()),
        Some((program, package)) => Err(format!("the package {package} is installed and has no program {program}")),
    }
}

/// The command that builds the filters as components. From their own folder, because that is where cargo finds which
/// linker makes one.
pub(crate) fn filters() -> Command {
    let mut build = cargo(&["build", "--quiet", "--locked", "--release", "--target", "wasm32-unknown-unknown"]);
    build.current_dir(root().join("filters"));
    build
}

/// Where the tests build their guests, and so does [`guests`].
pub(crate) fn guests_folder() -> PathBuf {
    root().join("target/tmp/guests/wasm32-unknown-unknown/release")
}

/// The command that builds the guests of the tests.
pub(crate) fn guests() -> Command {
    let mut build = cargo(&["build", "--quiet", "--locked", "--release", "--target", "wasm32-unknown-unknown"]);
    build.arg("--target-dir").arg(root().join("target/tmp/guests")).current_dir(root().join("tests/guests"));
    build
}

/// cargo-deny, built without optimisation on first use (a minute on two cores).
pub(crate) fn cargo_deny() -> Outcome<PathBuf> {
    let home = root().join("target/tools").join(format!("cargo-deny-{CARGO_DENY_VERSION}"));
    let program = home.join("bin/cargo-deny");
    if !program.is_file() {
        let mut install = cargo(&["install", "cargo-deny", "--locked", "--no-default-features", "--profile", "dev"]);
        install.args(["--quiet", "--version", CARGO_DENY_VERSION, "--root"]).arg(&home);
        install.arg("--target-dir").arg(home.join("build"));
        install.env("CARGO_PROFILE_DEV_DEBUG", "false").env("CARGO_INCREMENTAL", "0");
        run(install)?;
        // Ten times the size of the program, and never needed again.
        let _ = std::fs::remove_dir_all(home.join("build"));
    }
    Ok(program)
}

/// The program's path, in `PATH` or where Debian keeps what only root runs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder: PathBuf| folder.join(program))
        .find(|candidate| candidate.is_file())
}

pub(crate) fn is_root() -> Outcome<bool> {
    Ok(output(command("id", &["-u"]))?.trim() == "0")
}
