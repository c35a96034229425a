//! Where a filter and its dialogs are: in a folder that `wasmilter filter new` made, or wherever somebody says.

use std::path::{Path, PathBuf};

use super::super::trouble::{EXIT_DATA, EXIT_NO_INPUT, Trouble};
use crate::dialog::files::collect;

/// What describes a filter's folder.
const MANIFEST: &str = "filter.toml";

/// What is to be tested, with what.
#[derive(Debug)]
pub(super) struct Place {
    pub component: PathBuf,
    pub dialogs: Vec<PathBuf>,
    /// `[filter]` of filter.toml: as the operator would write it.
    pub filter: toml::Table,
}

impl Place {
    /// Finds the component and the dialogs.
    pub(super) fn find(filter: &Path, dialogs: &[PathBuf]) -> Result<Place, Trouble> {
        let folder = if filter.is_dir() { filter } else { filter.parent().unwrap_or(Path::new(".")) };
        let (component, table) =
            if filter.is_dir() { in_folder(filter)? } else { (filter.to_owned(), toml::Table::new()) };
        if !component.is_file() {
            let what = format!("there is no {}", component.display());
            return Err(Trouble::new(EXIT_NO_INPUT, what, "build it first: `wasmilter filter build`"));
        }
        let named;
        let places: &[PathBuf] = if dialogs.is_empty() {
            named = [if folder.join("tests").is_dir() { folder.join("tests") } else { folder.to_owned() }];
            &named
        } else {
            dialogs
        };
        let mut found = Vec::new();
        for place in places {
            let unreadable = |why| Trouble::unreadable(place, &why);
            if place.metadata().map_err(unreadable)?.is_dir() {
                found.extend(collect(place).map_err(unreadable)?);
            } else {
                found.push(place.clone());
            }
        }
        if found.is_empty() {
            let shown: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            let what = format!("there is no dialog in {}", shown.join(", "));
            let help = "a dialog is a file *.dialog with what a client says and should hear: docs/dialogs.md";
            return Err(Trouble::new(EXIT_NO_INPUT, what, help));
        }
        Ok(Place { component, dialogs: found, filter: table })
    }
}

/// The component that `build` leaves, and what filter.toml says; without one, the only component there is.
fn in_folder(folder: &Path) -> Result<(PathBuf, toml::Table), Trouble> {
    let manifest = folder.join(MANIFEST);
    if !manifest.is_file() {
        return Ok((only_component(folder)?, toml::Table::new()));
    }
    let wrong = |what: String| {
        let help = "it has `name = \"…\"`, and in a table [filter] what a [[filter]] of the gateway would have";
        Trouble::new(EXIT_DATA, format!("{}: {what}", manifest.display()), help)
    };
    let text = std::fs::read_to_string(&manifest).map_err(|why| Trouble::unreadable(&manifest, &why))?;
    let mut table: toml::Table = text.parse().map_err(|why: toml::de::Error| wrong(why.to_string()))?;
    let filter = match table.remove("filter") {
        None => toml::Table::new(),
        Some(toml::Value::Table(filter)) => filter,
        Some(_) => return Err(wrong("`filter` is no table".to_owned())),
    };
    let name = table.get("name").and_then(toml::Value::as_str).ok_or_else(|| wrong("`name` is missing".to_owned()))?;
    if name.contains(['/', '\\']) {
        return Err(wrong("`name` is no name".to_owned()));
    }
    Ok((folder.join("target").join(format!("{name}.wasm")), filter))
}

fn only_component(folder: &Path) -> Result<PathBuf, Trouble> {
    let unreadable = |why| Trouble::unreadable(folder, &why);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            found.push(path);
        }
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        _ => {
            let what = format!("{} has no {MANIFEST} and {} components", folder.display(), found.len());
            let help = "name the component: `wasmilter filter test F.wasm`; or go into the filter's folder";
            Err(Trouble::new(EXIT_NO_INPUT, what, help))
        }
    }
}
