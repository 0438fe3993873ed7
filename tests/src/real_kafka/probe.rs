//! Asks a broker which brokers it knows, in plain bytes: the judge of a cluster's health must not depend on the code
//! that is under test.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Metadata, version 1, no topics, without a client id; the first four bytes are the length of what follows.
const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];

const PATIENCE: Duration = Duration::from_secs(2);
const LARGEST_ANSWER: usize = 64 * 1024;

/// The ids of the brokers that the broker at this address lists.
pub(crate) fn brokers(address: SocketAddr) -> Result<Vec<i32>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&REQUEST)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST_ANSWER {
        return Err(Error::new(ErrorKind::InvalidData, format!("a Metadata answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    broker_ids(&answer).ok_or_else(|| Error::new(ErrorKind::InvalidData, "a Metadata answer that makes no sense"))
}

fn broker_ids(mut answer: &[u8]) -> Option<Vec<i32>> {
    if int32(&mut answer)? != 7 {
        return None; // the correlation id
    }
    (0..int32(&mut answer)?)
        .map(|_| {
            let id = int32(&mut answer)?;
            skip_string(&mut answer)?; // host
            int32(&mut answer)?; // port
            skip_string(&mut answer)?; // rack
            Some(id)
        })
        .collect()
}

fn int32(bytes: &mut &[u8]) -> Option<i32> {
    let (value, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*value))
}

fn skip_string(bytes: &mut &[u8]) -> Option<()> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0); // -1: no string
    *bytes = rest.get(length..)?;
    Some(())
}
