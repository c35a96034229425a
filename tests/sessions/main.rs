//! Whole sessions against a model upstream: what it accepted is exactly what the client was told. The same inputs in
//! every run; the fuzz target `session` looks for others. What it finds stands here, or becomes a dialog.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

mod guessing;
mod model;
mod moves;
mod upstream;

use std::path::Path;

use model::{Play, play};

/// In every run. `SESSIONS=50000` plays more, by hand.
const PLAYS: u64 = 400;
const MOVES_MAX: u64 = 40;

/// Numbers that are the same everywhere (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, max: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % max
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

#[test]
fn what_the_upstream_accepted_is_what_the_client_was_told() {
    let plays = std::env::var("SESSIONS").map_or(PLAYS, |plays| plays.parse().unwrap());
    let mut accepted = 0;
    for seed in 1..=plays {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut input = vec![numbers.octet() & 0x3f, numbers.octet() & 0x0f];
        // Somewhere to begin: most sessions get as far as a message.
        input.extend((0..input[1] % 32).map(|_| numbers.octet()));
        input.extend([0, 3, 11, 17, 20, 3, 11]);
        input.extend((0..numbers.below(MOVES_MAX)).map(|_| numbers.octet()));
        accepted += play(&Play::decode(&input));
    }
    assert!(accepted > 50, "hardly a session gets as far as a message: {accepted}");
}

/// Every dialog's client, before an upstream that takes everything.
#[test]
fn the_clients_of_the_dialogs_keep_it_honest() {
    let mut clients = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dialog") {
                let text = std::fs::read_to_string(&path).unwrap();
                let packets: Vec<Vec<u8>> = text
                    .lines()
                    .filter_map(|line| line.strip_prefix("C: "))
                    .map(|line| format!("{line}\r\n").into_bytes())
                    .collect();
                play(&Play { packets: packets.clone(), offer: 0x0f, connect: "eager", ..Play::default() });
                play(&Play { packets: vec![packets.concat()], offer: 0, connect: "eager", ..Play::default() });
                clients += 1;
            }
        }
    }
    assert!(clients > 20, "the dialogs are gone");
}
