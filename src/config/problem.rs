//! What is wrong with a configuration, shown as people want it: file, line, column, the line itself with a caret,
//! what is wrong in one sentence, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Octets of the file, from the first to past the last.
pub(super) type Span = Range<usize>;

/// Longest piece of the file that is repeated inside a sentence, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// At most so many errors are shown; the rest is usually their consequence.
const PROBLEMS_MAX: usize = 50;

/// One thing that is wrong, or (as a warning) probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where; `None` when it is about the file as a whole.
    span: Option<Span>,
    /// What is wrong, one sentence without a full stop.
    title: String,
    /// At the caret.
    label: String,
    /// Another place that belongs to it, and what is there.
    other: Option<Box<(Span, String)>>,
    help: Vec<String>,
}

impl Problem {
    pub(super) fn at(span: Span, title: impl Into<String>) -> Problem {
        Problem { span: Some(span), title: title.into(), label: String::new(), other: None, help: Vec::new() }
    }

    /// About a file that could not even be read.
    fn of_file(title: impl Into<String>) -> Problem {
        Problem { span: None, title: title.into(), label: String::new(), other: None, help: Vec::new() }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help.push(help.into());
        self
    }

    pub(super) fn other(mut self, span: Span, label: impl Into<String>) -> Problem {
        self.other = Some(Box::new((span, label.into())));
        self
    }
}

/// The text of a configuration and the name it is shown under.
#[derive(Clone, PartialEq, Eq)]
struct Source {
    file: Arc<str>,
    text: Arc<str>,
}

impl Source {
    fn render(&self, problem: &Problem, level: Level<'static>, renderer: &Renderer) -> String {
        let mut group: Group<'_> = level
            .primary_title(printable(&problem.title))
            .elements(std::iter::empty::<Snippet<'_, annotate_snippets::Annotation<'_>>>());
        if let Some(span) = &problem.span {
            let mut snippet = Snippet::source(&*self.text)
                .path(&*self.file)
                .annotation(AnnotationKind::Primary.span(self.clamp(span)).label(printable(&problem.label)));
            if let Some((other, label)) = problem.other.as_deref() {
                snippet = snippet.annotation(AnnotationKind::Context.span(self.clamp(other)).label(printable(label)));
            }
            group = group.element(snippet);
        } else {
            group = group.element(annotate_snippets::Origin::path(&*self.file));
        }
        for help in &problem.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        renderer.render(&[group])
    }

    /// A span inside the text, on character boundaries, and not empty where there is something to point at.
    fn clamp(&self, span: &Span) -> Span {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.max(start));
        start..end
    }

    /// Line and column, both counted from one; columns in characters.
    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..self.text.floor_char_boundary(offset)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.bytes().filter(|b| *b == b'\n').count() + 1, column)
    }
}

/// Everything that is wrong with a configuration file. `Display` shows it without colours.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    source: Source,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn new(file: &str, text: &str, problems: Vec<Problem>) -> ConfigErrors {
        ConfigErrors { source: Source { file: file.into(), text: text.into() }, problems: in_order(problems) }
    }

    /// For whoever opens the file, when that fails.
    #[must_use]
    pub fn unreadable(file: &str, why: impl fmt::Display) -> ConfigErrors {
        let problem = Problem::of_file(format!("the configuration cannot be read: {why}"));
        ConfigErrors::new(file, "", vec![problem.help("name another file with --config FILE")])
    }

    /// For a terminal (`colour`) or for a file.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = renderer(colour);
        let mut out = String::new();
        for problem in self.problems.iter().take(PROBLEMS_MAX) {
            out.push_str(&self.source.render(problem, Level::ERROR, &renderer));
            out.push_str("\n\n");
        }
        let hidden = self.problems.len().saturating_sub(PROBLEMS_MAX);
        if hidden > 0 {
            out.push_str(&format!("and {hidden} more\n\n"));
        }
        out.truncate(out.trim_end().len());
        out
    }

    /// How many errors there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// One line an error for a log: `file:line:column: what is wrong`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.problems.iter().map(|problem| line(&self.source, problem)).collect()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigErrors {}

/// Allowed, but probably not what was meant. `Display` shows it without colours.
#[derive(Clone, PartialEq, Eq)]
pub struct Warning {
    source: Source,
    problem: Problem,
}

impl Warning {
    pub(super) fn all(file: &str, text: &str, problems: Vec<Problem>) -> Vec<Warning> {
        let source = Source { file: file.into(), text: text.into() };
        in_order(problems).into_iter().map(|problem| Warning { source: source.clone(), problem }).collect()
    }

    /// For a terminal (`colour`) or for a file.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        self.source.render(&self.problem, Level::WARNING, &renderer(colour))
    }

    /// One line for a log: `file:line:column: what it is about`.
    #[must_use]
    pub fn line(&self) -> String {
        line(&self.source, &self.problem)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn line(source: &Source, problem: &Problem) -> String {
    let title = printable(&problem.title);
    match &problem.span {
        Some(span) => {
            let (line, column) = source.line_and_column(span.start);
            format!("{}:{line}:{column}: {title}", source.file)
        }
        None => format!("{}: {title}", source.file),
    }
}

fn renderer(colour: bool) -> Renderer {
    if colour { Renderer::styled() } else { Renderer::plain() }
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
    problems.dedup();
    problems
}

/// Our own sentences are one line each; whatever of the file stands in them must not change that.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A piece of the file inside a sentence: short and on one line.
pub(super) fn shown(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}
