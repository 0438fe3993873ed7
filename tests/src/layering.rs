//! Checks that the crates keep to the architecture: every file says what it is, pure files are pure, imports point down.
//!
//! It reads the text of the files, without a compiler: comments, literals and test modules are blanked, what is left is
//! searched for words and paths. `clippy.toml` bans the same calls with the compiler's eyes; this names the layers.

mod imports;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use self::source::Source;
use self::source::{Label, words};

/// One broken rule, shown as `file:line: what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The crate's folder and the file in it, such as `client/src/producer.rs`.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// What a crate's files are held to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Module path prefix (`producer/sender`, without `.rs`) and layer; the longest prefix decides. Empty: no layers.
    pub layers: &'static [(&'static str, Layer)],
    /// No file of this crate may be IO.
    pub all_pure: bool,
}

/// A layer, from the bottom up: a file imports from its own layer and from those below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Errors, records, configuration, the seams: needed everywhere, needing nothing.
    Leaf,
    /// Sockets, TLS, SASL.
    Network,
    /// Metadata, routing, coordinators, over connections.
    Cluster,
    /// Rules from KIPs, as values.
    Machine,
    /// The tasks.
    Driver,
    /// A folder where the label decides: pure files are machines, the others drivers.
    MachineOrDriver,
    /// What an application calls.
    Api,
}

/// Words and paths that make a file impure.
const IMPURE: &[&str] = &[
    ".await",
    "async fn",
    "async move",
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "std::thread",
    "rand::",
    "fastrand::",
    "getrandom::",
];

/// Reads and checks all files below `<root>/<name>/src`.
///
/// # Errors
/// A file cannot be read.
pub fn check_crate(root: &Path, name: &str, rules: &Rules) -> std::io::Result<Vec<Problem>> {
    let folder = root.join(name).join("src");
    let mut files = Vec::new();
    source::read_folder(&folder, &folder, &mut files)?;
    Ok(check(name, &files, rules))
}

/// Checks the files of a crate against its rules.
pub fn check(name: &str, files: &[Source], rules: &Rules) -> Vec<Problem> {
    let by_module: BTreeMap<&str, &Source> = files.iter().map(|file| (file.module(), file)).collect();
    let exported = by_module.get("").map(|lib| imports::exports(lib)).unwrap_or_default();
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| !file.is_tour() && !file.is_test()) {
        let mut report = |line, what| problems.push(Problem { file: format!("{name}/src/{}", file.path), line, what });
        let Some(label) = file.label else {
            report(
                file.label_line,
                "the first `//!` line must say what the file is and end in `Pure.` or `IO.`".into(),
            );
            continue;
        };
        match label {
            Label::Io if rules.all_pure => report(file.label_line, "every file of this crate must be pure".into()),
            Label::Io => {}
            Label::Pure => {
                for (line, word) in words(&file.code, IMPURE) {
                    report(line, format!("`{word}` in a file that says it is pure"));
                }
            }
        }
        let layer = layer_of(file, rules);
        if layer.is_none() && !rules.layers.is_empty() {
            report(1, "not in the table of layers: name its layer in tests/tests/layering.rs".into());
        }
        for import in imports::of(file) {
            let Some(target) = imports::resolve(&import.path, &by_module, &exported) else { continue };
            if target.module() == file.module() || target.is_tour() {
                continue;
            }
            let path = import.path.join("::");
            if let (Some(from), Some(to)) = (layer, layer_of(target, rules))
                && from < to
            {
                report(import.line, format!("`{path}` points up: {from:?} may not import {to:?} ({})", target.path));
            }
            if label == Label::Pure && target.label == Some(Label::Io) {
                report(import.line, format!("`{path}` comes from {}, which is IO; this file is pure", target.path));
            }
        }
    }
    problems
}

