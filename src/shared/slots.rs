//! In which of the 16,384 parts of a Redis cluster a key lies, and who has which part. Pure.

use redis::Value;

use crate::config::RedisServer;

/// Parts of a cluster.
pub(super) const SLOTS: u16 = 16_384;
/// More parts than this in an answer is no answer.
const RANGES_MAX: usize = SLOTS as usize;

/// The part in which a key lies: by what stands in its first braces, if that is anything, else by all of it.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|b| *b == b'{').and_then(|open| {
        let behind = key.get(open + 1..)?;
        let close = behind.iter().position(|b| *b == b'}')?;
        behind.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as the cluster's specification has it.
fn crc16(octets: &[u8]) -> u16 {
    let step = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    octets.iter().fold(0, |crc, octet| (0..8).fold(crc ^ (u16::from(*octet) << 8), |crc, _| step(crc)))
}

/// A run of slots and the server that takes writes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) server: RedisServer,
}

/// The answer to CLUSTER SLOTS. `asked`: who said it, for those that do not know their own name.
pub(super) fn ranges(answer: &Value, asked: &RedisServer) -> Option<Vec<Range>> {
    let Value::Array(items) = answer else { return None };
    if items.is_empty() || items.len() > RANGES_MAX {
        return None;
    }
    items.iter().map(|item| range(item, asked)).collect()
}

fn range(item: &Value, asked: &RedisServer) -> Option<Range> {
    let Value::Array(fields) = item else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = fields.as_slice() else { return None };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(octets) => String::from_utf8(octets.clone()).ok()?,
        Value::SimpleString(text) => text.clone(),
        Value::Nil => String::new(),
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host };
    let server = RedisServer { host, port: u16::try_from(*port).ok().filter(|port| *port > 0)? };
    (first <= last && last < SLOTS).then_some(Range { first, last, server })
}

/// Where an answer MOVED or ASK points: `3999 192.0.2.1:6381`.
pub(super) fn pointed(detail: &str, asked: &RedisServer) -> Option<RedisServer> {
    let (_, address) = detail.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = if host.is_empty() || host == "?" { &asked.host } else { host };
    Some(RedisServer { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // What `CLUSTER KEYSLOT` says.
        for (key, wanted) in [
            (&b"foo"[..], 12_182),
            (b"somekey", 11_058),
            (b"foo{hash_tag}", 2_515),
            (b"bar{hash_tag}", 2_515),
            (b"foo{}{bar}", 8_363),
            (b"foo{{bar}}zap", 4_015),
            (b"foo{bar}{zap}", 5_061),
            (b"", 0),
        ] {
            assert_eq!(slot(key), wanted, "{}", String::from_utf8_lossy(key));
        }
    }

    fn server(host: &str, port: u16) -> RedisServer {
        RedisServer { host: host.to_owned(), port }
    }

    #[test]
    fn whoever_points_elsewhere_is_understood() {
        let asked = server("192.0.2.9", 6379);
        assert_eq!(pointed("3999 192.0.2.1:6381", &asked), Some(server("192.0.2.1", 6381)));
        assert_eq!(pointed("3999 2001:db8::1:6381", &asked), Some(server("2001:db8::1", 6381)));
        assert_eq!(pointed("3999 :6381", &asked), Some(server("192.0.2.9", 6381)));
        for nonsense in ["", "3999", "3999 host", "3999 host:port", "3999 host:70000"] {
            assert_eq!(pointed(nonsense, &asked), None, "{nonsense}");
        }
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_none() {
        let asked = server("192.0.2.9", 6379);
        let text = |text: &str| Value::BulkString(text.into());
        let range = |first, last, host, port| {
            let id = text("07c37dfeb235213a872192d90877d0cd55635b91");
            let master = Value::Array(vec![host, Value::Int(port), id, Value::Array(Vec::new())]);
            Value::Array(vec![Value::Array(vec![Value::Int(first), Value::Int(last), master])])
        };
        let one = ranges(&range(0, 5460, text("192.0.2.1"), 7000), &asked).unwrap();
        assert_eq!(one, [Range { first: 0, last: 5460, server: server("192.0.2.1", 7000) }]);
        for unknown in [text(""), text("?"), Value::Nil] {
            assert_eq!(ranges(&range(0, 1, unknown, 7000), &asked).unwrap().first().unwrap().server.host, "192.0.2.9");
        }
        for nonsense in [
            Value::Array(Vec::new()),
            Value::Okay,
            range(0, 16_384, text("h"), 1),
            range(5, 4, text("h"), 1),
            range(-1, 4, text("h"), 1),
            range(0, 4, text("h"), 0),
            range(0, 4, text("h"), 70_000),
            range(0, 4, Value::Int(1), 1),
            range(0, 4, Value::BulkString(vec![0xff]), 1),
        ] {
            assert_eq!(ranges(&nonsense, &asked), None, "{nonsense:?}");
        }
    }
}
