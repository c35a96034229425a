//! A filter's `settings` as the JSON text that its guest reads.

use toml::de::DeValue;

use super::problem::Problem;
use super::value::Value;

/// Writes a value; `${NAME}` in its texts is replaced. Dates become texts, as JSON has none.
///
/// # Errors
/// A number that JSON cannot hold, or a name of the environment that is not set.
pub(super) fn write(value: &Value<'_>, out: &mut String) -> Result<(), Problem> {
    match value.node.get_ref() {
        DeValue::String(_) => string(&value.text()?, out),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => out.push_str(&number.to_string()),
            Err(_) => return Err(value.error("is out of bounds")),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => out.push_str(&number.to_string()),
            _ => return Err(value.error("is not a number that JSON can hold")),
        },
        DeValue::Boolean(flag) => out.push_str(if *flag { "true" } else { "false" }),
        DeValue::Datetime(date) => string(&date.to_string(), out),
        DeValue::Array(_) => {
            out.push('[');
            for (place, item) in value.items().iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        DeValue::Table(table) => {
            out.push('{');
            for (place, (key, node)) in table.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                string(key.get_ref(), out);
                out.push(':');
                let path = format!("{}.{}", value.path, key.get_ref());
                value.reader.mark(&path, node.span());
                write(&Value { reader: value.reader, node, path }, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// RFC 8259 7.
fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
