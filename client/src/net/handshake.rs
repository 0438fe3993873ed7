//! The first exchange on a connection: which versions the broker speaks (KIP-35, KIP-511). IO.

use std::future::poll_fn;

use milena_protocol::ErrorCode;
use milena_protocol::frame::{decode_response, encode_request};
use milena_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use tokio::io::AsyncWriteExt;

use super::connection::unreadable;
use super::frame_reader::FrameReader;
use super::transport::Io;
use super::versions::BrokerVersions;
use super::window::Window;
use super::{Address, Net};
use crate::error::{Error, ErrorKind, Result};

/// All brokers since 2.4 speak it; older ones answer UNSUPPORTED_VERSION in the layout of version 0.
const VERSION: i16 = 3;

/// Asks the broker what it speaks.
pub(crate) async fn api_versions(
    net: &Net,
    address: &Address,
    io: &mut dyn Io,
    reader: &mut FrameReader,
) -> Result<BrokerVersions> {
    let first = exchange(net, address, io, reader, VERSION).await?;
    let response = if first.error_code == ErrorCode::UNSUPPORTED_VERSION {
        exchange(net, address, io, reader, 0).await?
    } else {
        first
    };
    match response.error_code.ok() {
        Ok(()) => Ok(BrokerVersions::from_response(&response)),
        Err(code) => {
            Err(Error::new(ErrorKind::Protocol, format!("{address} answered ApiVersions with {code}")).with_code(code))
        }
    }
}

async fn exchange(
    net: &Net,
    address: &Address,
    io: &mut dyn Io,
    reader: &mut FrameReader,
    version: i16,
) -> Result<ApiVersionsResponse> {
    let request = ApiVersionsRequest {
        client_software_name: "milena".to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    let malformed = |what: &str| Error::new(ErrorKind::Protocol, format!("ApiVersions with {address}: {what}"));
    let pieces = encode_request(version, i32::from(version), &net.limits.client_id, &request)
        .map_err(|error| malformed("the request cannot be encoded").with_source(error))?;
    for piece in pieces {
        io.write_all(&piece)
            .await
            .map_err(|error| Error::new(ErrorKind::Transport, format!("cannot write to {address}: {error}")))?;
    }
    io.flush()
        .await
        .map_err(|error| Error::new(ErrorKind::Transport, format!("cannot write to {address}: {error}")))?;
    let frame = poll_fn(|context| reader.poll_frame(io, context)).await;
    let mut window = Window::default();
    window.on_sent(0, Default::default(), true);
    let frame = frame.map_err(|error| unreadable(address, &window, error))?;
    // A broker that does not know our version answers in the layout of version 0 whatever was asked.
    let code =
        frame.get(4..6).and_then(|code| code.first_chunk::<2>()).map(|code| ErrorCode(i16::from_be_bytes(*code)));
    let layout = if code == Some(ErrorCode::UNSUPPORTED_VERSION) { 0 } else { version };
    decode_response::<ApiVersionsRequest>(layout, frame)
        .map_err(|error| malformed("the answer cannot be read").with_source(error))
}
