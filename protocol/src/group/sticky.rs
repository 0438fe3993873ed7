//! What the assignors `sticky` and `cooperative-sticky` tell each other in the user data of a subscription. Pure.

use bytes::Bytes;

use super::Partitions;
use crate::primitives::{DecodeError, Decoder, EncodeError, Encoder, Wire};

/// What a member of a `sticky` group remembers. Such members give up everything before they join, so that a subscription names
/// no owned partitions: this does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StickyUserData {
    /// The last assignment: topics and partitions.
    pub partitions: Vec<(String, Vec<i32>)>,
    /// The generation in which it was made. Without one it is layout 0, which Kafka's Java client wrote before 2.3.
    pub generation_id: Option<i32>,
}

impl StickyUserData {
    /// The bytes: layout 1, or 0 without a generation.
    ///
    /// # Errors
    /// If the name of a topic is longer than 32,767 bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = Encoder::new();
        let partitions: Vec<_> =
            self.partitions.iter().map(|(topic, all)| Partitions(topic.clone(), all.clone())).collect();
        partitions.encode(&mut out, 0, false);
        out.name_failure("StickyUserData", "partitions");
        if let Some(generation) = self.generation_id {
            generation.encode(&mut out, 0, false);
        }
        out.finish().map(|pieces| pieces.concat().into())
    }

    /// Reads what a member sent. The layouts bear no number: what is too short for a generation is layout 0.
    ///
    /// # Errors
    /// If it is neither.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let at = |field| move |error: DecodeError| error.within("StickyUserData", field);
        let partitions = Vec::<Partitions>::decode(&mut input, 0, false).map_err(at("partitions"))?;
        let generation_id = i32::decode(&mut input, 0, false).ok();
        Ok(Self { partitions: partitions.into_iter().map(|entry| (entry.0, entry.1)).collect(), generation_id })
    }
}

/// What a member of a `cooperative-sticky` group tells: the generation of its last assignment, or −1. Newer ones tell it in the
/// subscription as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CooperativeStickyUserData {
    /// The generation, or −1.
    pub generation_id: i32,
}

impl CooperativeStickyUserData {
    /// The bytes.
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&self.generation_id.to_be_bytes())
    }

    /// Reads what a member sent. What follows is left alone.
    ///
    /// # Errors
    /// If there are less than four bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let generation_id = i32::decode(&mut Decoder::new(bytes), 0, false);
        let at = |error: DecodeError| error.within("CooperativeStickyUserData", "generation_id");
        Ok(Self { generation_id: generation_id.map_err(at)? })
    }
}
