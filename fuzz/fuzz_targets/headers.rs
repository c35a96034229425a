//! Block and body are the message, however it arrives; and an edit changes one field.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmilter::smtp::headers::{HeaderExcess, HeaderLimits, HeaderScan};
use wasmilter::smtp::{HeaderBlock, HeaderField};

fn scan(content: &[u8], size: usize, limits: HeaderLimits) -> Result<(HeaderBlock, usize), HeaderExcess> {
    let (mut scan, mut at) = (HeaderScan::new(), 0);
    while !scan.scan(&content[..at], limits)? && at < content.len() {
        at = content.len().min(at + size);
    }
    Ok(scan.finish(&content[..at]))
}

fuzz_target!(|content: &[u8]| {
    for limits in [HeaderLimits::CEILING, HeaderLimits { octets_max: 40, fields_max: 3 }] {
        let whole = scan(content, content.len().max(1), limits);
        assert_eq!(scan(content, 1, limits), whole);
        assert_eq!(scan(content, 7, limits), whole);
    }

    let (mut block, body) = HeaderBlock::parse(content);
    let mut out = Vec::new();
    block.write_into(&mut out);
    assert_eq!(out.len(), block.octets());
    out.extend_from_slice(&content[body..]);
    let unfinished = body == content.len() && !block.is_empty() && !content.ends_with(b"\r\n");
    if block.is_empty() && body == 0 && !content.is_empty() {
        assert!(out.strip_prefix(b"\r\n") == Some(content));
    } else if !unfinished {
        assert_eq!(out, content);
    }

    let fields = block.len();
    let half = content.len() / 2;
    if let Ok(field) = HeaderField::new(String::from_utf8_lossy(&content[..half]), &content[half..]) {
        block.insert(0, &field);
        block.separate_body();
        let mut edited = Vec::new();
        block.write_into(&mut edited);
        let (again, end) = HeaderBlock::parse(&edited);
        assert_eq!((again.len(), end), (fields + 1, edited.len()));
        let first = again.at(0).expect("the field that was inserted");
        assert_eq!((first.name(), first.value()), (field.name(), field.value()));
    }
});
