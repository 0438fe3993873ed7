//! Which files of its own crate a file names, in `use` trees and in paths.

use std::collections::BTreeMap;

use super::source::Source;

/// A path inside the crate, from its root, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// Every path that starts with `crate::`, `super::` or `self::`.
pub(super) fn of(file: &Source) -> Vec<Import> {
    let code = &file.code;
    let here: Vec<_> = file.module().split('/').map(str::to_owned).collect();
    let mut imports = Vec::new();
    let mut covered = 0; // `super::super::x` is one path
    for (at, _) in code.match_indices("::") {
        let start = code[..at].trim_end().rfind(|c| !is_word(c)).map_or(0, |before| before + 1);
        if start < covered || !matches!(code[start..at].trim(), "crate" | "super" | "self") {
            continue;
        }
        let mut reader = Reader { code, at: start };
        reader.tree(&here, &mut imports);
        covered = reader.at;
    }
    imports
}

/// What the crate's root exports under a name of its own: the name and the path it stands for.
pub(super) fn exports(root: &Source) -> BTreeMap<String, Vec<String>> {
    let code = &root.code;
    let mut imports = Vec::new();
    for (at, word) in code.match_indices("pub use ") {
        Reader { code, at: at + word.len() }.tree(&[], &mut imports);
    }
    imports.into_iter().filter_map(|import| Some((import.path.last()?.clone(), import.path))).collect()
}

/// The file where a path leads: the longest beginning of it that is a module. A name that the crate's root exports is
/// followed to its module.
pub(super) fn resolve<'s>(
    path: &[String],
    modules: &BTreeMap<&str, &'s Source>,
    exported: &BTreeMap<String, Vec<String>>,
) -> Option<&'s Source> {
    let module = |path: &[String]| (1..=path.len()).rev().find_map(|end| modules.get(path[..end].join("/").as_str()));
    module(path).or_else(|| module(exported.get(path.first()?)?)).copied()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Reader<'c> {
    code: &'c str,
    at: usize,
}

impl Reader<'_> {
    /// `a::b`, `a::{b, c::d as e}`, `a::*`
    fn tree(&mut self, base: &[String], found: &mut Vec<Import>) {
        let mut path = base.to_vec();
        loop {
            let line = self.code[..self.space()].matches('\n').count() + 1;
            if self.eat("{") {
                while !self.eat("}") && self.at < self.code.len() {
                    let before = self.at;
                    self.tree(&path, found);
                    if !self.eat(",") && self.at == before {
                        self.at += 1; // not a tree after all, such as the body of a block
                    }
                }
                return;
            }
            match self.word() {
                "crate" => path.clear(),
                "super" => drop(path.pop()),
                "self" => {}
                "" => return found.push(Import { line, path }), // `*`
                word => path.push(word.to_owned()),
            }
            if !self.eat("::") {
                if self.eat("as ") {
                    self.word();
                }
                return found.push(Import { line, path });
            }
        }
    }

    fn space(&mut self) -> usize {
        self.at = self.code.len() - self.code[self.at..].trim_start().len();
        self.at
    }

    fn eat(&mut self, token: &str) -> bool {
        let at = self.space();
        let found = self.code[at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn word(&mut self) -> &str {
        let at = self.space();
        let length = self.code[at..].find(|c| !is_word(c)).unwrap_or(self.code.len() - at);
        self.at += length;
        if length == 0 && self.code[at..].starts_with('*') {
            self.at += 1;
        }
        &self.code[at..at + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, code: &str) -> Vec<String> {
        let file = Source::new(path, code);
        of(&file).iter().map(|import| format!("{} {}", import.line, import.path.join("::"))).collect()
    }

    #[test]
    fn use_trees_and_paths_are_read() {
        assert_eq!(paths("a/b.rs", "use crate::c::D;"), ["1 c::D"]);
        assert_eq!(
            paths("a/b.rs", "use super::{e::F, self, g::*};\nuse self::h;"),
            ["1 a::e::F", "1 a", "1 a::g", "2 a::b::h"]
        );
        assert_eq!(
            paths("a/b.rs", "use super::super::c::{\n  D as E,\n  f::{G, H},\n};"),
            ["2 c::D", "3 c::f::G", "3 c::f::H"]
        );
        assert_eq!(paths("a.rs", "fn f(x: crate::b::C<crate::d::E>) -> super::G {}"), ["1 b::C", "1 d::E", "1 G"]);
        assert_eq!(paths("a.rs", "use std::io; let x = Self::y(); self.z::<u8>(); my_crate::b()"), [""; 0]);
    }
}
