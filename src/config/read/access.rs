//! `[[access]]`. A rule that could never hold is refused: an operator would believe in it.

use crate::config::TableKind;
use crate::config::access::{
    AccessAction, AccessRule, AccessStage, ClientCondition, NameCondition, NamePattern, Pattern,
};
use crate::config::names;
use crate::config::problem::Problem;
use crate::config::schema;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::smtp::reply::Enhanced;
use crate::smtp::{Mailbox, Reply, replies};

use super::route;
use super::table::TableNames;

/// Entries of one list; each is looked at for every session, message or recipient. Longer ones are tables.
const ENTRIES_MAX: usize = 1_000;
/// Characters of a reply's text; with its codes, one line of RFC 5321 4.5.3.1.5.
const REPLY_CHARS_MAX: usize = 400;
/// Characters of one pattern.
const PATTERN_CHARS_MAX: usize = 4_096;

const STAGES: &[(&str, AccessStage)] = &[
    ("connect", AccessStage::Connect),
    ("helo", AccessStage::Helo),
    ("mail", AccessStage::Mail),
    ("rcpt", AccessStage::Rcpt),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Permit,
    Reject,
    Defer,
    Disconnect,
}

const ACTIONS: &[(&str, Action)] = &[
    ("reject", Action::Reject),
    ("defer", Action::Defer),
    ("disconnect", Action::Disconnect),
    ("permit", Action::Permit),
];

const REPLY_HELP: &str = "write a code, an enhanced code and a line of printable ASCII: \"554 5.7.1 Not from there\"";

/// What is told about itself in the log under this name is no rule of the operator's.
const RESERVED: &[&str] = &["sender-login", "recipients"];

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Helo,
    Sender,
    Recipient,
    Identity,
}

impl Subject {
    const fn key(self) -> &'static str {
        match self {
            Subject::Helo => "helo",
            Subject::Sender => "sender",
            Subject::Recipient => "recipient",
            Subject::Identity => "identity",
        }
    }

    /// From when on it is known.
    const fn known_at(self) -> AccessStage {
        match self {
            Subject::Helo | Subject::Identity => AccessStage::Helo,
            Subject::Sender => AccessStage::Mail,
            Subject::Recipient => AccessStage::Rcpt,
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Subject::Helo => "write \"client.example\", \".example\" for all names below it, or \"/a pattern/\"",
            Subject::Identity => {
                "write a login, \"@example.org\" for all of a domain, \".example.org\" for those below it, or \"/a pattern/\""
            }
            Subject::Sender | Subject::Recipient => {
                "write an address, \"@example.org\" for all of a domain, \".example.org\" for those below it, or \"/a pattern/\""
            }
        }
    }
}

pub(in crate::config) fn read(section: &Section<'_>, listeners: &[&str], tables: &TableNames) -> Option<AccessRule> {
    let name = section.required("name", "name = \"no-dialups\"", |v| {
        v.parsed("a name", names::NAME_HELP, |text| match names::name(text)? {
            name if RESERVED.contains(&name.as_str()) => Err("is the gateway's own".to_owned()),
            name => Ok(name),
        })
    });
    let listeners = section
        .get("listeners", |v| Ok(v.list(|item| route::known(item, "[[listener]]", listeners))))
        .unwrap_or_default();
    let at = section.required("at", "at = \"rcpt\"", |v| v.one_of(STAGES));
    let client = section.get("client", |v| client(v, tables));
    let names = |subject: Subject| {
        let condition = section.get(subject.key(), |v| named(v, subject, tables));
        early(section, subject, at?);
        condition
    };
    let [helo, sender, recipient, identity] =
        [Subject::Helo, Subject::Sender, Subject::Recipient, Subject::Identity].map(names);
    let authenticated = section.get("authenticated", Value::flag);
    let tls = section.get("tls", Value::flag);
    if authenticated == Some(false) && section.value("identity").is_some() {
        section.reader.error(
            Problem::at(place(section, "identity"), "nobody has a login who has not logged in")
                .label("never holds")
                .other(place(section, "authenticated"), "beside this")
                .help("take one of them away"),
        );
    }
    let would = section.get_or("would", false, Value::flag);
    let action = section.required("action", "action = \"reject\"", |v| v.one_of(ACTIONS));
    let action = action.map(|kind| action_with(section, kind, would));
    Some(AccessRule {
        name: name?,
        listeners,
        at: at?,
        client,
        helo,
        sender,
        recipient,
        identity,
        authenticated,
        tls,
        action: action?,
        would,
    })
}

