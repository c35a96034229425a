//! One value of the file and what it can be read as. Every refusal points at the value and says what would do.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Problem, Span, shown};
use super::reader::Reader;
use super::types::Rate;
use super::{secret, suggest, units};

/// A value, where it stands, and what it is called.
pub(super) struct Value<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) node: &'a Spanned<DeValue<'a>>,
    /// `listener.0.address`.
    pub(super) path: String,
}

impl<'a> Value<'a> {
    /// Where the value stands; of a section, its head line.
    pub(super) fn head(&self) -> Span {
        self.reader.place(&self.path)
    }

    pub(super) fn span(&self) -> Span {
        self.node.span()
    }

    fn key(&self) -> &str {
        self.path.rsplit('.').find(|part| !part.bytes().all(|b| b.is_ascii_digit())).unwrap_or(&self.path)
    }

    /// An error about this value. `why` completes the sentence that begins with the value.
    pub(super) fn error(&self, why: impl Display) -> Problem {
        let written = match self.node.get_ref() {
            DeValue::String(text) => format!("\"{}\"", shown(text)),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            _ => format!("the value of `{}`", self.key()),
        };
        Problem::at(self.span(), format!("{written} {why}")).label(format!("`{}`", self.key()))
    }

    pub(super) fn wrong_type(&self, wanted: &str) -> Problem {
        let found = match self.node.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        Problem::at(self.span(), format!("`{}` wants {wanted}", self.key())).label(format!("this is {found}"))
    }

