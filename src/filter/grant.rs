//! Patterns of grants: `X-Corp-*`, `*@corp.example`.

/// Whether `text` matches `pattern`, in which `*` stands for anything. ASCII case is ignored.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = strip_prefix(text, first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some(place) = find(rest, piece) else { return false };
        rest = rest.get(place + piece.len()..).unwrap_or_default();
    }
    rest.len() >= last.len() && rest.get(rest.len() - last.len()..).is_some_and(|end| end.eq_ignore_ascii_case(last))
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn find(text: &str, piece: &str) -> Option<usize> {
    text.char_indices()
        .map(|(place, _)| place)
        .chain([text.len()])
        .find(|place| text.get(*place..).is_some_and(|rest| strip_prefix(rest, piece).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, text, wanted) in [
            ("*", "anything", true),
            ("*", "", true),
            ("Subject", "SUBJECT", true),
            ("Subject", "Subject-Line", false),
            ("X-Corp-*", "x-corp-score", true),
            ("X-Corp-*", "X-Corp", false),
            ("*@corp.example", "a@Corp.Example", true),
            ("*@corp.example", "a@corp.example.net", false),
            ("*@corp.example", "a@notcorp.example", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*ö*", "xÖy", false),
            ("*ö*", "xöy", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
