//! Requests and answers as one line of text. Pure.

use std::fmt::{self, Debug, Write};

use bytes::Bytes;
use milena_protocol::api::{Api, Request};
use milena_protocol::frame::decode_request;
use milena_protocol::messages;
use milena_protocol::primitives::{DecodeError, Decoder, Wire};

use super::{About, Seen};
use crate::api::each_api;

/// A line ends after so many bytes.
const LONGEST: usize = 600;
/// The length prefix and the correlation id.
const SHORTEST_HEADER: usize = 8;

/// What follows the header of an answer.
pub(super) fn body_of_answer(about: &About, frame: &[Bytes]) -> Bytes {
    let mut frame: Bytes = match frame {
        [piece] => piece.clone(),
        pieces => pieces.concat().into(),
    };
    // The header's tagged fields are none: one byte.
    let tags = Api::find(about.api).is_some_and(|api| api.has_flexible_response_header(about.version));
    frame.split_off((SHORTEST_HEADER + usize::from(tags)).min(frame.len()))
}

macro_rules! texts {
    ($($module:ident :: $request:ident)*) => {
        /// The message without the names of its types, on one line.
        pub(super) fn message(seen: &Seen) -> String {
            let Seen { version, is_answer, body, .. } = seen;
            $(if seen.api == <messages::$module::$request as Request>::KEY {
                type Message = messages::$module::$request;
                return match is_answer {
                    false => shown(decode_request::<Message>(*version, &mut Decoder::new(body.clone()))),
                    true => shown(answer::<Message>(*version, body)),
                };
            })*
            format!("({} bytes)", body.len())
        }
    };
}

each_api!(texts);

fn answer<R: Request>(version: i16, body: &Bytes) -> Result<R::Response, DecodeError> {
    R::Response::decode(&mut Decoder::new(body.clone()), version, version >= R::FLEXIBLE)
}

fn shown(message: Result<impl Debug, DecodeError>) -> String {
    let mut line = Line::default();
    let written = match message {
        Ok(message) => write!(line, "{message:?}"),
        Err(error) => write!(line, "({error})"),
    };
    let mut text = line.text;
    if written.is_err() {
        text.push('…');
    }
    text
}

/// Leaves out the name before each `{`, and stops when it is full.
#[derive(Default)]
struct Line {
    text: String,
    /// Where the last word begins, while nothing but one space has followed it.
    word: Option<usize>,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '{' => {
                    if let Some(word) = self.word.take() {
                        self.text.truncate(word);
                    }
                }
                ' ' => {}
                _ if letter.is_alphanumeric() || letter == '_' => {
                    if self.word.is_none() || self.text.ends_with(' ') {
                        self.word = Some(self.text.len());
                    }
                }
                _ => self.word = None,
            }
            if self.text.len() >= LONGEST {
                return Err(fmt::Error);
            }
            self.text.push(letter);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use milena_protocol::ApiKey;
    use milena_protocol::frame::encode_response;
    use milena_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
    use milena_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitRequestTopic};

    use super::*;

    fn shown(message: impl Debug) -> String {
        super::shown(Ok(message))
    }

    #[test]
    fn a_line_has_the_fields_without_the_names_of_types() {
        let topics = vec![OffsetCommitRequestTopic { name: "Type { a }".into(), ..Default::default() }];
        let text = shown(OffsetCommitRequest { group_id: "g".into(), topics, ..Default::default() });
        assert!(text.starts_with(r#"{ group_id: "g", "#), "{text}");
        assert!(text.contains(r#"topics: [{ name: ""#) && !text.contains("OffsetCommit"), "{text}");
    }

    #[test]
    fn a_line_is_not_longer_than_it_may_be() {
        let text = shown(vec![7; 1_000_000]);
        assert!(text.len() <= LONGEST + '…'.len_utf8() && text.ends_with('…'), "{text}");
    }

    #[test]
    fn an_answer_is_read_whatever_its_pieces_and_its_header() {
        for version in [0, 4] {
            let about = About { api: ApiKey::HEARTBEAT, version, correlation_id: 7, client_id: None };
            let frame = encode_response::<HeartbeatRequest>(version, 7, &HeartbeatResponse::default()).unwrap();
            let frame = Bytes::from(frame.concat());
            for frame in [vec![frame.clone()], vec![frame.slice(..3), frame.slice(3..)]] {
                let seen = Seen {
                    at: Duration::from_millis(1500),
                    broker: 2,
                    connection: 3,
                    is_answer: true,
                    api: about.api,
                    version,
                    correlation_id: 7,
                    client_id: None,
                    body: body_of_answer(&about, &frame),
                };
                let text = seen.to_string();
                let start = format!("     1.500 s  #3 b2  ← HEARTBEAT v{version} 7 {{ ");
                assert!(text.starts_with(&start) && text.contains("error_code: NONE"), "{text}");
            }
        }
        let about = About { api: ApiKey::HEARTBEAT, version: 4, correlation_id: 7, client_id: None };
        assert!(body_of_answer(&about, &[Bytes::from_static(b"cut")]).is_empty());
    }
}
