//! Frames: a length prefix, a header, a message. Pure.

use bytes::Bytes;

use crate::api::{Api, ApiKey, Request};
use crate::primitives::{DecodeError, Decoder, EncodeError, Encoder, Nullable, Wire};

/// What stands before every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: ApiKey,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Reads a header. Of an API that is not known here (or a version beyond what is) only the part that all versions share
    /// is read, and tagged fields only where this crate knows that there are some.
    ///
    /// # Errors
    /// If the bytes are not a header.
    pub fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let api_key = ApiKey(i16::decode(input, 0, false).map_err(|error| error.within("RequestHeader", "api_key"))?);
        let api_version = i16::decode(input, 0, false).map_err(|error| error.within("RequestHeader", "api_version"))?;
        let correlation_id =
            i32::decode(input, 0, false).map_err(|error| error.within("RequestHeader", "correlation_id"))?;
        // The client id keeps its two-byte length even in flexible headers.
        let client_id =
            String::decode_nullable(input, 0, false).map_err(|error| error.within("RequestHeader", "client_id"))?;
        if Api::find(api_key).is_some_and(|api| api.is_flexible(api_version)) {
            input.tagged_fields(|_, _| Ok(false)).map_err(|error| error.within("RequestHeader", "tags"))?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }
}

/// A whole request frame with its length prefix, in pieces to be sent one after the other.
///
/// # Errors
/// If a value does not fit the wire format of `version`.
pub fn encode_request<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    request: &R,
) -> Result<Vec<Bytes>, EncodeError> {
    let flexible = version >= R::FLEXIBLE;
    let mut out = Encoder::with_capacity(256);
    R::KEY.0.encode(&mut out, version, flexible);
    version.encode(&mut out, version, flexible);
    correlation_id.encode(&mut out, version, flexible);
    String::encode_nullable(Some(&client_id.to_owned()), &mut out, version, false);
    if flexible {
        out.put_unsigned_varint(0);
    }
    request.encode(&mut out, version, flexible);
    out.finish_frame()
}

/// Reads the body of a request whose header has been read.
///
/// # Errors
/// If the bytes are not such a request, or go on after it.
pub fn decode_request<R: Request>(version: i16, input: &mut Decoder) -> Result<R, DecodeError> {
    let request = R::decode(input, version, version >= R::FLEXIBLE)?;
    at_end(input)?;
    Ok(request)
}

/// A whole response frame with its length prefix, in pieces to be sent one after the other.
///
/// # Errors
/// If a value does not fit the wire format of `version`.
pub fn encode_response<R: Request>(
    version: i16,
    correlation_id: i32,
    response: &R::Response,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut out = Encoder::with_capacity(256);
    correlation_id.encode(&mut out, version, false);
    if Api::of::<R>().has_flexible_response_header(version) {
        out.put_unsigned_varint(0);
    }
    response.encode(&mut out, version, version >= R::FLEXIBLE);
    out.finish_frame()
}

/// The correlation id at the start of a response frame (without its length prefix).
///
/// # Errors
/// If the frame is shorter than that.
pub fn correlation_id(frame: &Bytes) -> Result<i32, DecodeError> {
    i32::decode(&mut Decoder::new(frame.clone()), 0, false)
        .map_err(|error| error.within("ResponseHeader", "correlation_id"))
}

/// Reads a response frame (without its length prefix) to a request of this API and version.
///
/// # Errors
/// If the bytes are not such a response, or go on after it.
pub fn decode_response<R: Request>(version: i16, frame: Bytes) -> Result<R::Response, DecodeError> {
    let mut input = Decoder::new(frame);
    i32::decode(&mut input, version, false).map_err(|error| error.within("ResponseHeader", "correlation_id"))?;
    if Api::of::<R>().has_flexible_response_header(version) {
        input.tagged_fields(|_, _| Ok(false)).map_err(|error| error.within("ResponseHeader", "tags"))?;
    }
    let response = R::Response::decode(&mut input, version, version >= R::FLEXIBLE)?;
    at_end(&input)?;
    Ok(response)
}

fn at_end(input: &Decoder) -> Result<(), DecodeError> {
    match input.remaining() {
        0 => Ok(()),
        left => Err(input.error(format!("{left} bytes follow the message"))),
    }
}
