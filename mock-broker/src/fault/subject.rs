//! What rules know of an API: what its requests are about, and how one, or a part of it, is refused. Pure.

mod coordinators;
mod partitions;
mod topics;

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::api::Request;
use milena_protocol::frame::{RequestHeader, decode_request, decode_response, encode_request, encode_response};
use milena_protocol::primitives::{Decoder, Uuid};
use milena_protocol::{ErrorCode, messages};

use super::action::{Plan, Then};
use super::falsify::Falsify;
use super::matcher::Scope;
use crate::api::each_api;
use crate::core::{Core, Outcome};

/// A request that rules are asked about.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) broker: i32,
    pub(crate) header: &'a RequestHeader,
    pub(crate) body: &'a Bytes,
}

/// Something that a request is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum About<'a> {
    /// Every topic, such as in a Metadata request for all.
    EveryTopic,
    /// A topic and, where the request names them, a partition of it.
    Topic(&'a str, Option<i32>),
    Group(&'a str),
    TransactionalId(&'a str),
}

/// Where a request is looked at.
#[derive(Clone, Copy)]
struct View<'a> {
    version: i16,
    broker: i32,
    core: &'a Core,
}

impl<'a> View<'a> {
    /// The name of a topic; none of one that is named by an id which the cluster does not know.
    fn name(&self, name: &'a str, id: &[Uuid]) -> Option<&'a str> {
        match id {
            [id] if !id.is_zero() => self.core.controller.topic_by_id(*id).map(|topic| topic.name.as_str()),
            _ => Some(name),
        }
    }
}

/// How a request is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'a> {
    pub(super) code: ErrorCode,
    /// The records that are to blame, counted in their batch.
    pub(super) records: &'a [i32],
    /// Whether the request is applied all the same.
    pub(super) is_applied: bool,
}

/// The requests of one API, as rules see them.
trait Subject: Request + Default {
    fn tell(&self, _view: &View<'_>, _about: &mut dyn FnMut(About<'_>)) {}

    /// Takes out what the scope names, or everything if a request of this API has no parts. Also whether something is left.
    fn split(&mut self, _view: &View<'_>, _scope: &Scope) -> (Self, bool) {
        (mem::take(self), false)
    }

    /// Whether the client waits for an answer.
    fn is_answered(&self) -> bool {
        true
    }

    /// The code at each thing that the request is about, where a client looks for it. None if there is no place for one.
    fn refuse(self, view: &View<'_>, refusal: &Refusal<'_>) -> Option<Self::Response>;

    /// The version of the answer that refuses.
    fn refusal_version(version: i16, _code: ErrorCode) -> i16 {
        version
    }

    /// Puts errors in the place of what the answer says of the same things.
    fn put_over(answer: &mut Self::Response, errors: Self::Response) {
        *answer = errors;
    }
}

/// Errors of a part of a request, or of all of it, to be put over its answer.
#[derive(Debug, Clone)]
pub(crate) struct Errors {
    frame: Bytes,
    put_over: fn(&RequestHeader, Bytes, Bytes) -> Option<Vec<Bytes>>,
}

impl Errors {
    /// The answer (without length prefix) with the errors in it.
    pub(super) fn over(self, header: &RequestHeader, answer: Bytes) -> Option<Vec<Bytes>> {
        (self.put_over)(header, answer, self.frame)
    }
}

