//! One source file, reduced to what the layering rules look at.

use std::fs;
use std::io;
use std::path::Path;

/// What a file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Pure,
    Io,
}

/// A source file whose comments, literals and tests are blanked; line numbers stay.
#[derive(Clone, Debug)]
pub struct Source {
    /// Relative to the crate's `src`, with `/`.
    pub(super) path: String,
    pub(super) label: Option<Label>,
    pub(super) label_line: usize,
    pub(super) code: String,
}

impl Source {
    /// Reads a file's text; the path is relative to the crate's `src`.
    pub fn new(path: &str, text: &str) -> Self {
        let first_doc = text.lines().enumerate().find(|(_, line)| line.starts_with("//!"));
        let label = first_doc.and_then(|(_, line)| match line.trim_end() {
            line if line.ends_with(" Pure.") => Some(Label::Pure),
            line if line.ends_with(" IO.") => Some(Label::Io),
            _ => None,
        });
        let label_line = first_doc.map_or(1, |(index, _)| index + 1);
        Self { path: path.to_owned(), label, label_line, code: without_tests(blank(text)) }
    }

    /// `producer/sender` for `producer/sender.rs`, empty for the crate's root.
    pub(super) fn module(&self) -> &str {
        if self.is_tour() { "" } else { self.path.trim_end_matches(".rs") }
    }

    /// `lib.rs` says what is in the crate and exports it; it belongs to no layer.
    pub(super) fn is_tour(&self) -> bool {
        self.path == "lib.rs"
    }

    /// A test module in a file of its own.
    pub(super) fn is_test(&self) -> bool {
        self.module().split('/').any(|segment| segment == "tests")
    }
}

/// All `.rs` files below a folder, in the order of their names.
pub(super) fn read_folder(root: &Path, folder: &Path, files: &mut Vec<Source>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            read_folder(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).map_err(io::Error::other)?;
            let relative: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            files.push(Source::new(&relative.join("/"), &fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// Cuts `#[cfg(test)] mod name { …` to the end of the file: tests come last.
fn without_tests(mut code: String) -> String {
    for (at, attribute) in code.match_indices("#[cfg(test)]") {
        let mut rest = code[at + attribute.len()..].trim_start();
        while rest.starts_with("#[") {
            rest = rest.split_once(']').map_or("", |(_, rest)| rest.trim_start());
        }
        let declaration = rest.split(['{', ';']).next().unwrap_or("");
        let is_module =
            declaration.starts_with("mod ") || (declaration.starts_with("pub") && declaration.contains(" mod "));
        if is_module && rest[declaration.len()..].starts_with('{') {
            code.truncate(at);
            break;
        }
    }
    code
}

/// Replaces comments and literals by spaces, keeping every line break.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let skipped = match token(rest) {
            Token::Code(length) => {
                let (seen, after) = rest.split_at(length);
                code.push_str(seen);
                rest = after;
                continue;
            }
            Token::Blank(length) => length,
        };
        let (seen, after) = rest.split_at(skipped);
        code.extend(seen.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

/// How many bytes at the start of the text are code, or must be blanked.
enum Token {
    Code(usize),
    Blank(usize),
}

fn token(text: &str) -> Token {
    let to_end = |end: Option<usize>| Token::Blank(end.unwrap_or(text.len()));
    if text.starts_with("//") {
        return to_end(text.find('\n'));
    }
    if text.starts_with("/*") {
        return Token::Blank(block_comment(text));
    }
    if text.starts_with('"') {
        return Token::Blank(quoted(text, '"'));
    }
    if let Some(after) = text.strip_prefix('\'') {
        let mut characters = after.chars();
        let is_literal = match (characters.next(), characters.next()) {
            (Some('\\'), _) | (Some(_), Some('\'')) => true,
            _ => false, // a lifetime
        };
        return if is_literal { Token::Blank(quoted(text, '\'')) } else { Token::Code(1) };
    }
    // A word, or one other character. A word may be the prefix of a raw string.
    let word = text.len() - text.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    if matches!(&text[..word], "r" | "br" | "cr") {
        let hashes = text[word..].len() - text[word..].trim_start_matches('#').len();
        let opening = word + hashes;
        if text[opening..].starts_with('"') {
            let closing = format!("\"{}", "#".repeat(hashes));
            let body = opening + 1;
            return to_end(text[body..].find(&closing).map(|end| body + end + closing.len()));
        }
    }
    Token::Code(word.max(text.chars().next().map_or(1, char::len_utf8)))
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Where the code contains one of these phrases, spaces inside them aside: line and phrase.
pub(super) fn words<'p>(code: &str, phrases: &[&'p str]) -> Vec<(usize, &'p str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let line = line.replace(" ::", "::").replace(":: ", "::");
        for phrase in phrases {
            for (at, _) in line.match_indices(phrase) {
                let before = line[..at].chars().next_back().is_some_and(is_word) && phrase.starts_with(is_word);
                let after = line[at + phrase.len()..].starts_with(is_word) && phrase.ends_with(is_word);
                if !before && !after {
                    found.push((index + 1, *phrase));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let text = concat!(
            "a /* b /* c\n */ d */ e // f\n",
            "\"g\\\" // h\" i 'j' 'k\n",
            "r#\"l \" m\n\"# n b\"o\" '\\'' p '\\\\' q br\"s\" t\n",
        );
        let code = blank(text);
        assert_eq!(code.lines().count(), text.lines().count());
        let kept: String = code.split_whitespace().collect();
        assert_eq!(kept, "aei'knbpqt");
    }

    #[test]
    fn only_a_test_module_with_a_body_cuts_the_file() {
        let code = "a\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse b;\n#[cfg(test)]\n#[allow(x)]\npub(super) mod cases {\n c }\n";
        let left = without_tests(code.to_owned());
        assert!(left.contains("use b;") && !left.contains("cases"), "{left}");
    }
}
