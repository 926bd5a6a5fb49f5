//! What stands behind the `?`: read strictly, so that a slip of the pen is told and not passed over.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// What was written behind the `?`, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query; these are the names that it may have.
    ///
    /// # Errors
    /// If it has others, or one twice, or is no Unicode.
    pub(super) fn read(text: &str, known: &[&str]) -> Result<Query, String> {
        let mut values = BTreeMap::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known.contains(&name.as_str()) {
                let known =
                    if known.is_empty() { "nothing is".into() } else { format!("what is: {}", known.join(", ")) };
                return Err(format!("\"{name}\" is not known behind the \"?\" here; {known}"));
            }
            if values.insert(name.clone(), value).is_some() {
                return Err(format!("\"{name}\" stands twice behind the \"?\""));
            }
        }
        Ok(Query(values))
    }

    /// Returns what was written for a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the number that was written for a name, or the usual one.
    ///
    /// # Errors
    /// If it is none, or beyond these bounds.
    pub(super) fn number(&self, name: &str, usual: u64, least: u64, most: u64) -> Result<u64, String> {
        let Some(text) = self.get(name) else { return Ok(usual) };
        let number = number(text).filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("\"{name}\" is a number from {least} to {most}, not \"{text}\""))
    }
}

/// Returns the number that a text is, in the one way in which it is written.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn decoded(part: &str) -> Result<String, String> {
    let spaced = part.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned());
    decoded.map_err(|_| "what stands behind the \"?\" is no Unicode".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_read() {
        let query = Query::read("key=%7B%22a%22%3A1%7D&region=my+region&", &["key", "region", "limit"]).unwrap();
        assert_eq!((query.get("key"), query.get("region")), (Some("{\"a\":1}"), Some("my region")));
        assert_eq!(query.number("limit", 50, 1, 100), Ok(50));
        assert_eq!(Query::read("", &[]), Ok(Query::default()));
    }

    #[test]
    fn what_is_not_known_is_told() {
        assert!(Query::read("regoin=a", &["region"]).unwrap_err().contains("\"regoin\" is not known"));
        assert!(Query::read("a", &[]).unwrap_err().contains("nothing is"));
        assert!(Query::read("a=1&a=1", &["a"]).unwrap_err().contains("twice"));
        assert!(Query::read("a=%ff", &["a"]).unwrap_err().contains("Unicode"));
        for limit in ["0", "101", "x", "", "-1", "+3", "%2B3", "03", "99999999999999999999"] {
            let query = Query::read(&format!("limit={limit}"), &["limit"]).unwrap();
            assert!(query.number("limit", 50, 1, 100).unwrap_err().contains("from 1 to 100"), "{limit}");
        }
    }

    #[test]
    fn numbers_are_written_in_one_way() {
        assert_eq!([number("0"), number("17")], [Some(0), Some(17)]);
        for text in ["", "+3", "03", "00", "-3", " 3", "3 ", "1_000", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
