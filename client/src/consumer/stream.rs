//! A consumer as a stream. IO.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::batch::ConsumerRecord;
use super::control::ConsumerControl;
use crate::error::Result;

/// The records of a consumer as a [`Stream`]. It ends after [`ConsumerControl::stop`], and after an error that
/// [is fatal](crate::Error::is_fatal); other errors do not end it. Dropping it is dropping the consumer.
#[must_use = "a stream does nothing unless polled"]
pub struct RecordStream {
    records: Pin<Box<dyn Stream<Item = Result<ConsumerRecord>> + Send>>,
    control: ConsumerControl,
}

impl RecordStream {
    pub(crate) fn new(
        control: ConsumerControl,
        records: impl Stream<Item = Result<ConsumerRecord>> + Send + 'static,
    ) -> Self {
        Self { records: Box::pin(records), control }
    }

    /// What can be done besides reading.
    pub fn control(&self) -> &ConsumerControl {
        &self.control
    }
}

impl Stream for RecordStream {
    type Item = Result<ConsumerRecord>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.as_mut().poll_next(context)
    }
}

impl fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordStream").field("control", &self.control).finish_non_exhaustive()
    }
}
