//! Cuts the bytes of a socket into frames. IO.
//!
//! A frame's length is believed only as far as bytes arrive: a large frame gets a buffer of its own that grows with what was
//! received, so a peer that announces 2 GB and sends nothing costs nothing.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use super::transport::Io;

/// Small frames share a buffer of this size.
const SHARED: usize = 64 * 1024;

pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// How many bytes the current frame has, once its length was read.
    frame: Option<usize>,
    max_frame: usize,
}

/// Why there is no next frame.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    /// The peer closed the connection; how many bytes of a frame it had sent.
    Closed(usize),
    /// What these four bytes announce is no frame.
    Length([u8; 4]),
}

impl FrameReader {
    pub(crate) fn new(max_frame: usize) -> Self {
        Self { buffer: BytesMut::new(), frame: None, max_frame }
    }

    /// The next frame, without its length.
    pub(crate) fn poll_frame(&mut self, io: &mut dyn Io, context: &mut Context<'_>) -> Poll<Result<Bytes, ReadError>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Poll::Ready(Ok(frame));
            }
            // What is missing of a large frame is read up to its end, so that it alone owns its buffer.
            let missing = self.frame.filter(|frame| *frame > SHARED / 2).map(|frame| frame - self.buffer.len());
            let room = missing.unwrap_or(SHARED).min(self.buffer.len().max(SHARED));
            if self.buffer.capacity() - self.buffer.len() < room.min(SHARED / 8) {
                self.buffer.reserve(room);
            }
            let limit = missing.unwrap_or(usize::MAX);
            let mut target = (&mut self.buffer).limit(limit);
            let read = ready!(pin!(io.read_buf(&mut target)).poll(context)).map_err(ReadError::Io)?;
            if read == 0 {
                return Poll::Ready(Err(ReadError::Closed(self.buffer.len())));
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.frame.is_none() {
            let Some(&prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
            match usize::try_from(i32::from_be_bytes(prefix)) {
                Ok(length) if (4..=self.max_frame).contains(&length) => self.frame = Some(length),
                _ => return Err(ReadError::Length(prefix)),
            }
            let rest = self.buffer.split_off(4);
            self.buffer = rest;
            if self.frame > Some(SHARED / 2) {
                // Its own buffer from here on; what has arrived of it is at most the shared buffer.
                self.buffer = BytesMut::from(self.buffer.as_ref());
            }
        }
        match self.frame {
            Some(length) if self.buffer.len() >= length => {
                self.frame = None;
                Ok(Some(self.buffer.split_to(length).freeze()))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn next(reader: &mut FrameReader, io: &mut tokio::io::DuplexStream) -> Result<Bytes, ReadError> {
        std::future::poll_fn(|context| reader.poll_frame(io, context)).await
    }

    #[tokio::test]
    async fn frames_of_all_sizes_come_out_whole_however_they_are_cut() {
        for piece in [1, 3, 1000, 100_000] {
            let (mut near, mut far) = tokio::io::duplex(64 * 1024);
            let sizes = [4usize, 5, 1000, 40_000, 300_000, 4, 70_000];
            let frame = |size: &usize| [&i32::try_from(*size).unwrap().to_be_bytes()[..], &vec![7; *size]].concat();
            let bytes: Vec<u8> = sizes.iter().flat_map(frame).collect();
            let write = async {
                for piece in bytes.chunks(piece) {
                    far.write_all(piece).await.unwrap();
                }
                drop(far);
            };
            let read = async {
                let mut reader = FrameReader::new(1 << 20);
                for size in sizes {
                    assert_eq!(next(&mut reader, &mut near).await.unwrap().len(), size);
                }
                assert!(matches!(next(&mut reader, &mut near).await, Err(ReadError::Closed(0))));
            };
            tokio::join!(write, read);
        }
    }

    #[tokio::test]
    async fn an_announced_length_reserves_nothing_and_a_wrong_one_is_refused() {
        for (prefix, refused) in [(1i32 << 30, false), (-1, true), (3, true), (i32::MAX, true)] {
            let (mut near, mut far) = tokio::io::duplex(64);
            let mut reader = FrameReader::new(1 << 30);
            far.write_all(&prefix.to_be_bytes()).await.unwrap();
            far.write_all(&[0; 10]).await.unwrap();
            drop(far);

            match next(&mut reader, &mut near).await {
                Err(ReadError::Length(_)) => assert!(refused, "{prefix}"),
                Err(ReadError::Closed(received)) => assert!(!refused && received == 10, "{prefix}"),
                other => panic!("{prefix}: {other:?}"),
            }
            assert!(reader.buffer.capacity() <= 2 * SHARED, "{}", reader.buffer.capacity());
        }
    }
}
