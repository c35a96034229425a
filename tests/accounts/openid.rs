//! A real OpenID provider (oidc-provider, on Node.js), whose tokens curl shows to a whole gateway.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::gateway::Running;
use crate::process::{Daemon, folder, run};

const MECHANISMS: [&str; 2] = ["OAUTHBEARER", "XOAUTH2"];
/// Longer than the gateway takes to look for a provider again.
const BACK: Duration = Duration::from_secs(60);

struct Provider {
    issuer: String,
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Provider {
    fn start() -> Provider {
        let folder = folder("openid");
        let (issuer, daemon) = start(folder.path(), "0");
        Provider { issuer, folder, daemon }
    }

    /// At the same place, with other keys.
    fn start_again(&mut self) {
        let port = self.issuer.rsplit_once(':').unwrap().1.to_owned();
        (self.issuer, self.daemon) = start(self.folder.path(), &port);
    }

    /// One of this client's, for this resource.
    fn token(&self, client: &str, resource: &str) -> String {
        let what = ["grant_type=client_credentials", "scope=smtp", &format!("resource=urn:wasmilter:{resource}")];
        let said: serde_json::Value = serde_json::from_str(&self.post("/token", client, &what)).unwrap();
        said["access_token"].as_str().unwrap_or_else(|| panic!("no token: {said}")).to_owned()
    }

    fn post(&self, path: &str, client: &str, fields: &[&str]) -> String {
        let (url, user) = (format!("{}{path}", self.issuer), format!("{client}:secret+of+{client}"));
        let mut arguments = vec!["--silent", "--show-error", "--max-time", "60", "--user", &user, &url];
        for field in fields {
            arguments.extend(["--data-urlencode", field]);
        }
        run("curl", &arguments, "")
    }
}

fn start(folder: &Path, port: &str) -> (String, Daemon) {
    let home = std::env::var("OIDC_PROVIDER")
        .expect("OIDC_PROVIDER names where oidc-provider is installed: cargo xtask test --only accounts");
    let module = format!("{home}/node_modules/oidc-provider/lib/index.js");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accounts/provider.mjs");
    let log = folder.join("log");
    let mut daemon = Daemon::start(&["node", script.to_str().unwrap(), &module, port], &log);
    let issuer = || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        said.lines().find(|line| line.starts_with("http://127.0.0.1:")).map(str::to_owned)
    };
    daemon.wait_until(|| issuer().is_some());
    (issuer().unwrap(), daemon)
}

#[test]
fn tokens_that_are_verified_here() {
    let mut provider = Provider::start();
    let gateway = Running::start(&format!(
        "[[auth.backend]]\nname = \"login\"\nkind = \"oauth\"\nissuer = \"{}\"\naudience = \"urn:wasmilter:jwt\"\n\
         scope = \"smtp\"\n",
        provider.issuer
    ));
    let token = provider.token("anna", "jwt");
    for mechanism in MECHANISMS {
        let (taken, said) = gateway.submit("anna@inside.test", mechanism, &token);
        assert!(taken && said.contains("AUTH OAUTHBEARER XOAUTH2\n") && said.contains("\n< 235 2.7.0 "), "{said}");
        assert_eq!(gateway.log_in("otto@inside.test", mechanism, &token), "535", "another's token");
        assert_eq!(gateway.log_in("otto@inside.test", mechanism, &provider.token("otto", "jwt")), "235");
        for (client, resource) in [("anna", "others"), ("anna", "opaque"), ("unverified", "jwt")] {
            let token = provider.token(client, resource);
            let user = format!("{client}@inside.test");
            assert_eq!(gateway.log_in(&user, mechanism, &token), "535", "{client} {resource}");
        }
        let (message, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{message}.{}", signature.chars().rev().collect::<String>());
        assert_eq!(gateway.log_in("anna@inside.test", mechanism, &forged), "535");
    }
    provider.daemon.stop();
    assert_eq!(gateway.log_in("anna@inside.test", "OAUTHBEARER", &token), "235", "its keys are known");
    gateway.stop();
}

#[test]
fn a_provider_that_is_away_and_comes_back() {
    let mut provider = Provider::start();
    let token = provider.token("anna", "jwt");
    provider.daemon.stop();
    let gateway = Running::start(&format!(
        "[[auth.backend]]\nname = \"login\"\nkind = \"oauth\"\nissuer = \"{}\"\naudience = \"urn:wasmilter:jwt\"\n",
        provider.issuer
    ));
    for mechanism in MECHANISMS {
        assert_eq!(gateway.log_in("anna@inside.test", mechanism, &token), "454");
    }
    provider.start_again();
    let (new, began) = (provider.token("anna", "jwt"), Instant::now());
    while gateway.log_in("anna@inside.test", "OAUTHBEARER", &new) != "235" {
        assert!(began.elapsed() < BACK, "it does not find its provider again");
    }
    // Signed with a key that the provider has no more.
    assert_eq!(gateway.log_in("anna@inside.test", "OAUTHBEARER", &token), "535");
    gateway.stop();
}

#[test]
fn tokens_that_the_provider_is_asked_about() {
    let mut provider = Provider::start();
    let secret = provider.folder.path().join("secret");
    std::fs::write(&secret, "secret of gateway\n").unwrap();
    let gateway = Running::start(&format!(
        "[[auth.backend]]\nname = \"login\"\nkind = \"oauth\"\nissuer = \"{issuer}\"\naudience = \"urn:wasmilter:opaque\"\n\
         introspection = \"{issuer}/token/introspection\"\nclient-id = \"gateway\"\nclient-secret-file = \"{}\"\n",
        secret.display(),
        issuer = provider.issuer
    ));
    let token = provider.token("anna", "opaque");
    for mechanism in MECHANISMS {
        assert_eq!(gateway.log_in("anna@inside.test", mechanism, &token), "235");
        assert_eq!(gateway.log_in("otto@inside.test", mechanism, &token), "535");
        assert_eq!(gateway.log_in("unverified@inside.test", mechanism, &provider.token("unverified", "opaque")), "535");
        assert_eq!(gateway.log_in("anna@inside.test", mechanism, "made-up"), "535");
    }
    provider.post("/token/revocation", "anna", &[&format!("token={token}")]);
    assert_eq!(gateway.log_in("anna@inside.test", "OAUTHBEARER", &token), "535", "it was revoked");
    let token = provider.token("anna", "opaque");
    provider.daemon.stop();
    assert_eq!(gateway.log_in("anna@inside.test", "OAUTHBEARER", &token), "454");
    gateway.stop();
}
