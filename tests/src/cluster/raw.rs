//! One request over a connection of its own: what the harness asks without the client under test.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::api::Request;

use crate::raw::RawConnection;

/// Sends one request to the broker at `address` and returns its answer.
pub(super) async fn ask<R: Request>(address: &str, version: i16, request: &R) -> Result<R::Response> {
    RawConnection::connect(address).await?.io_ask(version, request).await
}

/// Sends one request of an API that the protocol crate has no table for, with a flexible header, and returns the error
/// code at the start of its answer, behind the throttle time.
pub(super) async fn ask_by_hand(address: &str, api: i16, version: i16, body: &[u8]) -> Result<i16> {
    let mut frame = vec![0; 4];
    frame.extend([api, version].iter().flat_map(|number| number.to_be_bytes()));
    frame.extend([0, 0, 0, 1]); // correlation id
    frame.extend([0xff, 0xff, 0]); // no client id, no tags
    frame.extend(body);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    let mut connection = RawConnection::connect(address).await?;
    connection.send_bytes(&frame).await;
    let answer = connection.frame(Duration::from_secs(20)).await.map_err(|_| ErrorKind::TimedOut)?;
    // Correlation id, tags, throttle time.
    let code = answer.get(4 + 1 + 4..).and_then(|rest| rest.first_chunk());
    match code.map(|code| i16::from_be_bytes(*code)) {
        None => Err(Error::new(ErrorKind::InvalidData, "a short answer")),
        // A broker without KRaft does not forward what is for the controller.
        Some(code) if code == ErrorCode::NOT_CONTROLLER.0 => Err(Error::other("it is not the controller")),
        Some(code) => Ok(code),
    }
}
