//! How the text of a property becomes a value, and back. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Acks, Compression, GroupProtocol, IsolationLevel, SecurityProtocol};

/// What a setting may be: numbers in this range of the property's unit, texts of so many bytes.
pub(crate) struct Rule {
    range: RangeInclusive<i64>,
    unit: &'static str,
}

impl Rule {
    pub(super) const ANY: Self = Self { range: i64::MIN..=i64::MAX, unit: "" };

    pub(super) const fn within(self, min: i64, max: i64, unit: &'static str) -> Self {
        Self { range: min..=max, unit }
    }

    fn check(&self, value: i64) -> Result<(), String> {
        if self.range.contains(&value) { Ok(()) } else { Err(format!("out of range; {}", self.allowed())) }
    }

    fn number(&self, text: &str) -> Result<i64, String> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("not a whole number; {}", self.allowed()));
        }
        let value = text.parse().map_err(|_| format!("out of range; {}", self.allowed()))?;
        self.check(value)?;
        Ok(value)
    }

    fn allowed(&self) -> String {
        format!("allowed: {} to {} {}", self.range.start(), self.range.end(), self.unit).trim_end().to_owned()
    }
}

/// A value as it was given. Errors say what is wrong and what is allowed; the caller knows name and value.
pub(crate) trait Value: Clone {
    fn parse(text: &str, rule: &Rule) -> Result<Self, String>;

    /// For values that a setter took, which cannot fail.
    fn check(&self, _: &Rule) -> Result<(), String> {
        Ok(())
    }

    /// In Kafka's notation.
    fn show(&self) -> String;
}

/// A value as the client uses it, made from one that was given.
pub(crate) trait Setting: Sized {
    type Given: Value;

    fn settle(given: &Self::Given) -> Self;

    /// `None` if there is no value.
    fn shown(&self) -> Option<String>;
}

impl<T: Value> Setting for T {
    type Given = T;

    fn settle(given: &T) -> Self {
        given.clone()
    }

    fn shown(&self) -> Option<String> {
        Some(self.show())
    }
}

/// A setting without a default.
impl<T: Value> Setting for Option<T> {
    type Given = T;

    fn settle(given: &T) -> Self {
        Some(given.clone())
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().map(Value::show)
    }
}

/// Uses a value even if it is out of range, so that contradictions with others are still found.
pub(super) fn settle<S: Setting>(name: &str, given: &S::Given, rule: &Rule, problems: &mut Vec<String>) -> S {
    if let Err(reason) = given.check(rule) {
        problems.push(format!("{name}={}: {reason}", given.show()));
    }
    S::settle(given)
}

/// Milliseconds. A setter may take less than one; the next whole one is what is checked.
impl Value for Duration {
    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        let milliseconds = rule.number(text)?;
        u64::try_from(milliseconds).map(Self::from_millis).map_err(|_| format!("negative; {}", rule.allowed()))
    }

    fn check(&self, rule: &Rule) -> Result<(), String> {
        rule.check(i64::try_from(self.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX))
    }

    fn show(&self) -> String {
        let part = self.subsec_nanos() % 1_000_000;
        if part == 0 {
            return self.as_millis().to_string();
        }
        format!("{}.{part:06}", self.as_millis()).trim_end_matches('0').to_owned()
    }
}

impl Value for usize {
    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        // The second failure is for 32-bit machines.
        Self::try_from(rule.number(text)?).map_err(|_| format!("too large here; {}", rule.allowed()))
    }

    fn check(&self, rule: &Rule) -> Result<(), String> {
        rule.check(i64::try_from(*self).unwrap_or(i64::MAX))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for i32 {
    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        Self::try_from(rule.number(text)?).map_err(|_| format!("out of range; {}", rule.allowed()))
    }

    fn check(&self, rule: &Rule) -> Result<(), String> {
        rule.check(i64::from(*self))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        let text = text.to_owned();
        text.check(rule)?;
        Ok(text)
    }

    fn check(&self, rule: &Rule) -> Result<(), String> {
        match self.len() {
            0 if !rule.range.contains(&0) => Err(format!("empty; {}", rule.allowed())),
            length => rule.check(i64::try_from(length).unwrap_or(i64::MAX)),
        }
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// Words separated by commas.
impl Value for Vec<String> {
    fn parse(text: &str, _: &Rule) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

/// Values that are one of a few words: the first word of each is the one shown.
macro_rules! words {
    ($($type:ty { $($word:literal => $value:expr,)+ })+) => { $(
        impl Value for $type {
            fn parse(text: &str, _: &Rule) -> Result<Self, String> {
                match text.to_ascii_lowercase().as_str() {
                    $($word => Ok($value),)+
                    _ => Err(format!("allowed: {}", [$($word),+].join(", "))),
                }
            }

            fn show(&self) -> String {
                [$(($word, $value)),+].iter().find(|(_, value)| value == self).map_or("", |(word, _)| *word).to_owned()
            }
        }
    )+ };
}

words! {
    bool {
        "true" => true,
        "false" => false,
    }
    Acks {
        "all" => Acks::All,
        "-1" => Acks::All,
        "1" => Acks::Leader,
        "0" => Acks::None,
    }
    Compression {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
    }
    IsolationLevel {
        "read_uncommitted" => IsolationLevel::ReadUncommitted,
        "read_committed" => IsolationLevel::ReadCommitted,
    }
}

impl Value for GroupProtocol {
    fn parse(text: &str, _: &Rule) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "classic" => Ok(Self::Classic),
            "consumer" => Err("not yet supported; allowed: classic".to_owned()),
            _ => Err("allowed: classic".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Classic => "classic".to_owned(),
        }
    }
}

impl Value for SecurityProtocol {
    fn parse(text: &str, _: &Rule) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Ok(Self::Plaintext),
            "SSL" | "SASL_PLAINTEXT" | "SASL_SSL" => Err("not yet supported; allowed: PLAINTEXT".to_owned()),
            _ => Err("allowed: PLAINTEXT".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Plaintext => "PLAINTEXT".to_owned(),
        }
    }
}
