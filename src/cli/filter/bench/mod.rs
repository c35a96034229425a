//! `wasmilter filter bench`: what a filter costs, a stage and a message at a time, beside a filter that does nothing.

mod figures;
mod lap;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Format;
use super::mails::Mails;
use super::site::{BASE, Site, SiteArgs};
use super::trouble::{EXIT_NO_INPUT, EXIT_SOFTWARE, Trouble};
use super::watch::Watch;
use crate::chain::Chain;
use crate::config;
use crate::filter::StageSet;
use crate::mail::Stage;
use figures::Figures;
use lap::{Course, Lap};

/// The filter that does nothing; empty.wat beside it is what it is made of.
const EMPTY: &[u8] = include_bytes!("empty.wasm");
/// Slots of the pool: one session at a time.
const SLOTS: u32 = 16;
/// Octets of all messages: they are in memory, so that no disk is measured.
const CORPUS_BYTES_MAX: usize = 256 << 20;
/// Messages in a row, before the other filter has its turn.
const ROUND_MESSAGES_MIN: usize = 16;
/// How long a round should take at least, for a processor clock of microseconds.
const ROUND_MIN: Duration = Duration::from_millis(20);
/// Rounds of each kind, however short the time is.
const ROUNDS_MIN: usize = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0; 64 usage, 65 the filter does not load, 66 a message cannot be read.")]
pub struct Bench {
    /// The filter.
    #[arg(value_name = "F.wasm")]
    filter: PathBuf,
    /// Messages, mbox files, Maildirs, folders of these. Without any, a made-up message of 64 KiB.
    #[arg(value_name = "CORPUS")]
    mail: Vec<PathBuf>,
    #[command(flatten)]
    site: SiteArgs,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3_600))]
    seconds: u16,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Measures, and prints.
pub(super) fn run(args: &Bench) -> Result<ExitCode, Trouble> {
    let mails = corpus(args)?;
    // So that what filters log is formatted, as it would be, and does not fill a terminal.
    let watch = Watch::begin();
    let site = Site::open(&args.site, &[&args.filter], SLOTS)?;
    let stages = site.chain.programs().fold(StageSet::NONE, |all, program| all.union(program.stages()));
    let empty = empty()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Figures::new(&args.filter, &mails);
    let until = Instant::now() + Duration::from_secs(u64::from(args.seconds));
    runtime.block_on(async {
        let courses = [
            Course::new(&site.chain, site.listeners.first().map_or("", String::as_str), stages),
            Course::new(&empty, "empty", stages),
        ];
        figures.look(&courses[0], &mails).await;
        let messages = courses[0].round(&mails, Lap::Fresh, ROUND_MIN, ROUND_MESSAGES_MIN).await.messages();
        let mut rounds = 0;
        while rounds < ROUNDS_MIN || Instant::now() < until {
            for lap in [Lap::Warm, Lap::Fresh] {
                for (whose, course) in courses.iter().enumerate() {
                    let round = course.round(&mails, lap, Duration::ZERO, messages).await;
                    figures.add(lap, whose, round);
                }
            }
            watch.take_all();
            rounds += 1;
        }
    });
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Text => write!(out, "{}", figures.text(&site.notes))?,
        Format::Json => writeln!(out, "{:#}", figures.json())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The messages, with what a session says about them.
fn corpus(args: &Bench) -> Result<Vec<super::mails::Mail>, Trouble> {
    if args.mail.is_empty() {
        return Ok(vec![lap::made_up()]);
    }
    let mut mails = Mails::find(&args.mail).map_err(|(path, why)| Trouble::unreadable(&path, &why))?;
    let (mut all, mut octets) = (Vec::new(), 0);
    while let Some(mail) = mails.next() {
        let mail = mail.map_err(|(path, why)| Trouble::unreadable(&path, &why))?;
        octets += mail.content.len();
        if octets > CORPUS_BYTES_MAX {
            break;
        }
        all.push(mail);
    }
    if all.is_empty() {
        return Err(Trouble::new(EXIT_NO_INPUT, "there is no message in what was named", "name messages, or nothing"));
    }
    Ok(all)
}

/// A chain with the filter that does nothing.
fn empty() -> Result<std::sync::Arc<Chain>, Trouble> {
    let broken = |why: &dyn std::fmt::Display| Trouble::new(EXIT_SOFTWARE, format!("the empty filter: {why}"), "");
    let mut file = tempfile::NamedTempFile::new().map_err(|why| broken(&why))?;
    file.write_all(EMPTY).map_err(|why| broken(&why))?;
    let path = super::inspect::quoted(&file.path().display().to_string());
    let toml = format!(
        "{BASE}[engine]\ninstances = {SLOTS}\n[[listener]]\nname = \"empty\"\naddress = \"127.0.0.1:0\"\n\
         [[filter]]\nname = \"empty\"\npath = {path}\n"
    );
    let config = config::parse(&toml, "(made up)", &|_| None).map_err(|why| broken(&why))?;
    let chain = Chain::load(&config).map_err(|why| broken(&why))?;
    if chain.programs().any(|program| !program.stages().contains(Stage::Message)) {
        return Err(broken(&"its words are not those of the contract"));
    }
    Ok(std::sync::Arc::new(chain))
}
