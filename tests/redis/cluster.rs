//! A real cluster of three masters.

use std::process::Command;

use wasmilter::shared::Shared;

use crate::gateway::{Client, Gateway};
use crate::limits::is_up;
use crate::server::{Redis, free_port, until};
use crate::shared::{connected, question};
use crate::upstream::Upstream;

pub(crate) struct Cluster([Redis; 3]);

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let cluster = Cluster([(); 3].map(|()| {
            let bus = free_port().to_string();
            let fixed = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
            // What is left goes on where a part is away.
            let more =
                ["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no", "--cluster-port", &bus];
            Redis::start_with(&[&fixed[..], &more].concat())
        }));
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(cluster.0.iter().map(|redis| format!("127.0.0.1:{}", redis.port)));
        let said = create.args(["--cluster-yes"]).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        for redis in &cluster.0 {
            until("the cluster is whole", || redis.say(&["CLUSTER", "INFO"]).join("\n").contains("cluster_state:ok"));
        }
        cluster
    }

    /// One of them is enough to find the others.
    pub(crate) fn state(&self) -> String {
        format!("redis = \"{}\"\ncluster = true\ntimeout = \"2s\"\n", self.0[0].url())
    }

    pub(crate) fn servers(&self) -> &[Redis] {
        &self.0
    }

    /// Ends one that is not asked who the others are, and says how many keys of tables it had.
    pub(crate) fn kill_one(&mut self) -> usize {
        let keys = self.0[2].say(&["KEYS", "mail:key:*"]).len();
        self.0[2].kill();
        keys
    }

    /// Who has a key, and one who has not.
    fn owner(&self, key: &str) -> (&Redis, &Redis) {
        let has = |redis: &&Redis| redis.say(&["KEYS", "*"]).iter().any(|known| known == key);
        let owner = self.0.iter().find(has).unwrap();
        (owner, self.0.iter().find(|redis| redis.port != owner.port).unwrap())
    }

    /// All keys of limits.
    fn keys(&self) -> Vec<String> {
        self.0.iter().flat_map(|redis| redis.say(&["KEYS", "wasmilter:{*"])).collect()
    }
}

#[test]
fn gateways_share_limits_in_a_cluster_and_lose_only_the_part_that_is_away() {
    let (upstream, mut cluster) = (Upstream::start(), Cluster::start());
    let limits = "[[limit]]\nname = \"address\"\ncount = \"recipients\"\nper = [\"address\"]\nrate = \"1/1h burst 90\"\n\
                  [[limit]]\nname = \"domain\"\ncount = \"recipients\"\nper = [\"recipient\"]\nrate = \"1/1h burst 2\"\n";
    let state = format!("[state]\n{}{limits}", cluster.state());
    let gateways = [(); 3].map(|()| Gateway::start(upstream.address, &state));
    for gateway in &gateways {
        until("all of the cluster is there", || is_up(gateway));
    }
    // The same recipient twice, whichever gateways, and the third is too often; over many keys, so over all three servers.
    for name in 0..20 {
        let answers = gateways.each_ref().map(|gateway| rcpt(gateway, name));
        let yes = answers.iter().filter(|answer| answer.starts_with("250 ")).count();
        assert_eq!(yes, 2, "{name}: {answers:?}");
    }
    assert!(
        cluster.0.iter().all(|redis| !redis.say(&["KEYS", "wasmilter:{*domain*"]).is_empty()),
        "{:?}",
        cluster.keys()
    );

    let gone: Vec<String> = cluster.0[2].say(&["KEYS", "wasmilter:{*domain*"]);
    cluster.0[2].kill();
    for gateway in &gateways {
        until("it is known that a part is away", || !is_up(gateway));
    }
    // Names that were refused stay refused where their part is there. In the other part each gateway has let through at most
    // two by itself, and goes on by that.
    let passed: usize =
        (0..20).map(|name| gateways.iter().filter(|gateway| rcpt(gateway, name).starts_with("250 ")).count()).sum();
    assert!(passed > 0 && passed <= gone.len() * 4, "{passed} of {}", gone.len());
}

fn rcpt(gateway: &Gateway, name: usize) -> String {
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say(&format!("RCPT TO:<n{name}@example.org>"))
}

/// Whether one more is allowed, by the shared state.
async fn allowed(shared: &Shared) -> bool {
    shared.decide_now(&[question("somebody", 6)]).await.unwrap()[0].is_ok()
}

#[test]
fn a_key_that_moves_is_found_where_it_goes() {
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shared = connected(&cluster.state()).await;
        assert!(allowed(&shared).await && allowed(&shared).await);
        let key = cluster.keys().pop().unwrap();
        let (from, to) = cluster.owner(&key);
        let slot = from.say(&["CLUSTER", "KEYSLOT", &key]).concat();
        let (from_id, to_id) = (from.say(&["CLUSTER", "MYID"]).concat(), to.say(&["CLUSTER", "MYID"]).concat());
        // On its way: the old owner sends those who ask for it to the new one, for this question.
        to.say(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.say(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        from.say(&["MIGRATE", "127.0.0.1", &to.port.to_string(), &key, "0", "5000"]);
        assert!(allowed(&shared).await && allowed(&shared).await);
        // There: for all questions.
        for redis in [to, from] {
            redis.say(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
        assert!(allowed(&shared).await && allowed(&shared).await);
        assert!(!allowed(&shared).await, "six times, wherever it was");
    });
}
