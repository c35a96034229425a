//! What is shown, one scene after the other. A scene says what the client saw, and what is behind it.

use std::fmt;
use std::pin::Pin;
use std::time::Instant;

use anyhow::Context as _;

use super::client::{Client, in_one_line};
use super::mail::Mail;
use super::site::{ACCOUNTS, BURST_MAX, Site};
use crate::smtp::Reply;

/// What became of a scene.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) as_it_should: bool,
    title: &'static str,
    /// What the client was told.
    told: String,
    /// What that means.
    means: String,
}

impl Seen {
    pub(super) fn failed(why: anyhow::Error) -> Seen {
        Seen { as_it_should: false, title: "a scene broke off", told: format!("{why:#}"), means: String::new() }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.as_it_should { "ok" } else { "NO" };
        write!(f, "  {mark}  {:<30} {:<62}", self.title, self.told)?;
        if self.means.is_empty() { Ok(()) } else { write!(f, " {}", self.means) }
    }
}

type Scene = for<'a> fn(&'a Site) -> Pin<Box<dyn Future<Output = anyhow::Result<Seen>> + 'a>>;

pub(super) const ALL: [Scene; 6] = [
    |site| Box::pin(clean_mail(site)),
    |site| Box::pin(blocked_attachment(site)),
    |site| Box::pin(relay_refused(site)),
    |site| Box::pin(relay_after_login(site)),
    |site| Box::pin(burst(site)),
    |site| Box::pin(endless_filter(site)),
];

const STRANGER: &str = "friend@world.test";
const ELSEWHERE: &str = "friend@elsewhere.test";

async fn clean_mail(site: &Site) -> anyhow::Result<Seen> {
    let mut client = Client::plain(site.mx).await?;
    let reply = client.send(&Mail::clean(STRANGER, "ann@example.test")).await?;
    let stored = site.stored("ann@example.test")?;
    let header = stored.as_ref().and_then(|text| text.lines().find(|line| line.starts_with("X-Wasmilter:")));
    let whole = stored.as_ref().is_some_and(|text| text.contains("at noon.\r\n.\r\nThe line above"));
    Ok(Seen {
        as_it_should: reply.code == 250 && whole && header.is_some(),
        title: "a clean message",
        told: in_one_line(&reply),
        means: match header {
            Some(header) => format!("stored, with the field {header}"),
            None => "but without the filter's field".to_owned(),
        },
    })
}

async fn blocked_attachment(site: &Site) -> anyhow::Result<Seen> {
    let mut client = Client::plain(site.mx).await?;
    let reply = client.send(&Mail::with_a_program(STRANGER, "bob@example.test")).await?;
    let arrived = site.stored("bob@example.test")?.is_some();
    Ok(Seen {
        as_it_should: reply.class() == 5 && !arrived,
        title: "a program as \"invoice\"",
        told: in_one_line(&reply),
        means: if arrived { "but it is in the mailbox" } else { "refused by the filter" }.into(),
    })
}

async fn relay_refused(site: &Site) -> anyhow::Result<Seen> {
    let mut client = Client::plain(site.mx).await?;
    let reply = client.send(&Mail::clean(STRANGER, ELSEWHERE)).await?;
    Ok(Seen {
        as_it_should: reply.class() == 5 && site.stored(ELSEWHERE)?.is_none(),
        title: "a stranger, to somewhere else",
        told: in_one_line(&reply),
        means: "refused, and the mail server was not asked".to_owned(),
    })
}

async fn relay_after_login(site: &Site) -> anyhow::Result<Seen> {
    let [(account, password), _] = ACCOUNTS;
    let mut client = Client::plain(site.submission).await?;
    client.start_tls().await?;
    client.log_in(account, password).await?;
    let reply = client.send(&Mail::clean(account, ELSEWHERE)).await?;
    let known = site.introduced(ELSEWHERE).is_some_and(|client| client.contains(&format!("login={account}")));
    Ok(Seen {
        as_it_should: reply.code == 250 && known,
        title: "the same after STARTTLS, AUTH",
        told: in_one_line(&reply),
        means: if known {
            format!("sent on, the mail server was told login={account}")
        } else {
            "but nameless".to_owned()
        },
    })
}

async fn burst(site: &Site) -> anyhow::Result<Seen> {
    let [_, (account, password)] = ACCOUNTS;
    let mut client = Client::tls(site.submissions).await?;
    client.log_in(account, password).await?;
    let mut replies: Vec<Reply> = Vec::new();
    for _ in 0..=BURST_MAX + 1 {
        let reply = client.send(&Mail::clean(account, "cat@example.test")).await?;
        if reply.class() != 2 {
            client.command("RSET").await?;
        }
        replies.push(reply);
    }
    let taken = replies.iter().take_while(|reply| reply.code == 250).count();
    let last = replies.last().context("nothing was sent")?;
    Ok(Seen {
        as_it_should: taken == BURST_MAX && replies.iter().skip(taken).all(|reply| reply.class() == 4),
        title: "a burst from one account",
        told: in_one_line(last),
        means: format!("the rate limit, after {taken} messages"),
    })
}

async fn endless_filter(site: &Site) -> anyhow::Result<Seen> {
    let mut victim = Client::plain(site.mx).await?;
    let mut other = Client::plain(site.mx).await?;
    let start = Instant::now();
    let looping = async {
        let reply = victim.send(&Mail::clean(STRANGER, "loop@example.test")).await?;
        anyhow::Ok((reply, start.elapsed()))
    };
    let meanwhile = async {
        let reply = other.send(&Mail::clean(STRANGER, "dan@example.test")).await?;
        anyhow::Ok((reply, start.elapsed()))
    };
    let ((reply, stopped), (others, delivered)) = tokio::try_join!(looping, meanwhile)?;
    let goes_on = victim.command("RSET").await?.code == 250;
    Ok(Seen {
        as_it_should: reply.class() == 4 && others.code == 250 && goes_on && delivered < stopped,
        title: "a filter that loops for ever",
        told: in_one_line(&reply),
        means: format!(
            "stopped after {} ms; another's mail meanwhile: {} in {} ms",
            stopped.as_millis(),
            others.code,
            delivered.as_millis()
        ),
    })
}
