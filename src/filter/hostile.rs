//! What of the loader is our own code, in one place for the fuzzer and a property test: any octets go in, and it comes
//! back.

use super::{cache, component, schema, signature, survey};

/// Any octets as a component, as a compiled one, as a signature, as a schema and as settings.
pub fn load(octets: &[u8]) {
    let _ = component::preamble(octets);
    let _ = survey::check(octets);
    let _ = cache::take_apart(octets);
    let Ok(text) = std::str::from_utf8(octets) else { return };
    assert!(!signature::is_good(text, octets), "a text that signs itself");
    let _ = schema::check(text, "{}");
    if let Some((schema, settings)) = text.split_once('\n') {
        let _ = schema::check(schema, settings);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::load;

    const SEEDS: [&[u8]; 4] = [
        include_bytes!("../../tests/guests/signed/quit.wasm"),
        include_bytes!("../../tests/guests/signed/quit.wasm.minisig"),
        include_bytes!("../../filters/greylist/settings.json"),
        include_bytes!("../../filters/add-header/settings.json"),
    ];

    proptest! {
        #[test]
        fn whatever_comes_is_survived(
            seed in 0..SEEDS.len(),
            cut in any::<prop::sample::Index>(),
            bent in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            more in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut octets = SEEDS.get(seed).copied().unwrap_or_default().to_vec();
            for (place, octet) in bent {
                let place = place.index(octets.len());
                octets.splice(place..=place, [octet]);
            }
            octets.truncate(cut.index(octets.len() * 2));
            octets.extend(more);
            load(&octets);
        }
    }
}
