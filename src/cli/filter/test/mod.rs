//! `wasmilter filter test`: a filter held to its dialogs, behind the real gateway, in a world that the dialogs describe.

mod place;
mod report;
mod stage;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::Format;
use super::paint::Paint;
use super::trouble::Trouble;
use super::watch::{Line, Watch};
use crate::dialog::{Failure, How, Patience, Script, Why, replay};
use place::Place;
use stage::Stage;

/// A dialog is not heard as written.
const EXIT_FAILED: u8 = 1;
/// Longer than anything here takes.
const PATIENCE: Patience = Patience { answer: Duration::from_secs(30), otherwise: Duration::from_secs(2) };

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 all dialogs are heard as written, 1 some are not, 64 usage, 65 the filter does not \
                        load, 66 no dialog, or one that cannot be read. docs/dialogs.md describes the files."
)]
pub struct Test {
    /// A filter's folder (with filter.toml, tests/*.dialog and what `wasmilter filter build` made), or a filter.
    #[arg(value_name = "DIR|F.wasm", default_value = ".")]
    filter: PathBuf,
    /// Dialogs, or folders of them; those of the filter's folder if none are named.
    #[arg(value_name = "DIALOG")]
    dialogs: Vec<PathBuf>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A dialog that was replayed.
struct Tried {
    path: PathBuf,
    failure: Option<Failure>,
    log: Vec<Line>,
    /// Questions that nothing in the dialog answers.
    unanswered: Vec<String>,
}

/// All dialogs of a filter's folder.
pub(super) fn folder(dir: &Path) -> Result<ExitCode, Trouble> {
    run(&Test { filter: dir.to_owned(), dialogs: Vec::new(), format: Format::Text })
}

/// Replays them, one after the other. Status 1 when one is not heard as written.
pub(super) fn run(args: &Test) -> Result<ExitCode, Trouble> {
    let place = Place::find(&args.filter, &args.dialogs)?;
    let watch = Watch::begin();
    let stage = Stage::set(&place)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let paint = Paint::stdout();
    let mut out = std::io::stdout().lock();
    let mut tried = Vec::new();
    for path in &place.dialogs {
        let text = std::fs::read_to_string(path).map_err(|why| Trouble::unreadable(path, &why))?;
        // What the filter said while it was loaded belongs to no dialog.
        watch.take_all();
        let (failure, unanswered) = runtime.block_on(try_one(&stage, &text));
        let one = Tried { path: path.clone(), failure, log: watch.take_all(), unanswered };
        if args.format == Format::Text {
            write!(out, "{}", report::text(&one, &text, paint))?;
        }
        tried.push(one);
    }
    let failed = tried.iter().filter(|one| one.failure.is_some()).count();
    match args.format {
        Format::Text => writeln!(out, "{}", report::last(tried.len(), failed, paint))?,
        Format::Json => {
            let dialogs: Vec<Value> = tried.iter().map(report::json).collect();
            writeln!(out, "{:#}", json!({ "dialogs": dialogs, "passed": tried.len() - failed, "failed": failed }))?;
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// A dialog in all ways of replaying it, until one fails.
async fn try_one(stage: &Stage<'_>, text: &str) -> (Option<Failure>, Vec<String>) {
    let wrong = |(line, why): (usize, String)| Failure {
        line: Some(line),
        how: How::AsWritten,
        why: Why::Other(why),
        meanwhile: Vec::new(),
    };
    let script = match Script::parse(text) {
        Ok(script) => script,
        Err(fault) => return (Some(wrong(fault)), Vec::new()),
    };
    let scene = match stage.scene(&script) {
        Ok(scene) => scene,
        Err(fault) => return (Some(wrong(fault)), Vec::new()),
    };
    for how in [How::AsWritten, How::OctetByOctet, How::OnePacket] {
        if how != How::AsWritten && script.as_written {
            break;
        }
        let world = scene.world();
        let set = |upstream| scene.setting(&world, upstream);
        if let Err(failure) = Box::pin(replay(&script, how, PATIENCE, &set)).await {
            return (Some(failure), world.unanswered());
        }
    }
    (None, Vec::new())
}
