//! One request over a connection of its own: what the harness asks without the client under test.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::api::Request;
use milena_protocol::frame::{decode_response, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CORRELATION: i32 = 1;
const WITHIN: Duration = Duration::from_secs(20);

/// Sends one request to the broker at `address` and returns its answer.
pub(super) async fn ask<R: Request>(address: &str, version: i16, request: &R) -> Result<R::Response> {
    let frame = encode_request(version, CORRELATION, "harness", request).map_err(Error::other)?.concat();
    decode_response::<R>(version, exchange(address, &frame).await?).map_err(Error::other)
}

/// Sends one request of an API that the protocol crate has no table for, with a flexible header, and returns the error
/// code at the start of its answer, behind the throttle time.
pub(super) async fn ask_by_hand(address: &str, api: i16, version: i16, body: &[u8]) -> Result<i16> {
    let mut frame = vec![0; 4];
    frame.extend([api, version].iter().flat_map(|number| number.to_be_bytes()));
    frame.extend(CORRELATION.to_be_bytes());
    frame.extend([0xff, 0xff, 0]); // no client id, no tags
    frame.extend(body);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    let answer = exchange(address, &frame).await?;
    // Correlation id, tags, throttle time.
    let code = answer.get(4 + 1 + 4..).and_then(|rest| rest.first_chunk());
    code.map(|code| i16::from_be_bytes(*code)).ok_or_else(|| Error::new(ErrorKind::InvalidData, "a short answer"))
}

async fn exchange(address: &str, frame: &[u8]) -> Result<Bytes> {
    let exchanged = tokio::time::timeout(WITHIN, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(frame).await?;
        let length = stream.read_u32().await?;
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer).await?;
        Ok(answer.into())
    });
    exchanged.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}
