//! What `when` of the filters says about listeners, once those are known.

use super::problem::Problem;
use super::reader::Reader;
use super::suggest;
use super::{Config, Filter, Listener, ListenerAuth};

pub(super) fn check(config: &Config, reader: &Reader<'_>) {
    for (place, filter) in config.filters.iter().enumerate() {
        let path = format!("filter.{place}.when");
        listeners(config, filter, &path, reader);
        login(config, filter, &path, reader);
    }
}

/// Every listener that is named there is, and the filter runs there.
fn listeners(config: &Config, filter: &Filter, path: &str, reader: &Reader<'_>) {
    let known = || config.listeners.iter().map(|listener| listener.name.as_str());
    for (item, name) in filter.when.listeners.iter().enumerate() {
        // A list of one may be written without its brackets.
        let place = reader.place(&format!("{path}.listeners.{item}"));
        let problem = |title: String| Problem::at(place.clone(), title).label("`listeners`");
        let Some(listener) = config.listeners.iter().find(|listener| listener.name == *name) else {
            let problem = problem(format!("\"{name}\" is not the name of a `[[listener]]`"));
            reader.error(match suggest::nearest(name, known()) {
                Some(near) => problem.help(format!("did you mean \"{near}\"?")),
                None => problem.help(format!("this file has: {}", known().collect::<Vec<_>>().join(", "))),
            });
            continue;
        };
        if !listener.filters.contains(&filter.name) {
            let title = format!("listener \"{name}\" does not run the filter \"{}\"", filter.name);
            reader.error(problem(title).help(format!("add \"{}\" to the filters of that listener", filter.name)));
        }
    }
}

/// Whether somebody can be what `authenticated` wants.
fn login(config: &Config, filter: &Filter, path: &str, reader: &Reader<'_>) {
    let Some(wanted) = filter.when.authenticated else { return };
    let runs = |listener: &&Listener| {
        listener.filters.contains(&filter.name)
            && (filter.when.listeners.is_empty() || filter.when.listeners.contains(&listener.name))
    };
    let mut places = config.listeners.iter().filter(runs).peekable();
    let told = |listener: &Listener| !listener.trust.xclient.is_empty();
    if places.peek().is_some() && wanted && places.all(|listener| listener.auth == ListenerAuth::Off && !told(listener))
    {
        reader.error(
            Problem::at(
                reader.place(&format!("{path}.authenticated")),
                format!("nobody can log in where the filter \"{}\" runs", filter.name),
            )
            .label("never holds")
            .help("write auth = \"optional\" or \"required\" for a listener that runs it, or take this away"),
        );
    }
}
