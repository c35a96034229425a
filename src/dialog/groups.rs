//! The ways of replaying: what a client sends in one packet, and in which order the rest then happens.

use super::script::{Event, How, Script};

/// For one packet: everything up to a command that must be the last of its group (RFC 2920 3.1) is sent at once,
/// then the upstream has its say, then our replies are read.
pub(super) fn groups(script: &Script, how: How) -> Vec<Vec<(usize, Event)>> {
    if how != How::OnePacket {
        return vec![script.events.clone()];
    }
    let mut groups: Vec<Vec<(usize, Event)>> = vec![Vec::new()];
    let (mut ended, mut in_data) = (true, false);
    for (number, event) in &script.events {
        let turns = matches!(event, Event::Clock(_));
        let starts =
            turns || matches!(event, Event::Client(_) | Event::ClientTls | Event::ClientReset | Event::ClientHalfClose);
        // What was said before the clock is turned is answered before, too.
        if turns || starts && ended {
            groups.push(Vec::new());
            ended = false;
        }
        if let Event::Client(octets) = event {
            ended = if in_data { octets.ends_with(b".\r\n") && octets.len() == 3 } else { ends_group(octets) };
            in_data = if in_data { !ended } else { verb(octets) == "DATA" };
        } else if starts {
            ended = true;
        }
        if let Some(group) = groups.last_mut() {
            group.push((*number, event.clone()));
        }
    }
    groups.into_iter().map(reorder).collect()
}

fn reorder(group: Vec<(usize, Event)>) -> Vec<(usize, Event)> {
    let is_client = |event: &Event| matches!(event, Event::Client(_));
    let is_server = |event: &Event| matches!(event, Event::Server(_) | Event::ServerCloses);
    let packet: Vec<u8> = group
        .iter()
        .filter_map(|(_, e)| if let Event::Client(octets) = e { Some(octets.clone()) } else { None })
        .flatten()
        .collect();
    let number = group.first().map_or(0, |(number, _)| *number);
    let mut out = Vec::new();
    if !packet.is_empty() {
        out.push((number, Event::Client(packet)));
    }
    out.extend(group.iter().filter(|(_, e)| !is_client(e) && !is_server(e)).cloned());
    out.extend(group.iter().filter(|(_, e)| is_server(e)).cloned());
    out
}

fn verb(octets: &[u8]) -> String {
    let word = octets.split(|octet| matches!(octet, b' ' | b'\r' | b'\n')).next().unwrap_or_default();
    String::from_utf8_lossy(word).to_ascii_uppercase()
}

/// Anything but MAIL, RCPT, RSET and a chunk that is not the last waits for its answer.
fn ends_group(octets: &[u8]) -> bool {
    let line = octets.split(|octet| *octet == b'\r').next().unwrap_or_default();
    match verb(octets).as_str() {
        "MAIL" | "RCPT" | "RSET" => false,
        "BDAT" => line.to_ascii_uppercase().ends_with(b" LAST"),
        _ => true,
    }
}
