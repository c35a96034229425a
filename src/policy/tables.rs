//! Lists that policy looks into by name. What they are made of and when they are read again is nobody's business here:
//! they are in memory, and an answer costs no wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::TableKind;

/// One list.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// What stands beside the entry that matches, "" when only listed.
    fn find(&self, key: &str) -> Option<String>;

    /// How.
    fn kind(&self) -> TableKind;
}

/// All that a configuration has, by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tables(Arc<BTreeMap<String, Arc<dyn Lookup>>>);

impl FromIterator<(String, Arc<dyn Lookup>)> for Tables {
    fn from_iter<I: IntoIterator<Item = (String, Arc<dyn Lookup>)>>(tables: I) -> Tables {
        Tables(Arc::new(tables.into_iter().collect()))
    }
}

impl Tables {
    /// What stands beside the entry that matches. A table that there is not holds nothing.
    #[must_use]
    pub fn find(&self, table: &str, key: &str) -> Option<String> {
        self.0.get(table)?.find(key)
    }

    #[must_use]
    pub fn contains(&self, table: &str, key: &str) -> bool {
        self.find(table, key).is_some()
    }

    /// Whether an address is listed. Where whole keys are compared, `@example.org` stands for all of its domain; of
    /// the other kinds each has a way of its own to say that.
    #[must_use]
    pub fn has_address(&self, table: &str, address: &str) -> bool {
        let Some(list) = self.0.get(table) else { return false };
        let domain = || address.rsplit_once('@').is_some_and(|(_, domain)| list.find(&format!("@{domain}")).is_some());
        list.find(address).is_some() || (list.kind() == TableKind::Exact && domain())
    }
}
