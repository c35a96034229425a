//! `envelope`: the transaction as the filters before this one left it.

use wasmtime::Result;

use crate::filter::bindings::wasmilter::filter::envelope::{Host, Path};
use crate::filter::convert;
use crate::filter::guest::Guest;

impl Host for Guest {
    fn id(&mut self) -> Result<Option<String>> {
        Ok(self.work()?.envelope.as_ref().map(|envelope| envelope.id.to_string()))
    }

    fn sender(&mut self) -> Result<Option<Path>> {
        let work = self.work()?;
        let sender = work.sender.as_ref().or_else(|| work.envelope.as_deref().map(|envelope| &envelope.sender));
        Ok(sender.map(convert::sender_out))
    }

    fn recipients(&mut self) -> Result<Vec<Path>> {
        let envelope = self.work()?.envelope.as_deref();
        Ok(envelope.map(|e| e.recipients.iter().map(convert::recipient_out).collect()).unwrap_or_default())
    }
}
