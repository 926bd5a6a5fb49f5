//! Reads Rust source just well enough to see which paths it names: comments and texts are blanked out, and the trees
//! of `use` items are taken apart.

/// A path as it is named in the code, `use a::{b, c}` being two of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The line it stands in, from 1.
    pub(crate) line: usize,
    /// What stands between the double colons.
    pub(crate) segments: Vec<String>,
}

/// Returns the text with comments, string literals and character literals blanked out, line by line the same.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = literal_or_comment(rest, code.chars().last());
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        }
        code.extend(rest[..skipped].chars().map(|skipped| if skipped == '\n' { '\n' } else { ' ' }));
        rest = &rest[skipped..];
    }
    code
}

/// Returns the length of the comment, string or character that the text begins with; 0 if it begins with neither.
fn literal_or_comment(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let in_name = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    let raw = text.strip_prefix("br").or(text.strip_prefix('r')).filter(|_| !in_name);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let opened = text.len() - raw.len() + hashes + 1;
            return text[opened..].find(&close).map_or(text.len(), |at| opened + at + close.len());
        }
    }
    match text.as_bytes()[0] {
        b'"' => quoted(text, '"'),
        b'\'' => {
            let mut inner = text[1..].chars();
            let is_character = match inner.next() {
                Some('\\') => true,
                Some(_) => inner.next() == Some('\''),
                None => false,
            };
            // Otherwise it is a lifetime.
            if is_character { quoted(text, '\'') } else { 0 }
        }
        _ => 0,
    }
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if next == '\\' {
            escaped = true;
        } else if next == quote {
            return at + 1;
        }
    }
    text.len()
}

/// What may stand in front of a path that begins with `::`.
const KEYWORDS: &[&str] = &["as", "dyn", "else", "for", "if", "impl", "in", "match", "mut", "return", "use", "where"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    /// `::`
    Colons,
    Other(char),
}

/// Returns the paths that the code names. Lone names are paths of one segment.
pub(crate) fn paths_of(code: &str) -> Vec<Named> {
    let tokens = tokens_of(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let opens = matches!(tokens[at].1, Token::Name(_) | Token::Colons);
        at = if opens { read_path(&tokens, at, &[], &mut paths) } else { at + 1 };
    }
    paths
}

/// Reads a path, or a tree of them, that begins at a token; returns where it ends.
fn read_path(tokens: &[(usize, Token<'_>)], start: usize, above: &[String], paths: &mut Vec<Named>) -> usize {
    let mut segments = above.to_vec();
    let mut at = start;
    loop {
        match tokens.get(at).map(|(_, token)| *token) {
            Some(Token::Name(name)) => {
                // `self` in a tree is what stands above it.
                if name != "self" || above.is_empty() {
                    segments.push(name.to_string());
                }
                at += 1;
                if KEYWORDS.contains(&name) || tokens.get(at).map(|(_, token)| *token) != Some(Token::Colons) {
                    break;
                }
            }
            // A `::` that begins a path, or that leads from one segment to the next.
            Some(Token::Colons) => at += 1,
            Some(Token::Other('{')) if at > start => return read_tree(tokens, at + 1, &segments, paths),
            Some(Token::Other('*')) => {
                at += 1;
                break;
            }
            // `a::<T>`: the path ends here.
            _ => break,
        }
    }
    let line = tokens[start].0;
    if !segments.is_empty() {
        paths.push(Named { line, segments });
    }
    at.max(start + 1)
}

/// Reads `a, b::c, d::{e, f}}` below a path; returns what stands behind the closing brace.
fn read_tree(tokens: &[(usize, Token<'_>)], start: usize, above: &[String], paths: &mut Vec<Named>) -> usize {
    let mut at = start;
    while let Some((_, token)) = tokens.get(at) {
        at = match token {
            Token::Other('}') => return at + 1,
            Token::Name("as") => at + 2,
            Token::Name(_) | Token::Colons => read_path(tokens, at, above, paths),
            Token::Other('*') => {
                paths.push(Named { line: tokens[at].0, segments: above.to_vec() });
                at + 1
            }
            Token::Other(_) => at + 1,
        };
    }
    at
}

fn tokens_of(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while let Some(next) = code[at..].chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_name(next) {
            let length = code[at..].find(|c| !is_name(c)).unwrap_or(code.len() - at);
            tokens.push((line, Token::Name(&code[at..at + length])));
            length
        } else if code[at..].starts_with("::") {
            tokens.push((line, Token::Colons));
            2
        } else {
            if !next.is_whitespace() {
                tokens.push((line, Token::Other(next)));
            }
            line += usize::from(next == '\n');
            next.len_utf8()
        };
        at += length;
    }
    tokens
}

#[test]
fn comments_and_texts_are_no_code() {
    let text = "a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j \" k\"# l 'm' '\\'' n<'o> br\"p\" q";
    let code = code_of(text);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "i", "l", "n<'o>", "q"]);
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn trees_are_taken_apart() {
    let named = |code: &str| -> Vec<String> { paths_of(code).iter().map(|named| named.segments.join("::")).collect() };
    let tree = "use crate::{a, b::{self, c as d, e::*}};";
    assert_eq!(named(tree), ["use", "crate::a", "crate::b", "crate::b::c", "crate::b::e"]);
    assert_eq!(named("use ::sled::Db;"), ["use", "sled::Db"]);
    assert_eq!(named("x.y(a::b::<C>::d(), Self::E { f: 1 })"), ["x", "y", "a::b", "C", "d", "Self::E", "f", "1"]);
    assert_eq!(named("return crate::a::b"), ["return", "crate::a::b"]);
}
