//! Whether what a component exports under the contract's names is what the contract has there. What is not would never
//! be asked, or would fail when there is mail: it is refused when it is loaded.

use wasmtime::component::{Component, Instance};
use wasmtime::{Store, component::types::ComponentItem};

use super::answer::{excerpt, excerpt_of};
use super::guest::Guest;
use super::imports::{PACKAGE, VERSION};
use super::stages::Exports;
use crate::mail::Stage;

/// What a component may export beside its stages. `types` has words, and nothing to call.
const APART: [&str; 3] = ["about", "lifecycle", "types"];
/// Octets of the names in a component that are shown.
const NAME_BYTES_MAX: usize = 100;
/// Octets of the reason why a type does not fit, with the names in it.
const REASON_BYTES_MAX: usize = 400;

/// What helps against a component of another contract.
pub(super) fn rebuild() -> String {
    format!("build it again with the SDK of {PACKAGE}@{VERSION}")
}

/// The interface of one of our own names; `None` for foreign ones.
///
/// # Errors
/// It is of another version of the contract.
pub(super) fn ours(name: &str) -> Result<Option<&str>, String> {
    let Some(rest) = name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else { return Ok(None) };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, "of no version"));
    if version != VERSION {
        let version = excerpt(version);
        return Err(format!("was built for {PACKAGE} {version}, and this gateway speaks {VERSION}: {}", rebuild()));
    }
    Ok(Some(interface))
}

/// The stage of an interface that is exported; `None` for those that are no stage.
///
/// # Errors
/// The contract has nothing of this name to be exported.
pub(super) fn stage(interface: &str) -> Result<Option<Stage>, String> {
    let stage =
        interface.strip_prefix("on-").and_then(|name| Stage::ALL.into_iter().find(|stage| stage.name() == name));
    if stage.is_none() && !APART.contains(&interface) {
        return Err(format!("{PACKAGE}@{VERSION} has no such interface to be exported: {}", rebuild()));
    }
    Ok(stage)
}

/// Holds the names of what is exported against the contract.
///
/// # Errors
/// What does not fit, or that there is nothing to be asked at.
pub(super) fn names(component: &Component, exports: &Exports) -> Result<(), String> {
    let engine = component.engine();
    for (name, item) in component.component_type().exports(engine) {
        let of = |why| format!("exports {}: {why}", excerpt_of(name, NAME_BYTES_MAX));
        let Some(interface) = ours(name).map_err(|why| of(format!("it {why}")))? else { continue };
        let stage = stage(interface).map_err(of)?;
        let found = match (stage, interface) {
            (Some(stage), _) => exports.stages().contains(stage),
            (None, "about") => exports.about.is_some(),
            (None, "lifecycle") => exports.lifecycle.is_some(),
            (None, _) => true,
        };
        if !found {
            let has = match item.ty {
                ComponentItem::ComponentInstance(interface) => {
                    let is_function = |item: &ComponentItem| matches!(item, ComponentItem::ComponentFunc(_));
                    let mut names = interface.exports(engine).filter(|(_, item)| is_function(&item.ty));
                    names.next().map_or("none".to_owned(), |(name, _)| format!("`{}`", excerpt(name)))
                }
                _ => "none".to_owned(),
            };
            return Err(of(format!("it lacks the function that the contract has there (it has {has}): {}", rebuild())));
        }
    }
    if exports.stages().is_empty() {
        return Err(format!(
            "exports none of the stages of {PACKAGE}@{VERSION} (on-connect, on-helo, … on-message): nothing would \
             ever be asked of it"
        ));
    }
    Ok(())
}

/// Holds the types of all functions that are exported against the contract. Only an instance tells them; it is not
/// called.
///
/// # Errors
/// The first that does not fit.
pub(super) fn types(exports: &Exports, store: &mut Store<Guest>, instance: &Instance) -> Result<(), String> {
    // All fields, by name: whoever adds a stage is made to add it here.
    macro_rules! each {
        ($($field:ident),+) => {{
            let Exports { $($field),+ } = exports;
            $(if let Some(indices) = $field {
                indices.load(&mut *store, instance).map_err(|error| misfit(stringify!($field), &error))?;
            })+
        }};
    }
    each!(
        about, lifecycle, connect, helo, tls, auth, mail, rcpt, rcpt_reply, data, headers, body, message, reply, abort,
        unknown, quit
    );
    Ok(())
}

/// `field` is that of [`Exports`].
fn misfit(field: &str, error: &wasmtime::Error) -> String {
    let prefix = if APART.contains(&field) { "" } else { "on-" };
    let interface = field.replace('_', "-");
    let why = excerpt_of(&format!("{error:#}"), REASON_BYTES_MAX);
    format!(
        "exports {PACKAGE}/{prefix}{interface}@{VERSION}: its function is not of the type that the contract has there \
         ({why}): {}",
        rebuild()
    )
}
