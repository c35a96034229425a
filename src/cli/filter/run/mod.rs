//! `wasmilter filter run`: what a filter does with mail that is there already.

mod against;
mod crowd;
mod show;
mod summary;

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Format;
use super::envelope::{Guessed, guess};
use super::mails::{Mail, Mails};
use super::paint::Paint;
use super::play::{Client, Played, Player};
use super::site::{Site, SiteArgs};
use super::trouble::{EXIT_NO_INPUT, EXIT_USAGE, Trouble};
use super::watch::Watch;
use crate::report::printable;
use crate::smtp::{ForwardPath, ReversePath};
use against::Comparison;
pub(super) use show::log_line;
use summary::Summary;

/// Of `--against`: something differs, and the question cannot be answered.
const EXIT_DIFFERENT: u8 = 1;
const EXIT_TROUBLE: u8 = 2;
/// The filter failed at a message.
const EXIT_FAULTS: u8 = 1;
/// Questions without an answer that are told.
const UNANSWERED_SHOWN: usize = 10;
/// Slots of the pool for each job and filter.
const SLOTS_PER_JOB: u32 = 16;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0; 1 the filter failed at a message; 64 usage, 65 the filter does not load, 66 mail \
                        cannot be read, 78 configuration. With --against: 0 the same, 1 different, 2 trouble."
)]
pub struct Run {
    /// The filter.
    #[arg(value_name = "F.wasm")]
    filter: PathBuf,
    /// Messages (.eml), mbox files, Maildirs, or folders of these.
    #[arg(value_name = "MAIL", required = true)]
    mail: Vec<PathBuf>,
    /// The sender; from the message if nothing is said. `<>` is the null sender.
    #[arg(long, value_name = "ADDRESS", value_parser = sender)]
    from: Option<ReversePath>,
    /// A recipient, as often as needed; from the message if nothing is said.
    #[arg(long = "rcpt", value_name = "ADDRESS", value_parser = recipient)]
    to: Vec<ForwardPath>,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.7")]
    ip: IpAddr,
    /// What the client says in EHLO.
    #[arg(long, value_name = "NAME", default_value = "client.test")]
    helo: String,
    /// The client's confirmed name.
    #[arg(long, value_name = "NAME")]
    peer_name: Option<String>,
    /// The client began TLS.
    #[arg(long)]
    tls: bool,
    /// The client logged in, as this account.
    #[arg(long, value_name = "ACCOUNT")]
    auth: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    /// Run another version over the same messages, too, and show where they differ.
    #[arg(long, value_name = "OTHER.wasm")]
    against: Option<PathBuf>,
    /// Of many messages show these in full: next, edited, marked, reject, defer, discard, quarantine, disconnect, fault,
    /// or all.
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',')]
    show: Vec<String>,
    /// Messages at once (0: as many as there are processors).
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(..=256))]
    jobs: u16,
    /// How to show it; JSON has a line for each message and a last one for all of them.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Of `--show`.
const SHOWN: [&str; 10] =
    ["all", "next", "edited", "marked", "reject", "defer", "discard", "quarantine", "disconnect", "fault"];

fn sender(text: &str) -> Result<ReversePath, String> {
    ReversePath::parse(text.trim_matches(['<', '>'])).map_err(|why| why.to_string())
}

fn recipient(text: &str) -> Result<ForwardPath, String> {
    ForwardPath::parse(text.trim_matches(['<', '>'])).map_err(|why| why.to_string())
}

/// Runs it. See the help for what the status says.
pub(super) fn run(args: &Run) -> Result<ExitCode, Trouble> {
    let done = play_all(args);
    if args.against.is_some() { done.map_err(|trouble| trouble.with_status(EXIT_TROUBLE)) } else { done }
}

fn play_all(args: &Run) -> Result<ExitCode, Trouble> {
    if let Some(wrong) = args.show.iter().find(|wanted| !SHOWN.contains(&wanted.as_str())) {
        let help = format!("write one or more of {}", SHOWN.join(", "));
        return Err(Trouble::new(EXIT_USAGE, format!("nothing is called \"{wrong}\" here"), help));
    }
    let mails = Mails::find(&args.mail).map_err(|(path, why)| Trouble::unreadable(&path, &why))?;
    let watch = Watch::begin();
    let jobs = crowd::jobs(args.jobs);
    let components: Vec<&Path> = std::iter::once(&args.filter).chain(&args.against).map(PathBuf::as_path).collect();
    let site = Site::open(&args.site, &components, SLOTS_PER_JOB * jobs)?;
    let players: Vec<Player> = site.listeners.iter().map(|listener| args.player(&site, listener, &watch)).collect();
    let out = Out { args, paint: Paint::stdout(), single: true, held: None };
    let status = match players.as_slice() {
        [this, other] => compare(args, mails, jobs, this, other),
        [only] => {
            out.notes(&site.notes)?;
            alone(mails, jobs, only, out)
        }
        _ => Err(Trouble::new(EXIT_USAGE, "there is no filter to run", "")),
    }?;
    report_unanswered(&site.unanswered());
    Ok(status)
}

