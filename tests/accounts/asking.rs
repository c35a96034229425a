//! The accounts of a configuration, asked as a session asks them.

use std::sync::Arc;

use wasmilter::accounts::{Accounts, Backends, Client, Reach, Verification};
use wasmilter::config::parse;
use wasmilter::mail::{SessionFacts, TlsFacts};
use wasmilter::net::dial::{Dial, Tcp};
use wasmilter::net::dns::Resolver;
use wasmilter::smtp::sasl::Secret;
use wasmilter::state::limits::LoginStanding;

pub(crate) struct Asked {
    accounts: Accounts,
    runtime: tokio::runtime::Runtime,
}

impl Asked {
    /// Of a gateway with this one `[[auth.backend]]`, given without its head and its name.
    pub(crate) fn of(backend: &str) -> Asked {
        let text = format!(
            "hostname = \"mx.inside.test\"\nupstream = {{ address = \"127.0.0.1:10025\" }}\n\
             tls = {{ certificate = \"c\", key = \"k\" }}\n[[listener]]\nname = \"submission\"\n\
             address = \"127.0.0.1:587\"\nauth = \"required\"\n[[auth.backend]]\nname = \"asked\"\n{backend}\n"
        );
        let config = parse(&text, "/etc/wasmilter/wasmilter.toml", &|_| None).unwrap_or_else(|why| panic!("{why}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (resolver, dialer) = (Resolver::new(&config.resolver).unwrap(), Arc::new(Tcp) as Arc<dyn Dial>);
        let reach = Reach { upstreams: None, resolver: &resolver, dialer: &dialer };
        let backends = Backends::load(config.auth.as_ref().unwrap(), &reach).unwrap();
        Asked { accounts: Accounts::new(backends), runtime }
    }

    pub(crate) fn verify(&self, name: &str, password: &str) -> Verification {
        let facts = facts();
        let client = Client { session: &facts, attempt: 1, standing: LoginStanding::Unknown };
        self.runtime.block_on(self.accounts.verify(&client, name, &Secret::new(password.as_bytes().to_vec())))
    }
}

pub(crate) fn good(name: &str) -> Verification {
    Verification::Good(name.into())
}

fn facts() -> SessionFacts {
    let tls = TlsFacts::new("TLSv1.3", "TLS_AES_256_GCM_SHA384".into(), 256);
    let (peer, local) = ("192.0.2.7:4711".parse().unwrap(), "192.0.2.25:587".parse().unwrap());
    SessionFacts { tls: Some(Arc::new(tls)), ..SessionFacts::new("5f3a".into(), "submission".into(), peer, local) }
}
