//! The requests of one connection that wait for their answers, oldest first. Pure.

use std::collections::VecDeque;

use crate::clock::Time;

/// Brokers answer in the order of the requests, so a correlation id that is not the oldest one's means that both sides have
/// lost each other.
#[derive(Debug, Default)]
pub(crate) struct Window {
    waiting: VecDeque<Waiting>,
    next_correlation_id: i32,
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    token: u64,
    deadline: Time,
}

impl Window {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The correlation id for the next request.
    pub(crate) fn correlation_id(&self) -> i32 {
        self.next_correlation_id
    }

    /// The request with [`Window::correlation_id`] was sent. `answered` is whether it will be.
    pub(crate) fn on_sent(&mut self, token: u64, deadline: Time, answered: bool) {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.checked_add(1).unwrap_or(0);
        if answered {
            self.waiting.push_back(Waiting { correlation_id, token, deadline });
        }
    }

    /// The token of the request that this answer belongs to, or the id that was expected.
    pub(crate) fn on_answer(&mut self, correlation_id: i32) -> Result<u64, Option<i32>> {
        match self.waiting.front() {
            Some(oldest) if oldest.correlation_id == correlation_id => {
                let token = oldest.token;
                self.waiting.pop_front();
                Ok(token)
            }
            oldest => Err(oldest.map(|oldest| oldest.correlation_id)),
        }
    }

    /// When the first of them must have been answered. They may have different timeouts, but the window is short.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_requests() {
        let mut window = Window::default();
        window.on_sent(10, Time::from_secs(2), true);
        window.on_sent(11, Time::from_secs(1), false);
        window.on_sent(12, Time::from_secs(1), true);

        assert_eq!((window.len(), window.deadline()), (2, Some(Time::from_secs(1))));
        assert_eq!(window.on_answer(2), Err(Some(0)));
        assert_eq!(window.on_answer(0), Ok(10));
        assert_eq!(window.on_answer(2), Ok(12));
        assert_eq!(window.on_answer(2), Err(None));
    }

    #[test]
    fn correlation_ids_wrap_to_zero() {
        let mut window = Window { next_correlation_id: i32::MAX, ..Window::default() };
        window.on_sent(1, Time::ZERO, true);

        assert_eq!(window.correlation_id(), 0);
        assert_eq!(window.on_answer(i32::MAX), Ok(1));
    }
}
