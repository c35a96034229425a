//! `mark`: what a filter says of a message beside its verdict. The operator has granted each kind apart: points and
//! words, waits, and the upstreams it may choose (whether the transaction can still go there is for the session to say).

use std::result::Result as Marked;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;

use super::edit::note;
use crate::filter::bindings::wasmilter::filter::mark::{Error, Host, Symbol};
use crate::filter::guest::Guest;
use crate::mail::{Edit, Marks, Stage, Unmarked};

impl Guest {
    fn stage_at_hand(&mut self) -> Marked<Stage, Error> {
        self.work().map(|work| work.stage).map_err(|_| Error::WrongStage)
    }

    fn marks(&mut self) -> Result<Option<&Marks>> {
        let granted = self.profile.config.grants.mark;
        Ok(self.work()?.marks.as_deref().filter(|_| granted))
    }

    fn mark_with(&mut self, mark: impl FnOnce(&mut Marks) -> Marked<(), Unmarked>) -> Marked<(), Error> {
        match self.stage_at_hand()? {
            Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Headers | Stage::Body | Stage::Message => {}
            _ => return Err(Error::WrongStage),
        }
        if !self.profile.config.grants.mark {
            return Err(Error::NotGranted);
        }
        let work = self.work().map_err(|_| Error::WrongStage)?.change();
        mark(Arc::make_mut(work.marks.get_or_insert_default())).map_err(|why| match why {
            Unmarked::Limit => Error::Limit,
            Unmarked::Malformed => Error::Malformed,
        })
    }

    fn hold_back(&mut self, milliseconds: u32) -> Marked<u32, Error> {
        match self.stage_at_hand()? {
            Stage::Headers | Stage::Body => return Err(Error::WrongStage),
            Stage::RcptReply | Stage::Reply | Stage::Abort | Stage::Quit => return Err(Error::WrongStage),
            _ => {}
        }
        let granted = self.profile.config.grants.delay.ok_or(Error::NotGranted)?;
        let delay = Duration::from_millis(u64::from(milliseconds)).min(granted);
        let work = self.work().map_err(|_| Error::WrongStage)?.change();
        work.delay = work.delay.max(delay);
        Ok(u32::try_from(delay.as_millis()).unwrap_or(milliseconds))
    }

    fn route_to(&mut self, upstream: String) -> Marked<(), Error> {
        if !matches!(self.stage_at_hand()?, Stage::Mail | Stage::Rcpt) {
            return Err(Error::WrongStage);
        }
        if !self.profile.config.grants.route.iter().flatten().any(|name| *name == upstream) {
            return Err(Error::NotGranted);
        }
        let work = self.work().map_err(|_| Error::WrongStage)?.change();
        note(work, Edit::Route(upstream)).map_err(|_| Error::Limit)
    }
}

impl Host for Guest {
    fn score(&mut self, points: f64, name: String, detail: Option<String>) -> Result<Marked<(), Error>> {
        let filter = Arc::clone(&self.profile.name);
        Ok(self.mark_with(|marks| marks.score(&filter, points, &name, detail.as_deref())))
    }

    fn total(&mut self) -> Result<f64> {
        Ok(self.marks()?.map_or(0.0, Marks::total))
    }

    fn symbols(&mut self) -> Result<Vec<Symbol>> {
        let said = self.marks()?.map(Marks::symbols).unwrap_or_default();
        let shown = said.iter().map(|symbol| Symbol {
            filter: symbol.filter.to_string(),
            name: symbol.name.to_string(),
            points: symbol.points,
            detail: symbol.detail.as_deref().map(str::to_owned),
        });
        Ok(shown.collect())
    }

    fn tag(&mut self, name: String) -> Result<Marked<(), Error>> {
        Ok(self.mark_with(|marks| marks.tag(&name)))
    }

    fn tags(&mut self) -> Result<Vec<String>> {
        let said = self.marks()?.map(Marks::tags).unwrap_or_default();
        Ok(said.iter().map(ToString::to_string).collect())
    }

    fn delay(&mut self, milliseconds: u32) -> Result<Marked<u32, Error>> {
        Ok(self.hold_back(milliseconds))
    }

    fn route(&mut self, upstream: String) -> Result<Marked<(), Error>> {
        Ok(self.route_to(upstream))
    }
}
