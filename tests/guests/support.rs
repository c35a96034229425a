//! Builds the guests once, and puts one of them (or several) behind a chain.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmilter::chain::{Call, Chain, Context, Held, Outcome, SessionChain};
use wasmilter::config;
use wasmilter::filter::Outside;
use wasmilter::mail::{
    AbortReason, Action, AfterLogin, Ending, Envelope, Hello, PeerName, Recipient, Sender, SessionFacts, Summary,
    Verdict,
};
use wasmilter::smtp::{ForwardPath, Params, ReversePath};

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests")
}

/// The component of a guest, built for the target that gives it no WASI.
pub(crate) fn guest(name: &str) -> PathBuf {
    built("wasm32-unknown-unknown", name)
}

/// The same guest with the WASI imports of its standard library.
fn guest_with_wasi(name: &str) -> PathBuf {
    built("wasm32-wasip2", name)
}

fn built(triple: &'static str, name: &str) -> PathBuf {
    static PLAIN: OnceLock<()> = OnceLock::new();
    static WASI: OnceLock<()> = OnceLock::new();
    let once = if triple == "wasm32-wasip2" { &WASI } else { &PLAIN };
    once.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--locked", "--target", triple, "--target-dir"])
            .arg(target())
            .current_dir(folder)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the guests do not build for {triple}: rustup target add {triple}");
    });
    target().join(triple).join("release").join(format!("{name}.wasm"))
}

/// A `[[filter]]` section, a field at a time.
#[derive(Clone)]
pub(crate) struct Filter {
    name: String,
    path: PathBuf,
    rest: String,
    grants: String,
    settings: String,
}

/// Everything but edits.
const ALL_GRANTS: &str = "headers = true, body = true, mime = true, metrics = true, counters = true, \
     tables = [\"words\"], kv = { quota = \"64 KiB\" }, dns = true, http = [\"https://api.test/v1/\"], facts = true, \
     edit = { headers = [\"X-*\"] }, mark = true, delay = \"10s\", route = []";

impl Filter {
    /// The puppet, granted everything but edits of anything except `X-*` fields, doing as `script` says.
    pub(crate) fn puppet(script: &str) -> Filter {
        Filter::new("puppet", guest("puppet"), script).grants(ALL_GRANTS)
    }

    /// The puppet of another toolchain: its standard library imports WASI.
    pub(crate) fn puppet_with_wasi(script: &str) -> Filter {
        Filter::new("puppet", guest_with_wasi("puppet"), script).grants(ALL_GRANTS)
    }

    pub(crate) fn new(name: &str, path: PathBuf, script: &str) -> Filter {
        let settings = format!("do = '{script}'");
        Filter { name: name.into(), path, rest: String::new(), grants: String::new(), settings }
    }

    pub(crate) fn named(mut self, name: &str) -> Filter {
        self.name = name.into();
        self
    }

    /// A line of TOML.
    pub(crate) fn with(mut self, line: &str) -> Filter {
        self.rest.push_str(line);
        self.rest.push('\n');
        self
    }

    pub(crate) fn grants(mut self, grants: &str) -> Filter {
        self.grants = grants.into();
        self
    }

    /// All grants, and these upstreams to choose from: TOML strings.
    pub(crate) fn routes(self, upstreams: &str) -> Filter {
        let grants = ALL_GRANTS.replace("route = []", &format!("route = [{upstreams}]"));
        self.grants(&grants)
    }

    /// All grants, and requests below this address.
    pub(crate) fn http(self, url: &str) -> Filter {
        let grants = ALL_GRANTS.replace("https://api.test/v1/", url);
        self.grants(&grants)
    }

    /// What is granted, with one thing exchanged.
    pub(crate) fn grant(mut self, from: &str, to: &str) -> Filter {
        assert!(self.grants.contains(from), "{}", self.grants);
        self.grants = self.grants.replace(from, to);
        self
    }

    /// All grants, and these edits.
    pub(crate) fn edits(self, edits: &str) -> Filter {
        let grants = ALL_GRANTS.replace("headers = [\"X-*\"]", edits);
        self.grants(&grants)
    }

    fn write(&self, toml: &mut String) {
        let Filter { name, path, rest, grants, settings } = self;
        let path = path.display();
        let _ = writeln!(
            toml,
            "[[filter]]\nname = '{name}'\npath = '{path}'\n{rest}grants = {{ {grants} }}\nsettings = {{ {settings} }}"
        );
    }
}

/// A component (WAT) that exports `on-quit` as the contract has it, made of the core function `$quit` that `modules` have.
pub(crate) fn on_quit(modules: &str) -> String {
    on_quit_of(modules, SUMMARY_TYPE, "0.1.0")
}

/// The type that `on-quit` is told.
pub(crate) const SUMMARY_TYPE: &str =
    "(record (field \"transactions\" u32) (field \"delivered\" u32) (field \"octets\" f64) (field \"duration\" f64))";

/// The same of another type, or of another version.
pub(crate) fn on_quit_of(modules: &str, summary: &str, version: &str) -> String {
    format!(
        r#"(component {modules}
            (type $summary {summary})
            (func $lifted (param "what" $summary) (canon lift (core func $quit)))
            (component $named
                (type $inner {summary})
                (import "type" (type $in (eq $inner)))
                (import "quit" (func $f (param "what" $in)))
                (export $out "summary" (type $inner))
                (export "quit" (func $f) (func (param "what" $out))))
            (instance $q (instantiate $named (with "type" (type $summary)) (with "quit" (func $lifted))))
            (export "wasmilter:filter/on-quit@{version}" (instance $q)))"#
    )
}

