//! Octets become what a client does: mostly what clients do, some of what they should not.

/// Commands and pieces of messages; an octet chooses one.
const MOVES: [&[u8]; 44] = [
    b"EHLO client.test\r\n",
    b"EHLO client.test\r\n",
    b"HELO client.test\r\n",
    b"MAIL FROM:<a@client.test>\r\n",
    b"MAIL FROM:<a@client.test>\r\n",
    b"MAIL FROM:<>\r\n",
    b"MAIL FROM:<a@client.test> BODY=8BITMIME\r\n",
    b"MAIL FROM:<a@client.test> BODY=BINARYMIME\r\n",
    b"MAIL FROM:<a@client.test> SIZE=99999999999\r\n",
    b"MAIL FROM:<a@client.test> SMTPUTF8\r\n",
    b"MAIL FROM:<bad address>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<c@example.org>\r\n",
    b"RCPT TO:<c@elsewhere.test>\r\n",
    b"RCPT TO:<d@example.org> NOTIFY=NEVER\r\n",
    b"RCPT TO:<>\r\n",
    b"DATA\r\n",
    b"DATA\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\nbody\r\n.\r\n",
    b"Subject: x\r\n\r\nbody\r\n.\r\n",
    b"Subject: x\r\nX-Folded: a\r\n b\r\n\r\n",
    b"no header at all\r\n",
    b"..a stuffed dot\r\n",
    b".MAIL FROM:<evil@client.test>\r\n",
    b".\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r\r\n",
    b"\0",
    b"BDAT 12\r\nSubject: x\r\n",
    b"BDAT 8 LAST\r\n\r\nbody\r\n",
    b"BDAT 5 LAST\r\n\r\n.\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 7\r\nb\n.\nc\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"VRFY somebody\r\n",
];

/// `0xff` ends a packet, `0xfe n` and n octets are themselves, everything else is a move.
pub fn decode(input: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = vec![Vec::new()];
    let mut rest = input;
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            0xff => packets.push(Vec::new()),
            0xfe => {
                let count = rest.first().map_or(0, |count| usize::from(*count)).min(rest.len().saturating_sub(1));
                let octets = rest.get(1..=count).unwrap_or_default();
                add(&mut packets, octets);
                rest = rest.get(1 + count..).unwrap_or_default();
            }
            chosen => add(&mut packets, MOVES[usize::from(*chosen) % MOVES.len()]),
        }
    }
    packets.retain(|packet| !packet.is_empty());
    packets
}

fn add(packets: &mut [Vec<u8>], octets: &[u8]) {
    if let Some(last) = packets.last_mut() {
        last.extend_from_slice(octets);
    }
}
