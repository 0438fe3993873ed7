//! What `{:#?}` prints of a message, read back as a tree: so every field of every API gets into a transcript without a line
//! of code for it.

/// A value as `{:#?}` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Fields by name; the structure's own name is not kept.
    Structure(Vec<(String, Tree)>),
    /// Elements of a list.
    List(Vec<Tree>),
    /// `Some(…)`, an error code with its number, …
    Wrapped(String, Box<Tree>),
    /// What stood in double quotes.
    Text(String),
    /// What stood in double quotes behind a `b`.
    Bytes(Vec<u8>),
    /// Anything else: numbers, names.
    Word(String),
}

impl Tree {
    /// Reads what `{:#?}` printed.
    pub fn of(value: &impl std::fmt::Debug) -> Self {
        let text = format!("{value:#?}");
        let mut reader = Reader { rest: &text };
        let tree = reader.value();
        assert!(reader.rest.is_empty(), "not read: {:?} of {text}", reader.rest);
        tree
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self) -> Tree {
        self.rest = self.rest.trim_start();
        if self.eat("[") {
            return Tree::List(self.until("]", Self::value));
        }
        if self.eat("b\"") {
            return Tree::Bytes(self.quoted());
        }
        if self.eat("\"") {
            return Tree::Text(String::from_utf8(self.quoted()).expect("text"));
        }
        let end = self.rest.find([',', '{', '(', ')', ']', '}']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        (self.rest, _) = (rest, ());
        let word = word.trim_end().to_owned();
        if self.eat("{") {
            return Tree::Structure(self.until("}", |reader| {
                let (name, rest) = reader.rest.split_once(": ").expect("a field");
                reader.rest = rest;
                (name.trim_start().to_owned(), reader.value())
            }));
        }
        if self.eat("(") {
            let mut inner = self.until(")", Self::value);
            assert_eq!(inner.len(), 1, "values in {word}");
            return Tree::Wrapped(word, Box::new(inner.remove(0)));
        }
        Tree::Word(word)
    }

    fn until<T>(&mut self, end: &str, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut elements = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.eat(end) {
                return elements;
            }
            elements.push(element(self));
            self.rest = self.rest.trim_start();
            self.eat(",");
        }
    }

    /// The content up to the closing quote, escapes resolved.
    fn quoted(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let end = self.rest.find(['"', '\\']).expect("a closing quote");
            bytes.extend(self.rest[..end].bytes());
            let escaped = self.rest[end..].starts_with('\\');
            self.rest = &self.rest[end + 1..];
            if !escaped {
                return bytes;
            }
            let letter = self.rest.chars().next().expect("an escape");
            self.rest = &self.rest[letter.len_utf8()..];
            match letter {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                '0' => bytes.push(0),
                'x' => {
                    bytes.push(u8::from_str_radix(&self.rest[..2], 16).expect("two digits"));
                    self.rest = &self.rest[2..];
                }
                'u' => {
                    let (digits, rest) = self.rest[1..].split_once('}').expect("a code point");
                    let code = u32::from_str_radix(digits, 16).expect("digits");
                    bytes.extend(char::from_u32(code).expect("a letter").to_string().bytes());
                    self.rest = rest;
                }
                other => bytes.extend(other.to_string().bytes()),
            }
        }
    }
}

#[test]
fn what_debug_prints_is_read_back() {
    #[derive(Debug)]
    #[allow(dead_code, reason = "printed")]
    struct Outer {
        inner: Option<Inner>,
        list: Vec<i32>,
        text: &'static str,
        bytes: bytes::Bytes,
        none: Option<i32>,
    }
    #[derive(Debug)]
    #[allow(dead_code, reason = "printed")]
    struct Inner {
        number: i64,
    }
    let outer = Outer {
        inner: Some(Inner { number: -1 }),
        list: vec![1, 2],
        text: "a \"b\", {c}\n",
        bytes: bytes::Bytes::from_static(b"\x00\"\xff"),
        none: None,
    };
    let word = |word: &str| Tree::Word(word.to_owned());
    let inner = Tree::Structure(vec![("number".to_owned(), word("-1"))]);
    let expected = [
        ("inner", Tree::Wrapped("Some".to_owned(), Box::new(inner))),
        ("list", Tree::List(vec![word("1"), word("2")])),
        ("text", Tree::Text("a \"b\", {c}\n".to_owned())),
        ("bytes", Tree::Bytes(b"\x00\"\xff".to_vec())),
        ("none", word("None")),
    ];
    let expected = expected.map(|(name, tree)| (name.to_owned(), tree)).to_vec();
    assert_eq!(Tree::of(&outer), Tree::Structure(expected));
}