/// A configuration with these filters on one listener, `mx`.
pub(crate) fn configuration(filters: &[Filter]) -> config::Config {
    let cache = target().join("cwasm");
    let mut toml = format!(
        "hostname = \"mx.example.org\"\n[[upstream]]\naddress = \"127.0.0.1:10025\"\n\
         [[upstream]]\nname = \"quarantine\"\naddress = \"127.0.0.1:10026\"\n[relay]\ndomains = [\"example.org\"]\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:2525\"\n[engine]\ninstances = 64\ncache = '{}'\n\
         [table.words]\nentries = {{ one = \"1\", two = \"\" }}\n",
        cache.display()
    );
    filters.iter().for_each(|filter| filter.write(&mut toml));
    config::parse(&toml, "test.toml", &|_| None).unwrap_or_else(|e| panic!("{}\n{toml}", e.render(false)))
}

/// The chain of these filters, or why it does not load.
pub(crate) fn load(filters: &[Filter]) -> Result<Arc<Chain>, String> {
    Chain::load(&configuration(filters)).map(Arc::new).map_err(|e| e.to_string())
}

/// The same with this world around it.
pub(crate) fn load_with(filters: &[Filter], outside: &Outside) -> Arc<Chain> {
    Arc::new(Chain::load_with(&configuration(filters), outside).unwrap_or_else(|e| panic!("{e}")))
}

/// What a session comes to that brought nothing.
pub(crate) const SUMMARY: Summary = Summary { transactions: 0, delivered: 0, octets: 0, duration: Duration::ZERO };

/// What a transaction comes to that brought nothing.
pub(crate) const ENDING: Ending = Ending { reason: AbortReason::Reset, octets: 0, duration: Duration::ZERO };

/// One session of a chain, with an envelope where there is one.
pub(crate) struct Session {
    pub chain: SessionChain,
    pub ctx: Context,
}

pub(crate) fn session(chain: &Arc<Chain>) -> Session {
    let facts = SessionFacts {
        after_login: AfterLogin::No,
        id: "s1".into(),
        listener: "mx".into(),
        peer: SocketAddr::from(([192, 0, 2, 7], 4711)),
        local: SocketAddr::from(([198, 51, 100, 1], 25)),
        peer_name: PeerName::Confirmed("client.example.net".into()),
        reverse_name: PeerName::Unavailable,
        hello: Some(hello("client.example.net")),
        tls: None,
        auth: None,
        introduced: None,
    };
    let ctx = Context { session: Arc::new(facts), envelope: None };
    Session { chain: SessionChain::new(Arc::clone(chain), "mx"), ctx }
}

pub(crate) fn hello(name: &str) -> Hello {
    Hello { name: name.into(), extended: true }
}

pub(crate) fn sender(address: &str) -> Sender {
    Sender { path: ReversePath::parse(address).unwrap(), params: Params::default() }
}

pub(crate) fn recipient(address: &str) -> Recipient {
    Recipient { path: ForwardPath::parse(address).unwrap(), params: Params::default() }
}

impl Session {
    pub(crate) async fn ask(&mut self, call: Call<'_>) -> Outcome {
        self.chain.consult(call, &self.ctx).await
    }

    pub(crate) async fn helo(&mut self) -> Outcome {
        self.ask(Call::Helo(&hello("client.example.net"))).await
    }

    pub(crate) async fn mail(&mut self) -> Outcome {
        self.ctx.envelope = Some(Arc::new(Envelope {
            id: "s1.1".into(),
            sender: sender("alice@example.net"),
            recipients: vec![recipient("bob@example.org")],
        }));
        self.ask(Call::Mail(&sender("alice@example.net"))).await
    }

    /// An empty one.
    pub(crate) async fn message(&mut self) -> Outcome {
        self.ask(Call::Message(&mut Held::default())).await
    }

    pub(crate) async fn rcpt(&mut self) -> Outcome {
        self.ask(Call::Rcpt(&recipient("carol@example.org"))).await
    }
}

/// The reason of the last opinion: what the puppet had to tell.
#[track_caller]
pub(crate) fn told(outcome: &Outcome) -> &str {
    outcome.opinions.last().and_then(|opinion| opinion.reason.as_deref()).unwrap_or_default()
}

/// The kind of the fault, if there was one.
pub(crate) fn fault(outcome: &Outcome) -> Option<&str> {
    outcome.opinions.iter().find(|o| o.action == "fault").and_then(|o| o.reason.as_deref())
}

/// "451 4.3.0", "next".
pub(crate) fn brief(verdict: &Verdict) -> String {
    match (verdict.action, &verdict.reply) {
        (Action::Next, _) => "next".into(),
        (action, None) => format!("{action:?}").to_lowercase(),
        (_, Some(reply)) => {
            let enhanced = reply.enhanced.map(|e| format!(" {e}")).unwrap_or_default();
            format!("{}{enhanced}", reply.code)
        }
    }
}