/// What filters asked and nobody answered: whoever reads the verdicts has to know.
fn report_unanswered(questions: &[String]) {
    for question in questions.iter().take(UNANSWERED_SHOWN) {
        eprintln!("wasmilter: asked, and not answered: {}", printable(question));
    }
    if !questions.is_empty() {
        eprintln!("  help: write the answers into a file for --answers, or ask the world: --online");
    }
}

impl Run {
    fn player(&self, site: &Site, listener: &str, watch: &Watch) -> Player {
        Player {
            chain: site.chain.clone(),
            listener: listener.to_owned(),
            client: Client {
                address: self.ip,
                name: self.peer_name.clone(),
                helo: self.helo.clone(),
                tls: self.tls,
                auth: self.auth.clone(),
            },
            watch: watch.clone(),
        }
    }

    fn envelope(&self, mail: &Mail) -> Guessed {
        guess(mail, self.from.as_ref(), &self.to)
    }

    fn shows(&self, played: &Played) -> bool {
        self.show.iter().any(|wanted| match wanted.as_str() {
            "all" => true,
            "edited" => played.is_edited(),
            "marked" => !played.marked.is_empty(),
            action => action == played.action(),
        })
    }
}

/// One message and what became of it.
struct Shot {
    mail: Mail,
    envelope: Guessed,
    played: Played,
}

/// What is written to standard output. A lone message is shown whole, of many only a summary: which it is turns out
/// with the second.
struct Out<'a> {
    args: &'a Run,
    paint: Paint,
    single: bool,
    held: Option<Shot>,
}

impl Out<'_> {
    fn notes(&self, notes: &[String]) -> Result<(), Trouble> {
        if self.args.format == Format::Text {
            let mut out = std::io::stdout().lock();
            for note in notes {
                writeln!(out, "{}", self.paint.dim(&printable(note)))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, shot: Shot) -> Result<(), Trouble> {
        if self.args.format == Format::Json {
            let line = show::json(&shot.mail, &shot.envelope, &shot.played);
            writeln!(std::io::stdout().lock(), "{line}")?;
            return Ok(());
        }
        let before = self.held.take();
        if self.single && before.is_none() {
            self.held = Some(shot);
            return Ok(());
        }
        self.single = false;
        for shot in before.into_iter().chain([shot]).filter(|shot| self.args.shows(&shot.played)) {
            self.show(&shot)?;
        }
        Ok(())
    }

    fn show(&self, shot: &Shot) -> Result<(), Trouble> {
        let text = show::text(&shot.mail, &shot.envelope, &shot.played, self.paint);
        Ok(writeln!(std::io::stdout().lock(), "{text}")?)
    }
}

fn alone(mails: Mails, jobs: u32, player: &Player, mut out: Out<'_>) -> Result<ExitCode, Trouble> {
    let args = out.args;
    let mut summary = Summary::default();
    let begun = std::time::Instant::now();
    let work = async |id: String, mail: Mail| {
        let envelope = args.envelope(&mail);
        let played = player.play(&id, &mail.content, &envelope).await;
        Shot { mail, envelope, played }
    };
    let unread = crowd::each(mails, jobs, &work, |shot: Shot| {
        summary.count(&shot.played);
        out.take(shot)
    })?;
    summary.took = begun.elapsed();
    report_unread(&unread);
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Json => writeln!(stdout, "{}", summary.json(unread.len()))?,
        Format::Text => match out.held.take() {
            Some(shot) => {
                drop(stdout);
                out.show(&shot)?;
            }
            None => write!(stdout, "{}", summary.text(out.paint))?,
        },
    }
    Ok(status(&summary, unread.len()))
}

fn status(summary: &Summary, unread: usize) -> ExitCode {
    if unread > 0 || summary.messages == 0 {
        ExitCode::from(EXIT_NO_INPUT)
    } else if summary.has_faults() {
        ExitCode::from(EXIT_FAULTS)
    } else {
        ExitCode::SUCCESS
    }
}

fn report_unread(unread: &[(PathBuf, std::io::Error)]) {
    for (path, why) in unread {
        eprintln!("wasmilter: {} was left out: {why}", printable(&path.display().to_string()));
    }
}

/// Both over the same messages.
fn compare(args: &Run, mails: Mails, jobs: u32, this: &Player, other: &Player) -> Result<ExitCode, Trouble> {
    let mut found = Comparison::default();
    let work = async |id: String, mail: Mail| {
        let envelope = args.envelope(&mail);
        let first = this.play(&id, &mail.content, &envelope).await;
        let second = other.play(&format!("{id}-other"), &mail.content, &envelope).await;
        against::Pair { mail, first, second }
    };
    let unread = crowd::each(mails, jobs, &work, |pair| {
        found.count(&pair);
        Ok(())
    })?;
    report_unread(&unread);
    let names =
        (args.filter.display().to_string(), args.against.as_deref().unwrap_or(&args.filter).display().to_string());
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Json => writeln!(stdout, "{:#}", found.json((&names.0, &names.1)))?,
        Format::Text => write!(stdout, "{}", found.text((&names.0, &names.1), Paint::stdout()))?,
    }
    if !unread.is_empty() || found.messages == 0 {
        return Ok(ExitCode::from(EXIT_TROUBLE));
    }
    Ok(if found.is_same() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERENT) })
}

/// Somebody looks at standard error.
fn has_terminal() -> bool {
    std::io::stderr().is_terminal()
}
