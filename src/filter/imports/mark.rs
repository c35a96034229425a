//! `mark`: where a filter wants mail to go. The operator has named the upstreams it may choose; whether the transaction
//! can still go there is for the session to say.

use std::result::Result as Routed;

use wasmtime::Result;

use super::edit::note;
use crate::filter::bindings::wasmilter::filter::mark::{Host, RouteError};
use crate::filter::guest::Guest;
use crate::mail::{Edit, Stage};

impl Guest {
    fn route_to(&mut self, upstream: String) -> Routed<(), RouteError> {
        let stage = self.work().map(|work| work.stage).map_err(|_| RouteError::WrongStage)?;
        if !matches!(stage, Stage::Mail | Stage::Rcpt) {
            return Err(RouteError::WrongStage);
        }
        if !self.profile.config.grants.route.iter().flatten().any(|name| *name == upstream) {
            return Err(RouteError::NotGranted);
        }
        let work = self.work().map_err(|_| RouteError::WrongStage)?.change();
        note(work, Edit::Route(upstream)).map_err(|_| RouteError::Limit)
    }
}

impl Host for Guest {
    fn route(&mut self, upstream: String) -> Result<Routed<(), RouteError>> {
        Ok(self.route_to(upstream))
    }
}
