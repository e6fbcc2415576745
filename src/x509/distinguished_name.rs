//! Distinguished names as RFC 4514 text that is safe to print.

use std::fmt::Write as _;

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The attribute types with a short name: RFC 4514 section 3, and three more that certificates often carry.
const SHORT_NAMES: [(&str, &str); 12] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The name as RFC 4514 text: most specific first. What could forge a log line or a terminal's display is escaped.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let rdns: Vec<_> = name.iter_rdn().collect();
    for (index, rdn) in rdns.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in rdn.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    text.push_str(short.unwrap_or(&oid));
    text.push('=');
    if let Ok(value) = attribute.as_str() {
        push_escaped(text, value);
    } else {
        text.push('#');
        attribute.as_slice().iter().for_each(|octet| {
            let _ = write!(text, "{octet:02x}");
        });
    }
}

fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            _ if is_deceptive(character) => {
                for octet in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{octet:02x}");
                }
            }
            _ => text.push(character),
        }
    }
}

/// The text with characters that could forge a line or a terminal's display as `\u{..}`.
pub(super) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut printed, character| {
        if is_deceptive(character) {
            printed.extend(character.escape_unicode());
        } else {
            printed.push(character);
        }
        printed
    })
}

/// Control characters, line separators, and the invisible ones that reorder or hide what stands around them.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(value: &str) -> String {
        let mut text = String::new();
        push_escaped(&mut text, value);
        text
    }

    #[test]
    fn a_value_cannot_forge_attributes_or_lines() {
        assert_eq!(escaped("ads,CN=root"), "ads\\,CN=root");
        assert_eq!(escaped("#a b "), "\\#a b\\ ");
        assert_eq!(escaped("a\nb\u{1b}[31m"), "a\\0ab\\1b[31m");
        assert_eq!(escaped("\u{202e}x"), "\\e2\\80\\aex");
        assert_eq!(escaped("Zürich"), "Zürich");
        assert_eq!(escaped(" "), "\\ ");
        assert_eq!(escaped(""), "");
    }
}
