//! The servers of a Redis cluster: who has which part of the keys, kept up to date, and a question to the right one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::{Cmd, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::board::Board;
use super::connect::Reach;
use super::node::{NoAnswer, Node};
use super::script::Call;
use super::slots::{Range, SLOTS, ranges};
use crate::config::RedisServer;

/// Servers of a cluster; its own bound is a thousand.
pub(super) const SERVERS_MAX: usize = 1_000;
/// How often one question may be told to go elsewhere.
pub(super) const POINTED_MAX: usize = 3;
/// How often the cluster is asked who has what: as things are, and while something is not as it should be.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(30);
pub(super) const LOOK_SOON: Duration = Duration::from_secs(1);
/// Not more often than this, whoever wants it.
pub(super) const LOOK_GAP: Duration = Duration::from_millis(200);

/// A server that somebody looks after, for as long as this lives.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) node: Arc<Node>,
    _keeper: AbortOnDropHandle<()>,
}

impl Kept {
    pub(super) fn new(node: Node, reach: &Arc<Reach>, timeout_each: Duration, found: &Arc<Notify>) -> Kept {
        let node = Arc::new(node);
        let keeper = Arc::clone(&node).keep(Arc::clone(reach), timeout_each, Arc::clone(found));
        Kept { node, _keeper: AbortOnDropHandle::new(tokio::spawn(keeper)) }
    }
}

#[derive(Debug)]
pub(super) struct Cluster {
    seeds: Vec<RedisServer>,
    reach: Arc<Reach>,
    timeout: Duration,
    board: Arc<Board>,
    map: ArcSwap<Map>,
    /// Something is not as the map has it, or a server came.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Map {
    nodes: BTreeMap<RedisServer, Arc<Kept>>,
    /// By their first slot.
    owners: Vec<(Range, Arc<Node>)>,
}

impl Map {
    fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        let behind = self.owners.partition_point(|(range, _)| range.first <= slot);
        let (range, node) = self.owners.get(behind.checked_sub(1)?)?;
        (slot <= range.last).then_some(node)
    }

    /// Every part has an owner, and every owner is there.
    fn is_whole(&self) -> bool {
        let covered: u32 = self.owners.iter().map(|(range, _)| u32::from(range.last - range.first) + 1).sum();
        covered == u32::from(SLOTS) && self.owners.iter().all(|(_, node)| node.is_up())
    }
}

impl Cluster {
    pub(super) fn new(
        seeds: Vec<RedisServer>,
        reach: Arc<Reach>,
        timeout_each: Duration,
        board: &Arc<Board>,
    ) -> Cluster {
        let cluster = Cluster {
            seeds,
            reach,
            timeout: timeout_each,
            board: Arc::clone(board),
            map: ArcSwap::default(),
            changed: Arc::default(),
        };
        cluster.take_over(Vec::new());
        cluster
    }

    /// Asks whoever has the slot.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub(super) async fn ask(&self, slot: u16, call: &Call, deadline: Instant) -> Result<Value, NoAnswer> {
        let owner = self.map.load().owner(slot).cloned();
        let Some(mut node) = owner else { return Err(NoAnswer::Away) };
        let mut asking = false;
        for _ in 0..POINTED_MAX {
            match node.ask(call, asking, deadline).await {
                Err(NoAnswer::Elsewhere { server, ask }) => {
                    if !ask {
                        self.changed.notify_one();
                    }
                    let known = self.map.load().nodes.get(&server).map(|kept| Arc::clone(&kept.node));
                    let Some(known) = known else { return Err(NoAnswer::Away) };
                    (node, asking) = (known, ask);
                }
                Err(NoAnswer::Odd(why)) => {
                    self.board.odd(node.name(), &why);
                    return Err(NoAnswer::Odd(why));
                }
                answer => return answer,
            }
        }
        Err(NoAnswer::Away)
    }

    /// Keeps the map up to date. Never ends.
    pub(super) async fn watch(self: Arc<Cluster>) {
        loop {
            self.look().await;
            sleep(LOOK_GAP).await;
            let soon = if self.map.load().is_whole() { LOOK_EVERY } else { LOOK_SOON };
            let _ = timeout(soon, self.changed.notified()).await;
        }
    }

    /// Asks those who are there until one tells who has what.
    async fn look(&self) {
        let nodes: Vec<Arc<Kept>> = self.map.load().nodes.values().cloned().collect();
        let mut question = Cmd::new();
        question.arg("CLUSTER").arg("SLOTS");
        let question = Call::Plain(question);
        for kept in nodes {
            let Some(server) = kept.node.server() else { continue };
            match kept.node.ask(&question, false, Instant::now() + self.timeout).await {
                Ok(answer) => match ranges(&answer, &server) {
                    Some(ranges) => return self.take_over(ranges),
                    None => self.board.odd(kept.node.name(), "it does not tell who has which part of the cluster"),
                },
                Err(NoAnswer::Odd(why)) => self.board.odd(kept.node.name(), &why),
                Err(_) => {}
            }
        }
    }

    fn take_over(&self, mut ranges: Vec<Range>) {
        ranges.sort_by_key(|range| range.first);
        let before = self.map.load_full();
        let owners = ranges.iter().map(|range| range.server.clone());
        let wanted: BTreeSet<RedisServer> = self.seeds.iter().cloned().chain(owners).take(SERVERS_MAX).collect();
        let keep = |server: RedisServer| {
            let kept = before.nodes.get(&server).cloned().unwrap_or_else(|| {
                let node = Node::new(vec![server.clone()], &self.board);
                Arc::new(Kept::new(node, &self.reach, self.timeout, &self.changed))
            });
            (server, kept)
        };
        let nodes: BTreeMap<RedisServer, Arc<Kept>> = wanted.into_iter().map(keep).collect();
        for (server, gone) in &before.nodes {
            if !nodes.contains_key(server) {
                self.board.forget(gone.node.name());
            }
        }
        let owned = |range: Range| {
            let kept = nodes.get(&range.server)?;
            Some((range, Arc::clone(&kept.node)))
        };
        let owners: Vec<(Range, Arc<Node>)> = ranges.into_iter().filter_map(owned).collect();
        let needed = owners.iter().map(|(_, node)| node.name().to_owned()).collect();
        let covered: u32 = owners.iter().map(|(range, _)| u32::from(range.last - range.first) + 1).sum();
        self.map.store(Arc::new(Map { nodes, owners }));
        self.board.needed(needed, covered == u32::from(SLOTS));
    }
}
