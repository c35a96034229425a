//! Tables of the operator's: members of a set, fields of a hash, or keys with a beginning in common. They are only read,
//! one key a command, so that a cluster has each where it belongs.
//!
//! It refuses to take nothing for no: a set or hash that is not there at all is one that was lost, or is written otherwise.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::Shared;
use super::node::NoAnswer;
use super::script::Call;
use crate::config::RedisTable;
use crate::report::shared::{By, What, answered};

/// The entries of one table.
#[derive(Debug)]
pub struct Entries {
    shared: Arc<Shared>,
    place: RedisTable,
}

impl Entries {
    #[must_use]
    pub fn of(shared: &Arc<Shared>, place: &RedisTable) -> Entries {
        Entries { shared: Arc::clone(shared), place: place.clone() }
    }

    /// What stands beside a key: nothing in a set, and nothing that is no line of text. `None`: it is not there.
    ///
    /// # Errors
    /// Why nobody knows.
    pub async fn find(&self, key: &str) -> Result<Option<String>, String> {
        let (command, name) = match &self.place {
            RedisTable::Set(name) => ("SISMEMBER", name.clone()),
            RedisTable::Hash(name) => ("HGET", name.clone()),
            RedisTable::Prefix(prefix) => ("GET", format!("{prefix}{key}")),
        };
        let within = (!matches!(self.place, RedisTable::Prefix(_))).then_some(key);
        let found = held(&self.place, self.ask(command, &name, within).await?)?;
        if found.is_none() && within.is_some() && self.ask("EXISTS", &name, None).await? != Value::Int(1) {
            return Err(format!("there is no \"{name}\": an empty table, or one that was lost"));
        }
        Ok(found)
    }

    async fn ask(&self, command: &str, name: &str, within: Option<&str>) -> Result<Value, String> {
        let mut words = Cmd::new();
        words.arg(command).arg(name);
        if let Some(key) = within {
            words.arg(key);
        }
        let call = Call::Foreign(words);
        let mut answer = self.shared.ask(name, &call).await;
        if answer == Err(NoAnswer::Away) && self.shared.board.becomes_known(self.shared.settings.timeout).await {
            answer = self.shared.ask(name, &call).await;
        }
        answered(What::Tables, if answer.is_ok() { By::All } else { By::Here });
        answer.map_err(|why| match why {
            NoAnswer::Away => "the shared state is away".to_owned(),
            NoAnswer::Elsewhere { .. } => "another server has it".to_owned(),
            NoAnswer::Odd(why) => why,
        })
    }
}

/// Each command has its own yes and no; what is neither is no answer.
fn held(place: &RedisTable, answer: Value) -> Result<Option<String>, String> {
    match (place, answer) {
        (RedisTable::Set(_), Value::Int(0)) => Ok(None),
        (RedisTable::Set(_), Value::Int(1)) => Ok(Some(String::new())),
        (RedisTable::Hash(_) | RedisTable::Prefix(_), Value::Nil) => Ok(None),
        (RedisTable::Hash(_) | RedisTable::Prefix(_), Value::BulkString(octets)) => {
            let text = String::from_utf8(octets).ok().filter(|text| !text.contains(char::is_control));
            Ok(Some(text.unwrap_or_default()))
        }
        _ => Err("it does not answer what was asked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_yes_and_the_no_of_its_command_count() {
        let [set, hash, prefix] = [RedisTable::Set, RedisTable::Hash, RedisTable::Prefix].map(|of| of("t".to_owned()));
        let text = |octets: &[u8]| Value::BulkString(octets.to_vec());
        let beside = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!((held(&set, Value::Int(1)), held(&set, Value::Int(0))), (beside(""), Ok(None)));
        for table in [&hash, &prefix] {
            assert_eq!((held(table, text(b"OK anna")), held(table, Value::Nil)), (beside("OK anna"), Ok(None)));
            // It is there, whatever is beside it.
            for odd in [&b""[..], b"\xff", b"a\r\nb", b"\0"] {
                assert_eq!(held(table, text(odd)), beside(""), "{odd:?}");
            }
        }
        for nonsense in [Value::Int(2), Value::Int(-1), Value::Okay, Value::Array(vec![text(b"x")])] {
            for table in [&set, &hash, &prefix] {
                assert!(held(table, nonsense.clone()).is_err(), "{table:?} {nonsense:?}");
            }
        }
        for (table, of_another) in
            [(&set, Value::Nil), (&set, text(b"1")), (&hash, Value::Int(1)), (&prefix, Value::Int(0))]
        {
            assert!(held(table, of_another.clone()).is_err(), "{table:?} {of_another:?}");
        }
    }
}