fn layer_of(file: &Source, rules: &Rules) -> Option<Layer> {
    let covers = |prefix: &str| {
        let rest = file.module().strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
    };
    let (_, layer) = rules.layers.iter().filter(|(prefix, _)| covers(prefix)).max_by_key(|(prefix, _)| prefix.len())?;
    Some(match (layer, file.label) {
        (Layer::MachineOrDriver, Some(Label::Pure)) => Layer::Machine,
        (Layer::MachineOrDriver, Some(Label::Io) | None) => Layer::Driver,
        (layer, _) => *layer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        layers: &[
            ("error", Layer::Leaf),
            ("net", Layer::Network),
            ("producer/", Layer::MachineOrDriver),
            ("producer", Layer::Api),
        ],
        all_pure: false,
    };

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        problems_with(&RULES, files)
    }

    fn problems_with(rules: &Rules, files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        check("client", &files, rules).iter().map(ToString::to_string).collect()
    }

    const ERROR: (&str, &str) = ("error.rs", "//! What failed. Pure.\npub struct Error;\n");
    const SENDER: (&str, &str) = ("producer/sender.rs", "//! The task. IO.\npub(crate) struct Sender;\n");
    const API: (&str, &str) =
        ("producer.rs", "//! The producer. IO.\nuse self::sender::Sender;\npub struct Producer(Sender);\n");
    const LIB: (&str, &str) = ("lib.rs", "//! Tour.\npub use error::Error;\npub use crate::producer::{Producer};\n");

    #[test]
    fn what_keeps_the_rules_is_not_reported() {
        let accumulator = r#"//! Open batches. Pure.
            use crate::error::Error;
            // comments may say tokio::spawn, "literals" too
            const TEXT: &str = "x.await // tokio::time";
            fn first<'a>(operand: &'a [u8]) -> char { let r = '"'; r }
            #[cfg(test)]
            mod tests { use tokio::time; use crate::producer::Producer; }
        "#;
        assert_eq!(problems(&[LIB, ERROR, SENDER, API, ("producer/accumulator.rs", accumulator)]), [""; 0]);
    }

    #[test]
    fn a_file_without_a_label_is_reported() {
        for text in ["//! What failed.\n//! Pure.\n", "use x;\n", "//! Impure.\n", "/// Pure.\nstruct A;\n"] {
            let found = problems(&[("error.rs", text)]);
            assert!(found.len() == 1 && found[0].starts_with("client/src/error.rs:1: the first"), "{text}: {found:?}");
        }
        assert_eq!(problems(&[("lib.rs", "//! A tour.\n")]), [""; 0]);
    }

    #[test]
    fn impure_words_in_a_pure_file_are_reported_with_their_line() {
        for (code, word) in [
            ("fn a() { b\n.await }", ".await"),
            ("async fn a() {}", "async fn"),
            ("use tokio::sync::Notify;", "tokio::"),
            ("let now = std::time::Instant::now();", "Instant::now"),
            ("let now = SystemTime :: now();", "SystemTime::now"),
            ("std::thread::yield_now();", "std::thread"),
            ("let dice: u8 = rand::random();", "rand::"),
        ] {
            let found = problems(&[("error.rs", &format!("//! E. Pure.\n\n{code}\n"))]);
            let line = if code.contains('\n') { 4 } else { 3 };
            assert_eq!(found, [format!("client/src/error.rs:{line}: `{word}` in a file that says it is pure")]);
            assert_eq!(problems(&[("error.rs", &format!("//! E. IO.\n\n{code}\n"))]), [""; 0]);
        }
        assert_eq!(problems(&[("error.rs", "//! E. Pure.\nuse operand::x; use my_tokio::y;\n")]), [""; 0]);
    }

    #[test]
    fn imports_that_point_up_are_reported_however_they_are_written() {
        for (line, import) in [
            (2, "use crate::producer::Producer;"),
            (2, "pub(crate) use crate::{error::Error, producer::{sender::Sender as S, Producer}};"),
            (2, "use super::Producer;"),
            (2, "use crate::Producer;"),
            (2, "fn a(p: &crate::producer::Producer) {}"),
            (3, "use crate::{\n    producer::Producer,\n};"),
        ] {
            let text = format!("//! The task. IO.\n{import}\n");
            let found = problems(&[LIB, ERROR, API, ("producer/sender.rs", &text)]);
            let start = format!("client/src/producer/sender.rs:{line}: `");
            assert!(found.len() == 1 && found[0].starts_with(&start), "{import}: {found:?}");
            assert!(found[0].contains("points up: Driver may not import Api (producer.rs)"), "{found:?}");
        }
    }

    #[test]
    fn a_pure_file_may_not_import_an_io_file() {
        let machine = ("producer/machine.rs", "//! A machine. Pure.\nuse crate::net::Address;\n");
        let net = ("net.rs", "//! Sockets. IO.\npub struct Address;\n");
        let found = problems(&[machine, net]);
        assert_eq!(
            found,
            ["client/src/producer/machine.rs:2: `net::Address` comes from net.rs, which is IO; this file is pure"]
        );
    }

    #[test]
    fn a_file_that_the_table_does_not_know_is_reported() {
        let found = problems(&[("misc.rs", "//! Odds and ends. Pure.\n")]);
        assert!(found[0].starts_with("client/src/misc.rs:1: not in the table of layers"), "{found:?}");
        let found = problems(&[("network.rs", "//! Not net. Pure.\n")]);
        assert!(found[0].contains("not in the table"), "{found:?}");
    }

    #[test]
    fn a_crate_of_pure_files_has_no_other() {
        let rules = Rules { layers: &[], all_pure: true };
        let found = problems_with(&rules, &[("frame.rs", "//! Frames. IO.\n")]);
        assert_eq!(found, ["client/src/frame.rs:1: every file of this crate must be pure"]);
    }
}
