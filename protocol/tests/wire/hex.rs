//! Files of golden data: comments, and lines whose last word is hexadecimal.

use std::path::PathBuf;

use bytes::Bytes;

/// The lines of a file in `tests/golden`: the words before the bytes, and the bytes.
pub(crate) fn read(file: &str) -> Vec<(String, Bytes)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    // An empty message has no digits after the space.
    lines.map(|line| line.rsplit_once(' ').expect(line)).map(|(name, hex)| (name.to_owned(), bytes(hex))).collect()
}

fn bytes(hex: &str) -> Bytes {
    assert_eq!(hex.len() % 2, 0, "{hex}");
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect(hex)).collect()
}