    /// The text as it stands in the file, with `${NAME}` not looked up.
    fn written(&self, wanted: &str) -> Result<&'a str, Problem> {
        match self.node.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong_type(wanted)),
        }
    }

    /// A text, with `${NAME}` replaced from the environment.
    pub(super) fn text(&self) -> Result<String, Problem> {
        self.text_for("a text in quotes")
    }

    fn text_for(&self, wanted: &str) -> Result<String, Problem> {
        secret::expand(self.written(wanted)?, self.reader.environment)
            .map_err(|why| Problem::at(self.span(), why.title).label(format!("`{}`", self.key())).help(why.help))
    }

    /// Something with a parser of its own; `wanted` says what it is, `help` what it looks like.
    pub(super) fn parsed<T>(
        &self,
        wanted: &str,
        help: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Problem> {
        let text = self.text_for(wanted).map_err(|problem| problem.help(help))?;
        parse(&text).map_err(|why| self.error(why).help(help))
    }

    pub(super) fn flag(&self) -> Result<bool, Problem> {
        match self.node.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong_type("true or false").help("write it without quotes: true, false")),
        }
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Problem> {
        let list = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let text =
            self.text_for("one of a few words").map_err(|problem| problem.help(format!("choose from {list}")))?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(*choice);
        }
        let problem = self.error(format!("is not something `{}` can be", self.key()));
        Err(match suggest::nearest(&text, choices.iter().map(|(word, _)| *word)) {
            Some(near) => problem.help(format!("did you mean \"{near}\"? The choices are {list}")),
            None => problem.help(format!("choose from {list}")),
        })
    }

    /// Whether this is the word that switches something off.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.node.get_ref(), DeValue::String(text) if text == "off")
    }

    /// `"off"` reads as `None`.
    pub(super) fn or_off<T>(&self, read: impl FnOnce(&Self) -> Result<T, Problem>) -> Result<Option<T>, Problem> {
        if self.is_off() {
            return Ok(None);
        }
        read(self).map(Some).map_err(|problem| problem.help("or \"off\", for no limit"))
    }

    /// A whole number between these.
    pub(super) fn number(&self, bounds: RangeInclusive<u32>) -> Result<u32, Problem> {
        let DeValue::Integer(number) = self.node.get_ref() else {
            return Err(self.wrong_type("a whole number").help("write it without quotes: 100"));
        };
        let parsed = i128::from_str_radix(number.as_str(), number.radix()).ok();
        match parsed.and_then(|number| u32::try_from(number).ok()).filter(|number| bounds.contains(number)) {
            Some(number) => Ok(number),
            None => Err(self.error("is out of bounds").help(format!(
                "a whole number from {} to {} would do",
                bounds.start(),
                bounds.end()
            ))),
        }
    }

    /// Octets, between these.
    pub(super) fn size(&self, bounds: RangeInclusive<u64>) -> Result<u64, Problem> {
        let bytes = self.parsed("a size", units::SIZE_HELP, units::size)?;
        if bounds.contains(&bytes) {
            return Ok(bytes);
        }
        let (least, most) = (units::show_size(*bounds.start()), units::show_size(*bounds.end()));
        Err(self.error("is out of bounds").help(format!("anything from \"{least}\" to \"{most}\" would do")))
    }

    /// Octets that must fit into memory.
    pub(super) fn memory_size(&self, bounds: RangeInclusive<u64>) -> Result<usize, Problem> {
        usize::try_from(self.size(bounds)?).map_err(|_| self.error("is more than this machine can address"))
    }

    /// A time between these.
    pub(super) fn duration(&self, bounds: RangeInclusive<Duration>) -> Result<Duration, Problem> {
        let time = self.parsed("a time", units::TIME_HELP, units::parse_duration)?;
        if bounds.contains(&time) {
            return Ok(time);
        }
        let (least, most) = (units::show_duration(*bounds.start()), units::show_duration(*bounds.end()));
        Err(self.error("is out of bounds").help(format!("anything from \"{least}\" to \"{most}\" would do")))
    }

    pub(super) fn rate(&self) -> Result<Rate, Problem> {
        self.parsed("a rate", units::RATE_HELP, units::rate)
    }

    /// A path; a relative one is relative to the configuration's own folder.
    pub(super) fn path(&self) -> Result<PathBuf, Problem> {
        let text = self.text_for("a path in quotes")?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.error("is not a path"));
        }
        Ok(self.reader.resolve_path(&text))
    }

    /// `address:port`; with `port`, the port may be left out.
    pub(super) fn socket_address(&self, port: Option<u16>) -> Result<SocketAddr, Problem> {
        let help = "write an IP address and a port: \"127.0.0.1:2525\", \"[::1]:2525\"";
        self.parsed("an address", help, |text| {
            if let Some(address) = port.and_then(|port| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, port))) {
                return Ok(address);
            }
            text.parse().map_err(|_| match text.parse::<IpAddr>() {
                Ok(_) => "has no port".to_owned(),
                Err(_) => "is not an IP address with a port".to_owned(),
            })
        })
    }

    /// `192.0.2.0/24`, `2001:db8::/32`, or a single address. Bits beyond the prefix must be zero, since otherwise
    /// nobody can tell which network was meant. IPv4 inside IPv6 (`::ffff:192.0.2.0/120`) is read as IPv4.
    pub(super) fn network(&self) -> Result<IpNet, Problem> {
        let help = "write a network: \"192.0.2.0/24\", \"2001:db8::/32\", or one address: \"192.0.2.7\"";
        let net: IpNet = self.parsed("a network", help, |text| {
            let single = text.parse::<IpAddr>().map(IpNet::from);
            single.or_else(|_| text.parse::<IpNet>()).map_err(|_| "is not a network".to_owned())
        })?;
        if net.trunc() != net {
            return Err(self.error("has an address inside the network, not the network's own").help(format!(
                "write \"{}\" for the network, or \"{}\" for that one address",
                net.trunc(),
                net.addr()
            )));
        }
        Ok(match net {
            IpNet::V6(six) if six.prefix_len() >= 96 => match six.addr().to_ipv4_mapped() {
                Some(four) => ipnet::Ipv4Net::new(four, six.prefix_len() - 96).map_or(net, IpNet::V4),
                None => net,
            },
            _ => net,
        })
    }

    /// The items of a list, or of a single value that stands for a list of one.
    pub(super) fn items(&self) -> Vec<Value<'a>> {
        match self.node.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .enumerate()
                .map(|(place, node)| {
                    let path = format!("{}.{place}", self.path);
                    self.reader.mark(&path, node.span());
                    Value { reader: self.reader, node, path }
                })
                .collect(),
            _ => vec![Value { reader: self.reader, node: self.node, path: self.path.clone() }],
        }
    }

    /// A list, or one value in its place. Items that are wrong are noted and left out.
    pub(super) fn list<T>(&self, mut read: impl FnMut(&Value<'a>) -> Result<T, Problem>) -> Vec<T> {
        let noted = |item: &Value<'a>| read(item).map_err(|problem| self.reader.error(problem)).ok();
        self.items().iter().filter_map(noted).collect()
    }
}
