//! What is shared while one file is read: the environment, the folder, and what was found so far. Every error goes to
//! one list with its place in the file, and reading goes on, so that one run shows them all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Problem, Span};

/// How `${NAME}` is looked up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is shared while one file is read.
pub(super) struct Reader<'a> {
    pub(super) environment: Environment<'a>,
    file: Arc<str>,
    text: Arc<str>,
    /// The folder that relative paths are relative to.
    folder: PathBuf,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    /// Where each key and section stands, for checks that look at several of them: `listener.0.tls`.
    places: RefCell<BTreeMap<String, Span>>,
    /// Every key that was asked for, as `[section] key`.
    #[cfg(test)]
    pub(super) asked: RefCell<std::collections::BTreeSet<(&'static str, &'static str)>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &str, text: &str, environment: Environment<'a>) -> Reader<'a> {
        Reader {
            environment,
            file: file.into(),
            text: text.into(),
            folder: Path::new(file).parent().map(Path::to_path_buf).unwrap_or_default(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            places: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    pub(super) fn error(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warn(&self, problem: Problem) {
        self.warnings.borrow_mut().push(problem);
    }

    pub(super) fn failed(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// Errors and warnings.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }

    pub(super) fn mark(&self, path: &str, span: Span) {
        self.places.borrow_mut().insert(path.to_owned(), span);
    }

    /// Where a key stands; if it does not, where its section does.
    pub(super) fn place(&self, path: &str) -> Span {
        let places = self.places.borrow();
        let mut path = path;
        loop {
            if let Some(span) = places.get(path) {
                return span.clone();
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return 0..0,
            }
        }
    }

    /// The file's name and its whole text.
    pub(super) fn source(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.file), Arc::clone(&self.text))
    }

    /// The places of a key (as "") and of what stands below it.
    pub(super) fn places_below(&self, path: &str) -> BTreeMap<String, Span> {
        let places = self.places.borrow();
        let below = places.range(path.to_owned()..).take_while(|(place, _)| place.starts_with(path));
        below
            .filter_map(|(place, span)| match place.strip_prefix(path)? {
                "" => Some((String::new(), span.clone())),
                rest => Some((rest.strip_prefix('.')?.to_owned(), span.clone())),
            })
            .collect()
    }

    pub(super) fn resolve_path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}