fn place(section: &Section<'_>, key: &str) -> crate::config::problem::Span {
    section.reader.place(&format!("{}.{key}", section.path))
}

/// What is asked for before it can be known.
fn early(section: &Section<'_>, subject: Subject, at: AccessStage) {
    let Some(value) = section.value(subject.key()) else { return };
    if at < subject.known_at() {
        section.reader.error(
            Problem::at(value.head(), format!("`{}` is not known at {}", subject.key(), at.name()))
                .label("never holds")
                .other(place(section, "at"), "asked here")
                .help(format!("write at = \"{}\"", subject.known_at().name())),
        );
    }
}

fn client(value: &Value<'_>, tables: &TableNames) -> Result<ClientCondition, Problem> {
    if let Some(table) = table(value, tables)? {
        if !matches!(table.kind, None | Some(TableKind::Cidr)) {
            return Err(value
                .error(format!("names the table \"{}\", which has no networks", table.name))
                .help("clients are looked up by address: the table needs kind = \"cidr\""));
        }
        return Ok(ClientCondition::Table(table.name));
    }
    list(value, Value::network).map(ClientCondition::Networks)
}

fn named(value: &Value<'_>, subject: Subject, tables: &TableNames) -> Result<NameCondition, Problem> {
    if let Some(table) = table(value, tables)? {
        if table.kind == Some(TableKind::Cidr) {
            return Err(value
                .error(format!("names the table \"{}\", which has networks", table.name))
                .help("names are looked up in tables of the kinds \"exact\", \"domain\" and \"regex\""));
        }
        return Ok(NameCondition::Table(table.name));
    }
    list(value, |item| pattern(item, subject)).map(NameCondition::Listed)
}

fn list<'a, T>(value: &Value<'a>, read: impl Fn(&Value<'a>) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
    match value.items().len() {
        0 => Err(value.error("is empty").help("take the key away if there is to be no such condition")),
        1..=ENTRIES_MAX => Ok(value.list(read)),
        _ => Err(value
            .error(format!("has more than {ENTRIES_MAX} entries"))
            .help("longer lists are tables: { table = \"NAME\" }")),
    }
}

/// `{ table = "NAME" }`, if it is one.
fn table(value: &Value<'_>, tables: &TableNames) -> Result<Option<super::table::Named>, Problem> {
    if !value.node.get_ref().is_table() {
        return Ok(None);
    }
    let section = Section::of(value, &schema::ACCESS_TABLE)?;
    let missing = || value.error("names no table").help("write { table = \"NAME\" }, or a list");
    section.value("table").map_or_else(|| Err(missing()), |name| tables.named(&name).map(Some))
}

fn pattern(item: &Value<'_>, subject: Subject) -> Result<NamePattern, Problem> {
    let text = item.text()?;
    let wrong = |why: String| item.error(why).help(subject.help());
    if let Some(inner) = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        return regex(item, inner);
    }
    let domain = |text: &str| names::domain(text, true).map_err(wrong);
    if let Some(below) = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        return domain(below).map(NamePattern::Below);
    }
    match subject {
        Subject::Sender if text == "<>" => Ok(NamePattern::Exact(text)),
        Subject::Helo if text.starts_with('[') => Ok(NamePattern::Exact(text.to_lowercase())),
        Subject::Helo => domain(&text).map(NamePattern::Exact),
        _ => match text.strip_prefix('@') {
            Some(name) => domain(name).map(NamePattern::Domain),
            None if subject == Subject::Identity => Ok(NamePattern::Exact(text.to_lowercase())),
            None if text.contains('@') => {
                let mailbox = Mailbox::parse(&text).map_err(|error| wrong(format!("is not an address: {error}")))?;
                let domain = mailbox.domain().canonical();
                let domain = domain.strip_suffix('.').unwrap_or(&domain);
                Ok(NamePattern::Exact(format!("{}@{domain}", mailbox.local_unquoted().to_lowercase())))
            }
            None => domain(&text).map(NamePattern::Domain),
        },
    }
}

