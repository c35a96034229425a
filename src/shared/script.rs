//! The two scripts that a server runs for us, and how it is asked to: by their digest, and by their text where it has
//! forgotten them.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ServerError, Value};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Limits,
    Swap,
}

impl Script {
    const fn text(self) -> &'static str {
        match self {
            Script::Limits => include_str!("limits.lua"),
            Script::Swap => include_str!("swap.lua"),
        }
    }
}

/// Digests, as a server said them when it took the scripts.
#[derive(Debug, Clone)]
pub(super) struct Scripts {
    limits: Vec<u8>,
    swap: Vec<u8>,
}

impl Scripts {
    /// Of a server that is asked for none of them.
    pub(super) const fn none() -> Scripts {
        Scripts { limits: Vec::new(), swap: Vec::new() }
    }

    /// # Errors
    /// Why it does not take them.
    pub(super) async fn load(connection: &mut MultiplexedConnection) -> Result<Scripts, String> {
        let mut digests = Vec::with_capacity(2);
        for script in [Script::Limits, Script::Swap] {
            let mut load = Cmd::new();
            load.arg("SCRIPT").arg("LOAD").arg(script.text());
            match connection.send_packed_command(&load).await.map_err(|error| error.to_string())? {
                Value::BulkString(digest) => digests.push(digest),
                Value::ServerError(error) => return Err(text_of(&error)),
                _ => return Err("it does not say what it calls a script".to_owned()),
            }
        }
        let [limits, swap] = <[Vec<u8>; 2]>::try_from(digests).map_err(|_| "it took no scripts".to_owned())?;
        Ok(Scripts { limits, swap })
    }

    const fn digest(&self, script: Script) -> &Vec<u8> {
        match script {
            Script::Limits => &self.limits,
            Script::Swap => &self.swap,
        }
    }
}

/// What a server is asked.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// One command about one key.
    Plain(Cmd),
    /// The same about a key of the operator's, which the gateway's user may be forbidden to read.
    Foreign(Cmd),
    Script {
        script: Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    },
}

impl Call {
    /// As a command for a server that has the scripts.
    pub(super) fn command(&self, scripts: &Scripts) -> Cmd {
        match self {
            Call::Plain(command) | Call::Foreign(command) => command.clone(),
            Call::Script { script, keys, arguments } => evaluate("EVALSHA", scripts.digest(*script), keys, arguments),
        }
    }

    /// For a server that has forgotten them.
    pub(super) fn in_full(&self) -> Option<Cmd> {
        match self {
            Call::Plain(_) | Call::Foreign(_) => None,
            Call::Script { script, keys, arguments } => {
                Some(evaluate("EVAL", script.text().as_bytes(), keys, arguments))
            }
        }
    }
}

fn evaluate(how: &str, which: &[u8], keys: &[String], arguments: &[Vec<u8>]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(how).arg(which).arg(keys.len());
    for key in keys {
        command.arg(key);
    }
    for argument in arguments {
        command.arg(argument.as_slice());
    }
    command
}

/// A refusal in the server's own words, for the log.
pub(super) fn text_of(error: &ServerError) -> String {
    error.details().map_or_else(|| error.code().to_owned(), |detail| format!("{} {detail}", error.code()))
}
