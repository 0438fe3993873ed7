//! Answers that are not what the cluster said. Pure.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use milena_protocol::frame::RequestHeader;

use super::subject;
use crate::core::Outcome;

/// The length prefix.
const PREFIX: usize = 4;

/// What is wrong with an answer.
#[derive(Debug, Clone)]
pub(crate) enum Falsify {
    /// Errors in place of what it says of some topics and partitions, or of everything.
    Error(subject::Errors),
    /// A bit is not what it was.
    Bit(usize),
    CorrelationId,
    /// It says that the client must wait, and the broker sees to it.
    Throttle(Duration),
}

impl Falsify {
    /// An answer that is not sent (acks=0) cannot be falsified; an error closes the connection then.
    pub(crate) fn outcome(self, header: &RequestHeader, outcome: Outcome) -> Outcome {
        let (frame, mute) = match outcome {
            Outcome::Reply { frame, mute } => (frame, mute),
            Outcome::Silent if matches!(self, Self::Error(_)) => return Outcome::Close,
            Outcome::Silent | Outcome::Close => return outcome,
        };
        match self {
            Self::Error(errors) => match errors.over(header, whole(frame)) {
                Some(frame) => Outcome::Reply { frame, mute },
                None => Outcome::Close,
            },
            Self::Bit(bit) => Outcome::Reply { frame: edited(frame, |body| flip(body, bit)), mute },
            Self::CorrelationId => Outcome::Reply { frame: edited(frame, |body| flip(body, 1)), mute },
            Self::Throttle(time) => {
                let said = subject::throttled(header, &frame, time);
                Outcome::Reply { frame: said.unwrap_or(frame), mute: mute.max(time) }
            }
        }
    }
}

/// The frame without its length prefix, in one piece.
fn whole(frame: Vec<Bytes>) -> Bytes {
    let mut frame: Bytes = match <[Bytes; 1]>::try_from(frame) {
        Ok([piece]) => piece,
        Err(pieces) => pieces.concat().into(),
    };
    frame.split_off(PREFIX.min(frame.len()))
}

fn edited(frame: Vec<Bytes>, edit: impl FnOnce(&mut [u8])) -> Vec<Bytes> {
    let mut bytes = BytesMut::with_capacity(frame.iter().map(Bytes::len).sum());
    frame.into_iter().for_each(|piece| bytes.put(piece));
    if let Some(body) = bytes.get_mut(PREFIX..) {
        edit(body);
    }
    vec![bytes.freeze()]
}

/// Bit 0 is the highest of the first byte; behind the last one they are counted anew.
fn flip(body: &mut [u8], bit: usize) {
    let place = bit / 8 % body.len().max(1);
    if let Some(byte) = body.get_mut(place) {
        *byte ^= 0x80 >> (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_flipped_behind_the_length_prefix_wherever_the_pieces_end() {
        let frame = || vec![Bytes::from_static(&[0, 0]), Bytes::from_static(&[0, 2, 0]), Bytes::from_static(&[0])];
        for (bit, expected) in [(0, [0x80, 0]), (7, [1, 0]), (8, [0, 0x80]), (17, [0x40, 0])] {
            assert_eq!(edited(frame(), |body| flip(body, bit)).concat(), [&[0, 0, 0, 2], &expected[..]].concat());
        }
        flip(&mut [], 3);
    }
}
