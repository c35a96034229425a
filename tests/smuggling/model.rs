//! What has to come of a message, worked out the slow and plain way, octet by octet.

use crate::variants::REAL;

/// What the operator wants done with a CR or an LF that stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Reject,
    Normalize,
}

/// All that a client's octets after DATA come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the upstream gets, in wire form without the final dot, in order.
    pub(crate) accepted: Vec<Vec<u8>>,
    pub(crate) refused: usize,
    /// The client itself ended its first message, so that the second transaction is its own.
    pub(crate) second_is_the_clients: bool,
}

/// `sent` is what follows DATA, and may hold a second transaction.
pub(crate) fn after_data(sent: &[u8], policy: Policy) -> Outcome {
    let mut outcome = Outcome::default();
    let mut rest = sent;
    loop {
        let (wire, after) = until_end(rest);
        outcome.take(&unstuffed(wire), policy);
        let Some(begins) = find(after, b"DATA\r\n") else { return outcome };
        outcome.second_is_the_clients = true;
        rest = &after[begins + b"DATA\r\n".len()..];
    }
}

/// `content` is all chunks together; nothing in it is a dot that means something, and no command.
pub(crate) fn after_chunks(content: &[u8], policy: Policy) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.take(content, policy);
    outcome
}

impl Outcome {
    fn take(&mut self, content: &[u8], policy: Policy) {
        let bare = is_bare(content);
        if content.contains(&0) || (bare && policy == Policy::Reject) {
            self.refused += 1;
        } else {
            self.accepted.push(stuffed(&if bare { normalized(content) } else { content.to_vec() }));
        }
    }
}

/// Up to and with the CRLF before the final dot, and what is behind it.
fn until_end(octets: &[u8]) -> (&[u8], &[u8]) {
    let at = find(octets, REAL).expect("what is sent ends");
    (&octets[..at + 2], &octets[at + REAL.len()..])
}

pub(crate) fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    octets.windows(what.len()).position(|window| window == what)
}

/// A CR or an LF without the other.
pub(crate) fn is_bare(octets: &[u8]) -> bool {
    (0..octets.len()).any(|at| match octets[at] {
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        _ => false,
    })
}

fn normalized(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        match (octets[at], octets.get(at + 1)) {
            (b'\r', Some(b'\n')) => {
                out.extend_from_slice(b"\r\n");
                at += 1;
            }
            (b'\r' | b'\n', _) => out.extend_from_slice(b"\r\n"),
            (octet, _) => out.push(octet),
        }
        at += 1;
    }
    out
}

fn begins_line(octets: &[u8], at: usize) -> bool {
    at == 0 || (at >= 2 && &octets[at - 2..at] == b"\r\n")
}

pub(crate) fn unstuffed(wire: &[u8]) -> Vec<u8> {
    (0..wire.len()).filter(|&at| !(wire[at] == b'.' && begins_line(wire, at))).map(|at| wire[at]).collect()
}

fn stuffed(content: &[u8]) -> Vec<u8> {
    let dots = |at: usize| if content[at] == b'.' && begins_line(content, at) { 2 } else { 1 };
    (0..content.len()).flat_map(|at| std::iter::repeat_n(content[at], dots(at))).collect()
}

#[test]
fn the_model_is_right_where_it_is_plain() {
    let accepted = |sent: &[u8], policy| after_data(sent, policy).accepted;
    assert_eq!(accepted(b"a\r\n.b\r\n.\r\n", Policy::Reject), [b"a\r\nb\r\n"]);
    assert_eq!(accepted(b"a\r\n..\r\n.\r\n", Policy::Reject), [b"a\r\n..\r\n"]);
    assert_eq!(accepted(b"a\n.\nb\r\n.\r\n", Policy::Reject), [b""; 0]);
    assert_eq!(accepted(b"a\n.\nb\r\n.\r\n", Policy::Normalize), [b"a\r\n..\r\nb\r\n"]);
    assert_eq!(accepted(b"a\0\r\n.\r\n", Policy::Normalize), [b""; 0]);
    let two = after_data(b"a\r\n.\r\nMAIL\r\nDATA\r\nb\r\n.\r\n", Policy::Reject);
    assert!(two.accepted.len() == 2 && two.second_is_the_clients);
}