macro_rules! dispatch {
    ($($module:ident :: $request:ident)*) => {
        impl Incoming<'_> {
            /// Tells what the request is about; nothing if it cannot be read.
            pub(super) fn tell(&self, core: &Core, about: &mut dyn FnMut(About<'_>)) {
                $(if self.header.api_key == <messages::$module::$request as Request>::KEY {
                    if let Some(request) = self.read::<messages::$module::$request>() {
                        request.tell(&self.view(core), about);
                    }
                    return;
                })*
            }

            /// None if the request cannot be read, or has no place for an error.
            pub(super) fn refuse(&self, scope: &Scope, refusal: &Refusal<'_>, core: &Core) -> Option<Plan> {
                $(if self.header.api_key == <messages::$module::$request as Request>::KEY {
                    return refuse::<messages::$module::$request>(self, scope, refusal, core);
                })*
                None
            }
        }

        /// The answer (with its length prefix) as that of a broker that throttles. None if it has no place for that.
        pub(super) fn throttled(header: &RequestHeader, answer: &[Bytes], time: Duration) -> Option<Vec<Bytes>> {
            $(if header.api_key == <messages::$module::$request as Request>::KEY {
                let frame = Bytes::from(answer.concat()).slice(4..);
                let mut answer = decode_response::<messages::$module::$request>(header.api_version, frame).ok()?;
                answer.throttle_time_ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
                return encode_response::<messages::$module::$request>(header.api_version, header.correlation_id, &answer).ok();
            })*
            None
        }
    };
}

each_api!(dispatch);

impl Incoming<'_> {
    fn view<'a>(&self, core: &'a Core) -> View<'a> {
        View { version: self.header.api_version, broker: self.broker, core }
    }

    fn read<R: Request>(&self) -> Option<R> {
        let version = self.header.api_version;
        let is_known = R::VERSIONS.contains(version);
        is_known.then(|| decode_request::<R>(version, &mut Decoder::new(self.body.clone())).ok())?
    }
}

fn refuse<R: Subject>(incoming: &Incoming<'_>, scope: &Scope, refusal: &Refusal<'_>, core: &Core) -> Option<Plan> {
    let (header, view) = (incoming.header, incoming.view(core));
    let mut rest = incoming.read::<R>()?;
    let is_answered = rest.is_answered();
    let (hit, is_rest) = if scope.is_everything() { (mem::take(&mut rest), false) } else { rest.split(&view, scope) };
    let is_nothing_applied = !refusal.is_applied && !is_rest;
    let then = if is_answered {
        let errors = hit.refuse(&view, refusal)?;
        let version = R::refusal_version(header.api_version, refusal.code);
        let frame = encode_response::<R>(version, header.correlation_id, &errors).ok()?;
        if is_nothing_applied {
            return Some(Plan::Answer(Outcome::Reply { frame, mute: Duration::ZERO }));
        }
        Then::Falsify(Falsify::Error(Errors { frame: Bytes::from(frame.concat()).slice(4..), put_over: put_over::<R> }))
    } else if is_nothing_applied {
        // The client expects no answer: closing is how a broker tells it.
        return Some(Plan::CLOSE);
    } else {
        Then::Close
    };
    let instead = if refusal.is_applied {
        None
    } else {
        let client_id = header.client_id.as_deref().unwrap_or_default();
        let frame = encode_request(header.api_version, header.correlation_id, client_id, &rest).ok()?;
        Some(Bytes::from(frame.concat()).slice(4..))
    };
    Some(Plan::Apply { hold: Duration::ZERO, instead, then })
}

fn put_over<R: Subject>(header: &RequestHeader, answer: Bytes, errors: Bytes) -> Option<Vec<Bytes>> {
    let version = header.api_version;
    let mut answer = decode_response::<R>(version, answer).ok()?;
    R::put_over(&mut answer, decode_response::<R>(version, errors).ok()?);
    encode_response::<R>(version, header.correlation_id, &answer).ok()
}

/// Puts new rows among those that are there; `join` puts one over the row that is about the same.
fn put_rows<T>(rows: &mut Vec<T>, new: Vec<T>, is_same: impl Fn(&T, &T) -> bool, mut join: impl FnMut(&mut T, T)) {
    for row in new {
        match rows.iter_mut().find(|old| is_same(old, &row)) {
            Some(old) => join(old, row),
            None => rows.push(row),
        }
    }
}

/// A name that a request may lack.
trait Name {
    fn name(&self) -> Option<&str>;
}

impl Name for String {
    fn name(&self) -> Option<&str> {
        Some(self)
    }
}

impl Name for Option<String> {
    fn name(&self) -> Option<&str> {
        self.as_deref()
    }
}

#[cfg(test)]
pub(super) mod tests;
