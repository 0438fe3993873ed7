//! The consumer group protocol's own messages: subscription and assignment, blobs inside JoinGroup and SyncGroup. Pure.
//!
//! They come from other members of the group, so they are read as carefully as a broker's answers. A version that is higher
//! than those known here is read as the highest known one, and what follows is left alone: that is how Kafka lets old and new
//! members live in one group.

use bytes::Bytes;

use crate::primitives::{DecodeError, Decoder, EncodeError, Encoder, Wire};

mod sticky;

pub use self::sticky::{CooperativeStickyUserData, StickyUserData};

/// The highest version that is known here.
const HIGHEST: i16 = 3;

/// What a member of a group wants, as it tells the group's leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which layout, 0 to 3. Kafka's Java client sends 3 since 3.5.
    pub version: i16,
    /// The topics.
    pub topics: Vec<String>,
    /// What the assignor of the member adds for the assignor of the leader.
    pub user_data: Option<Bytes>,
    /// What the member owns while it joins: topics and partitions. From version 1.
    pub owned_partitions: Vec<(String, Vec<i32>)>,
    /// The generation in which it got them, or −1. From version 2.
    pub generation_id: i32,
    /// The rack that it is in. From version 3.
    pub rack_id: Option<String>,
}

/// Nothing wanted, nothing owned, in the highest version.
impl Default for Subscription {
    fn default() -> Self {
        Self {
            version: HIGHEST,
            topics: Vec::new(),
            user_data: None,
            owned_partitions: Vec::new(),
            generation_id: -1,
            rack_id: None,
        }
    }
}

impl Subscription {
    /// The bytes for JoinGroup. Topics, and the partitions of each, are written in ascending order, as Kafka's Java client
    /// writes them; entries of `owned_partitions` for the same topic become one.
    ///
    /// # Errors
    /// If the version is not known here, or a name is longer than 32,767 bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = start(self.version, "Subscription");
        let mut topics = self.topics.clone();
        topics.sort_unstable();
        topics.encode(&mut out, 0, false);
        out.name_failure("Subscription", "topics");
        self.user_data.encode(&mut out, 0, false);
        if self.version >= 1 {
            let mut owned = std::collections::BTreeMap::<&str, Vec<i32>>::new();
            for (topic, partitions) in &self.owned_partitions {
                owned.entry(topic).or_default().extend(partitions);
            }
            owned.values_mut().for_each(|partitions| partitions.sort_unstable());
            let owned: Vec<_> =
                owned.into_iter().map(|(topic, partitions)| Partitions(topic.to_owned(), partitions)).collect();
            owned.encode(&mut out, 0, false);
            out.name_failure("Subscription", "owned_partitions");
        }
        if self.version >= 2 {
            self.generation_id.encode(&mut out, 0, false);
        }
        if self.version >= 3 {
            self.rack_id.encode(&mut out, 0, false);
            out.name_failure("Subscription", "rack_id");
        }
        finish(out)
    }

    /// Reads what a member sent. An empty rack is none.
    ///
    /// # Errors
    /// If the version is negative or the bytes are not a subscription.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let at = |field| move |error: DecodeError| error.within("Subscription", field);
        let version = version(&mut input).map_err(at("version"))?;
        let mut subscription = Self { version, ..Self::default() };
        subscription.topics = Wire::decode(&mut input, 0, false).map_err(at("topics"))?;
        subscription.user_data = Wire::decode(&mut input, 0, false).map_err(at("user_data"))?;
        if version >= 1 {
            let owned = Vec::<Partitions>::decode(&mut input, 0, false).map_err(at("owned_partitions"))?;
            subscription.owned_partitions = owned.into_iter().map(|entry| (entry.0, entry.1)).collect();
        }
        if version >= 2 {
            subscription.generation_id = Wire::decode(&mut input, 0, false).map_err(at("generation_id"))?;
        }
        if version >= 3 {
            let rack = Option::<String>::decode(&mut input, 0, false).map_err(at("rack_id"))?;
            subscription.rack_id = rack.filter(|rack| !rack.is_empty());
        }
        Ok(subscription)
    }
}

/// What the leader of a group gives to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which layout, 0 to 3; all have the same fields.
    pub version: i16,
    /// Topics and partitions.
    pub partitions: Vec<(String, Vec<i32>)>,
    /// What the leader's assignor adds for the member's.
    pub user_data: Option<Bytes>,
}

/// Nothing, in the highest version.
impl Default for Assignment {
    fn default() -> Self {
        Self { version: HIGHEST, partitions: Vec::new(), user_data: None }
    }
}

impl Assignment {
    /// The bytes for SyncGroup, with everything in the given order.
    ///
    /// # Errors
    /// If the version is not known here, or a name is longer than 32,767 bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = start(self.version, "Assignment");
        let partitions: Vec<_> =
            self.partitions.iter().map(|(topic, partitions)| Partitions(topic.clone(), partitions.clone())).collect();
        partitions.encode(&mut out, 0, false);
        self.user_data.encode(&mut out, 0, false);
        out.name_failure("Assignment", "partitions");
        finish(out)
    }

    /// Reads what the leader sent.
    ///
    /// # Errors
    /// If the version is negative or the bytes are not an assignment.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let at = |field| move |error: DecodeError| error.within("Assignment", field);
        let version = version(&mut input).map_err(at("version"))?;
        let partitions = Vec::<Partitions>::decode(&mut input, 0, false).map_err(at("partitions"))?;
        let user_data = Wire::decode(&mut input, 0, false).map_err(at("user_data"))?;
        Ok(Self { version, partitions: partitions.into_iter().map(|entry| (entry.0, entry.1)).collect(), user_data })
    }
}

/// A topic and some of its partitions.
struct Partitions(String, Vec<i32>);

impl Wire for Partitions {
    fn encode(&self, out: &mut Encoder, version: i16, flexible: bool) {
        self.0.encode(out, version, flexible);
        self.1.encode(out, version, flexible);
    }

    fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        Ok(Self(Wire::decode(input, version, flexible)?, Wire::decode(input, version, flexible)?))
    }
}

fn start(version: i16, message: &'static str) -> Encoder {
    let mut out = Encoder::new();
    version.encode(&mut out, 0, false);
    if !(0..=HIGHEST).contains(&version) {
        out.fail("the version is not 0 to 3");
        out.name_failure(message, "version");
    }
    out
}

fn finish(out: Encoder) -> Result<Bytes, EncodeError> {
    out.finish().map(|pieces| pieces.concat().into())
}

fn version(input: &mut Decoder) -> Result<i16, DecodeError> {
    let version = i16::decode(input, 0, false)?;
    if version < 0 { Err(input.error(format!("version {version} is negative"))) } else { Ok(version) }
}

#[cfg(test)]
mod tests;