fn regex(item: &Value<'_>, text: &str) -> Result<NamePattern, Problem> {
    let help = "patterns are those of Rust's regex: no look-around, no back-references, and \\. for a dot";
    if text.is_empty() || text.chars().count() > PATTERN_CHARS_MAX {
        return Err(item.error(format!("is no pattern of 1 to {PATTERN_CHARS_MAX} characters")).help(help));
    }
    Pattern::compile(text).map(NamePattern::Regex).map_err(|error| {
        let shown = error.to_string();
        // The crate draws the pattern over several lines; what is wrong stands in the last.
        let why = shown.lines().last().unwrap_or_default().trim();
        let why = why.strip_prefix("error: ").unwrap_or(why);
        item.error(format!("is no pattern: {why}")).help(help)
    })
}

fn action_with(section: &Section<'_>, kind: Action, would: bool) -> AccessAction {
    if kind == Action::Permit {
        for (key, why) in
            [("would", "a rule that permits would refuse nothing"), ("reply", "nobody hears a permission")]
        {
            if (key != "would" || would) && section.value(key).is_some() {
                section
                    .reader
                    .error(Problem::at(place(section, key), why).label("of no use here").help("take it away"));
            }
        }
        return AccessAction::Permit;
    }
    let said = section.get("reply", |v| v.parsed("a reply", REPLY_HELP, |text| reply(text, kind)));
    match kind {
        Action::Reject => AccessAction::Reject(said.unwrap_or(replies::ACCESS_REJECTED)),
        Action::Defer => AccessAction::Defer(said.unwrap_or(replies::ACCESS_DEFERRED)),
        Action::Disconnect | Action::Permit => AccessAction::Disconnect(said.unwrap_or(replies::ACCESS_DISCONNECTED)),
    }
}

/// `554 5.7.1 text`; without an enhanced code it is X.7.1.
fn reply(text: &str, kind: Action) -> Result<Reply, String> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 =
        code.parse().ok().filter(|_| code.len() == 3).ok_or("does not begin with a code of three digits")?;
    let fits = match kind {
        Action::Reject => (500..=599).contains(&code),
        Action::Defer => (400..=499).contains(&code) && code != 421,
        Action::Disconnect | Action::Permit => (400..=599).contains(&code),
    };
    if !fits {
        return Err(match kind {
            Action::Reject => "does not begin with a 5xx, which `reject` needs".to_owned(),
            Action::Defer => "does not begin with a 4xx other than 421, which `defer` needs".to_owned(),
            Action::Disconnect | Action::Permit => "does not begin with a 4xx or 5xx".to_owned(),
        });
    }
    let class = u8::try_from(code / 100).unwrap_or_default();
    let (first, others) = rest.split_once(' ').unwrap_or((rest, ""));
    let (enhanced, words) = match Enhanced::parse(first) {
        Some(enhanced) if enhanced.class != class => return Err("has an enhanced code of another class".to_owned()),
        Some(enhanced) => (enhanced, others),
        None => (Enhanced::new(class, 7, 1), rest),
    };
    let printable = words.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    if words.trim().is_empty() || words.len() > REPLY_CHARS_MAX || !printable {
        return Err(format!("has no text of 1 to {REPLY_CHARS_MAX} printable ASCII characters"));
    }
    Ok(Reply::new(code, Some(enhanced), words.to_owned()))
}
