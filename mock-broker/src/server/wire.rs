//! Frames over a stream: reads one at a time, whatever the peer claims; writes in pieces. IO.

use std::io;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Kafka's default of `socket.request.max.bytes`.
const LONGEST_FRAME: usize = 100 * 1024 * 1024;
/// So much is read ahead of the request that is being worked on …
const READ_AHEAD: usize = 16 * 1024;
/// … and so much is reserved for a body before any byte of it has come.
const FIRST_RESERVE: usize = 64 * 1024;
/// The length of a frame.
const PREFIX: usize = 4;
/// Key, version, correlation id, and the length of the client's name.
const FIXED_HEADER: usize = 10;
/// Of a name that is longer than this, rules see nothing before the whole request has come.
const LONGEST_NAME: usize = 8 * 1024;
/// Pieces handed to the system at once.
const SLICES: usize = 64;

pub(super) struct Wire<S> {
    stream: S,
    ahead: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new() }
    }

    /// The next frame without its length prefix; `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream fails, ends within a frame, or claims a length that no request has.
    pub(super) async fn read_frame(&mut self) -> io::Result<Option<Bytes>> {
        if !self.read_ahead_to(PREFIX).await? {
            return if self.ahead.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let declared = self.ahead.get_i32();
        let length = usize::try_from(declared).ok().filter(|length| *length <= LONGEST_FRAME).ok_or_else(|| {
            let message = format!(
                "a frame claims {declared} bytes, not 0 to {LONGEST_FRAME}: the peer does not speak Kafka's protocol"
            );
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        // The body gets memory of its own, as it may be kept for long; it grows with what arrives.
        let mut body = Vec::with_capacity(length.min(self.ahead.len().max(FIRST_RESERVE)));
        body.put((&mut self.ahead).take(length));
        while body.len() < length {
            if body.len() == body.capacity() {
                body.reserve_exact((length - body.len()).min(body.len()));
            }
            let room = body.capacity().min(length) - body.len();
            if self.stream.read_buf(&mut (&mut body).limit(room)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(body.into()))
    }

    /// Returns when the peer has ended or broken the stream and nothing that it sent is left to work on.
    pub(super) async fn gone(&mut self) {
        while self.ahead.len() < READ_AHEAD {
            match self.read_ahead().await {
                Ok(0) if !self.ahead.is_empty() => break,
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Returns when the peer has ended or broken the stream. What it sends until then is lost.
    pub(super) async fn closed(&mut self) {
        loop {
            self.ahead.clear();
            match self.read_ahead().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Waits for the next frame, or for the end of the stream.
    pub(super) async fn begin_frame(&mut self) -> io::Result<()> {
        self.read_ahead_to(PREFIX).await.map(drop)
    }

    /// As much of the next frame as tells its API and its client, or what there is of it.
    pub(super) async fn start_of_frame(&mut self) -> io::Result<Bytes> {
        let mut wanted = PREFIX + FIXED_HEADER;
        if self.read_ahead_to(wanted).await? {
            let length_of_name = &self.ahead[wanted - 2..wanted];
            wanted += usize::from(u16::from_be_bytes([length_of_name[0], length_of_name[1]])).min(LONGEST_NAME);
            self.read_ahead_to(wanted + 1).await?;
        }
        Ok(Bytes::copy_from_slice(self.ahead.get(PREFIX..).unwrap_or_default()))
    }

    /// Reads on until so many bytes of the next frame have come, prefix included, or the peer has ended the stream.
    pub(super) async fn read_no_further_than(&mut self, length: usize) -> io::Result<()> {
        let mut left = length.saturating_sub(self.ahead.len());
        while left > 0 {
            self.ahead.clear();
            self.ahead.reserve(READ_AHEAD);
            match self.stream.read_buf(&mut (&mut self.ahead).limit(left.min(READ_AHEAD))).await? {
                0 => break,
                read => left -= read,
            }
        }
        Ok(())
    }

    /// False if the stream has ended before.
    async fn read_ahead_to(&mut self, length: usize) -> io::Result<bool> {
        while self.ahead.len() < length {
            if self.read_ahead().await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read_ahead(&mut self) -> io::Result<usize> {
        self.ahead.reserve(READ_AHEAD);
        let room = READ_AHEAD - self.ahead.len();
        self.stream.read_buf(&mut (&mut self.ahead).limit(room)).await
    }

    pub(super) async fn write(&mut self, mut pieces: &mut [Bytes]) -> io::Result<()> {
        loop {
            while pieces.first().is_some_and(Bytes::is_empty) {
                pieces = &mut pieces[1..];
            }
            if pieces.is_empty() {
                return self.stream.flush().await;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = pieces.len().min(SLICES);
            for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
                *slice = IoSlice::new(piece);
            }
            let mut written = self.stream.write_vectored(&slices[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            for piece in pieces.iter_mut() {
                let from_piece = written.min(piece.len());
                piece.advance(from_piece);
                written -= from_piece;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipe::{Pipe, PipeOptions};
    use crate::random::Random;

    fn pair(largest_piece: Option<usize>) -> (Pipe, Wire<Pipe>) {
        let options = PipeOptions { largest_piece, ..PipeOptions::default() };
        let (client, server) = Pipe::pair(&Arc::new(options), &mut Random::new(5, 0));
        (client, Wire::new(server))
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes(), body].concat()
    }

    #[tokio::test]
    async fn frames_come_whole_however_they_are_cut() {
        for largest_piece in [None, Some(1), Some(5)] {
            let (mut client, mut wire) = pair(largest_piece);
            let large: Vec<u8> = (0..200_000u32).map(|byte| byte as u8).collect();
            let sent = [frame(b"first"), frame(b""), frame(&large), frame(b"last")].concat();
            let write = async {
                client.write_all(&sent).await.unwrap();
                drop(client);
            };
            let read = async {
                let mut frames = Vec::new();
                while let Some(frame) = wire.read_frame().await.unwrap() {
                    frames.push(frame);
                }
                frames
            };
            let ((), frames) = tokio::join!(write, read);
            assert_eq!(frames, [&b"first"[..], b"", &large, b"last"]);
        }
    }

    #[tokio::test]
    async fn lengths_that_no_request_has_are_refused() {
        for length in [-1, i32::MIN, i32::MAX, LONGEST_FRAME as i32 + 1] {
            let (mut client, mut wire) = pair(None);
            client.write_all(&length.to_be_bytes()).await.unwrap();
            let error = wire.read_frame().await.unwrap_err();
            assert!(error.to_string().contains(&length.to_string()), "{error}");
        }
    }

    #[tokio::test]
    async fn a_claimed_length_reserves_nothing_and_a_cut_frame_is_an_error() {
        let (mut client, mut wire) = pair(None);
        client.write_all(&(LONGEST_FRAME as i32).to_be_bytes()).await.unwrap();
        client.write_all(b"few").await.unwrap();
        drop(client);
        assert_eq!(wire.read_frame().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn pieces_are_written_in_order_however_little_is_taken() {
        let (mut client, mut wire) = pair(Some(3));
        let mut pieces: Vec<Bytes> = (0..200u8).map(|byte| Bytes::from(vec![byte; usize::from(byte % 4)])).collect();
        let expected = pieces.concat();
        let write = async {
            wire.write(&mut pieces).await.unwrap();
            drop(wire);
        };
        let mut read = Vec::new();
        let ((), count) = tokio::join!(write, client.read_to_end(&mut read));
        assert_eq!((count.unwrap(), read), (expected.len(), expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_gone_when_nothing_of_it_is_left() {
        let (mut client, mut wire) = pair(None);
        client.write_all(&frame(b"pipelined")).await.unwrap();
        drop(client);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), wire.gone());
        assert!(waiting.await.is_err(), "a request is left to work on");
        assert_eq!(wire.read_frame().await.unwrap().unwrap(), &b"pipelined"[..]);
        wire.gone().await;
    }
}
