//! Settings: by Kafka's property names or by typed setters, from one table. Pure.

mod bootstrap;
mod contradictions;
mod offset_reset;
mod properties;
mod unknown_name;
mod value;

use std::fmt;

pub use self::offset_reset::AutoOffsetReset;
pub use self::properties::Config;
pub(crate) use self::properties::{
    ClientSettings, ConsumerSettings, ProducerSettings, client_setters, consumer_setters, producer_setters, setter,
};
use self::properties::{PROPERTIES, Property};
use crate::error::{Error, ErrorKind, Result};

/// How many brokers must have a record before a send succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// None answers: fast, and a record can be lost without anybody noticing. `acks=0`.
    None,
    /// The partition's leader has it: lost if the leader crashes before a follower copied it. `acks=1`.
    Leader,
    /// Every replica that is in sync has it, at least `min.insync.replicas` of the topic. `acks=all`.
    All,
}

impl Acks {
    /// The number in a Produce request.
    pub(crate) fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// What a producer compresses its batches with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Compression {
    /// Nothing.
    None,
    /// gzip: dense, slow.
    Gzip,
    /// Snappy: quick, not dense.
    Snappy,
    /// LZ4: quick, a little denser.
    Lz4,
    /// Zstandard: about as dense as gzip, much quicker.
    Zstd,
}

impl Compression {
    pub(crate) fn codec(self) -> milena_protocol::compression::Compression {
        use milena_protocol::compression::Compression as Codec;
        match self {
            Self::None => Codec::None,
            Self::Gzip => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd => Codec::Zstd,
        }
    }
}

/// Which records of transactions a consumer sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsolationLevel {
    /// All of them, those of open and of aborted transactions too.
    ReadUncommitted,
    /// Only those of committed ones; reading waits at the first open transaction of a partition.
    ReadCommitted,
}

/// How the connection is secured. `SSL` and `SASL` come later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SecurityProtocol {
    Plaintext,
}

/// By which protocol a group works. `consumer` (KIP-848) comes later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GroupProtocol {
    Classic,
}

impl Config {
    /// Reads settings by their property names. Later entries replace earlier ones of the same name.
    ///
    /// The settings of all roles may come together; each role takes its own. Nothing is ignored: a name that milena
    /// does not know, or knows from Kafka but does not support yet, is an error.
    ///
    /// # Errors
    ///
    /// One [`ErrorKind::Config`] that lists every name refused, with a suggestion where one is near, and every value
    /// that cannot be read, with what is allowed.
    pub fn from_properties<K: AsRef<str>, V: AsRef<str>>(properties: impl IntoIterator<Item = (K, V)>) -> Result<Self> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        for (name, value) in properties {
            config.read(name.as_ref(), value.as_ref(), &mut problems);
        }
        no_problem(&problems)?;
        Ok(config)
    }

    /// Reads the text of a Java properties file: one `name=value` (or `name: value`) a line; blank lines, and lines
    /// that begin with `#` or `!`, are skipped; spaces around name and value do not count.
    ///
    /// # Errors
    ///
    /// As [`Config::from_properties`]; also for lines that are neither, and for backslashes: a file that needs Java's
    /// escapes or continuation lines is refused rather than misread.
    pub fn parse_properties(text: &str) -> Result<Self> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let number = index + 1;
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            // The line itself is not shown: it may be the rest of a password.
            if line.contains('\\') {
                problems.push(format!("line {number} has a backslash: escapes and continued lines are not supported"));
            } else if let Some((name, value)) = line.split_once(['=', ':']) {
                config.read(name, value, &mut problems);
            } else {
                problems.push(format!("line {number} is not of the form name=value"));
            }
        }
        no_problem(&problems)?;
        Ok(config)
    }

    /// This configuration with one property more, or another value for it.
    ///
    /// # Errors
    ///
    /// As [`Config::from_properties`].
    pub fn set(mut self, name: &str, value: &str) -> Result<Self> {
        let mut problems = Vec::new();
        self.read(name, value, &mut problems);
        no_problem(&problems)?;
        Ok(self)
    }

    /// Every property with the value that holds, given or default, in Kafka's notation. Properties that are neither
    /// given nor have a default are left out. What it returns can be read back with [`Config::from_properties`].
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        PROPERTIES.iter().filter_map(|property| Some((property.name, (property.effective)(self)?))).collect()
    }

    /// The brokers to ask first, as `host:port`; checked when the settings are.
    pub(crate) fn bootstrap(mut self, servers: Vec<String>) -> Self {
        self.client.bootstrap_servers = Some(bootstrap::Bootstrap(servers.join(",")));
        self
    }

    /// What the connections and everything shared need, checked.
    pub(crate) fn client(&self) -> Result<ClientSettings> {
        let mut problems = Vec::new();
        let client = self.client.settle(&mut problems);
        contradictions::client(self, &client, &mut problems);
        no_problem(&problems)?;
        Ok(client)
    }

    /// What a producer needs, checked, also against the client's settings.
    pub(crate) fn producer(&self) -> Result<ProducerSettings> {
        let mut problems = Vec::new();
        let producer = self.producer.settle(&mut problems);
        contradictions::producer(self, &producer, &self.client.settle(&mut Vec::new()), &mut problems);
        no_problem(&problems)?;
        Ok(producer)
    }

    /// What a consumer needs, checked, also against the client's settings.
    pub(crate) fn consumer(&self) -> Result<ConsumerSettings> {
        let mut problems = Vec::new();
        let consumer = self.consumer.settle(&mut problems);
        contradictions::consumer(self, &consumer, &self.client.settle(&mut Vec::new()), &mut problems);
        no_problem(&problems)?;
        Ok(consumer)
    }

    fn read(&mut self, name: &str, value: &str, problems: &mut Vec<String>) {
        let (name, value) = (name.trim(), value.trim());
        match property(name) {
            None => problems.push(unknown_name::refusal(name)),
            Some(property) => {
                if let Err(reason) = (property.read)(self, value) {
                    problems.push(format!("{name}={value}: {reason}"));
                }
            }
        }
    }
}

impl ProducerSettings {
    /// The level for the codec that is set; without one, the codec's own default.
    pub(crate) fn compression_level(&self) -> Option<i32> {
        match self.compression {
            Compression::Gzip => self.compression_gzip_level,
            Compression::Zstd => self.compression_zstd_level,
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        }
    }
}

/// Shows what was given. None of it is secret; a setting that is must be shown as `[redacted]`.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = PROPERTIES.iter().filter(|property| (property.given)(self));
        f.debug_map()
            .entries(given.map(|property| (property.name, (property.effective)(self).unwrap_or_default())))
            .finish()
    }
}

fn property(name: &str) -> Option<&'static Property> {
    PROPERTIES.iter().find(|property| property.name == name)
}

fn no_problem(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("invalid configuration: {}", problems.join("; "))))
}

#[cfg(test)]
mod tests;
