//! Random schedules against the log of a broker: verdicts are true, and order holds. Pure.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A broker's log with its producer state for one partition.
#[derive(Default)]
struct Log {
    values: Vec<String>,
    epoch: i16,
    window: Vec<(i32, i32)>,
}

impl Log {
    fn produce(&mut self, batch: &Seen) -> ErrorCode {
        let last = (batch.sequence as i64 + batch.values.len() as i64 - 1) % (1 << 31);
        if batch.epoch < self.epoch {
            return ErrorCode::INVALID_PRODUCER_EPOCH;
        }
        if batch.epoch > self.epoch {
            if batch.sequence != 0 {
                return ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
            }
            (self.epoch, self.window) = (batch.epoch, Vec::new());
        } else if self.window.contains(&(batch.sequence, last as i32)) {
            return ErrorCode::NONE;
        } else if let Some((_, previous)) = self.window.last()
            && (i64::from(*previous) + 1) % (1 << 31) != i64::from(batch.sequence)
        {
            return ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        }
        self.window.push((batch.sequence, last as i32));
        if self.window.len() > 5 {
            self.window.remove(0);
        }
        self.values.extend(batch.values.iter().cloned());
        ErrorCode::NONE
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enqueue,
    Send,
    /// The oldest request is applied and answered.
    Answer,
    /// The oldest request is applied and its answer is lost.
    LoseAnswer,
    /// The connection breaks: which of the requests were applied before.
    Break(u8),
    /// The broker restarts: which of the requests were applied before. Of a producer it remembers only the last batch.
    Restart(u8),
    Reject(ErrorCode),
    /// The oldest request is applied, and its answer comes when nobody waits for it any more.
    MoveLeader,
    /// An answer overtakes those of older requests: they were sent to another broker.
    AnswerLatest,
    Wait(u16),
    /// Nothing comes for so long that the broker forgets the producer (`producer.id.expiration.ms`).
    Idle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Enqueue),
        4 => Just(Step::Send),
        3 => Just(Step::Answer),
        1 => Just(Step::LoseAnswer),
        1 => (0u8..6).prop_map(Step::Break),
        1 => (0u8..6).prop_map(Step::Restart),
        1 => Just(Step::Reject(ErrorCode::INVALID_RECORD)),
        1 => Just(Step::Reject(ErrorCode::MESSAGE_TOO_LARGE)),
        1 => Just(Step::MoveLeader),
        1 => Just(Step::AnswerLatest),
        2 => (1u16..400).prop_map(Step::Wait),
        1 => Just(Step::Idle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the network does, also where sequence numbers wrap: nothing acked is lost, nothing is there twice or out of
    /// order, and every verdict is true.
    #[test]
    fn verdicts_are_true_and_order_holds(steps in prop::collection::vec(step(), 1..120), near_wrap in any::<bool>()) {
        let mut queue = new_queue(|limits| limits.delivery_timeout = ms(2_000));
        let mut log = Log::default();
        if near_wrap {
            queue.queue.sequencer = Sequencer::starting_at(i32::MAX - 3);
            queue.queue.on_producer_id(Identity { producer_id: 7, epoch: 0 });
        }
        let mut now = ms(0);
        let mut deliveries = BTreeMap::new();
        let mut wire: VecDeque<Seen> = VecDeque::new();
        for step in steps.into_iter().chain(std::iter::repeat_n(Step::Wait(100), 30)) {
            match step {
                Step::Enqueue => {
                    let number = deliveries.len();
                    // Batches of three records, the last one open.
                    let value = format!("{number:06}");
                    let delivery = if number % 3 == 0 { queue.batch_start(now, &value) } else { queue.append(now, &value) };
                    deliveries.insert(number, delivery);
                }
                Step::Send => wire.extend(queue.next(now)),
                Step::Answer => if let Some(request) = wire.pop_front() {
                    let code = log.produce(&request);
                    queue.answer(now, request.token, code);
                },
                Step::LoseAnswer | Step::Break(_) | Step::Restart(_) => {
                    let applied = if let Step::Break(count) | Step::Restart(count) = step { usize::from(count) } else { 1 };
                    for (index, request) in std::mem::take(&mut wire).into_iter().enumerate() {
                        if index < applied {
                            log.produce(&request);
                        }
                        queue.lose(now, request.token);
                    }
                    if matches!(step, Step::Restart(_)) {
                        log.window.drain(..log.window.len().saturating_sub(1));
                    }
                }
                Step::Reject(code) => if let Some(request) = wire.pop_front() {
                    queue.answer(now, request.token, code);
                },
                Step::MoveLeader => {
                    if let Some(request) = wire.pop_front() {
                        log.produce(&request);
                    }
                    wire.clear();
                    queue.queue.on_new_leader();
                }
                Step::AnswerLatest => {
                    for (index, request) in wire.iter().enumerate() {
                        let code = log.produce(request);
                        if index + 1 == wire.len() {
                            queue.answer(now, request.token, code);
                        }
                    }
                    // The others were applied too, and their answers are lost.
                    for request in wire.drain(..) {
                        queue.lose(now, request.token);
                    }
                }
                Step::Idle => {
                    for request in wire.drain(..) {
                        queue.lose(now, request.token);
                    }
                    now += Duration::from_secs(24 * 60 * 60);
                    queue.expire(now);
                    log.window.clear();
                }
                Step::Wait(millis) => {
                    now += ms(u64::from(millis));
                    queue.expire(now);
                }
            }
        }
        let mut order: Vec<&String> = log.values.iter().collect();
        order.dedup();
        prop_assert_eq!(order.len(), log.values.len(), "duplicates: {:?}", log.values);
        prop_assert!(log.values.is_sorted(), "out of order: {:?}", log.values);
        for (number, delivery) in &deliveries {
            let there = log.values.contains(&format!("{number:06}"));
            match verdict_of(delivery) {
                Some(Written::Yes) => prop_assert!(there, "{number} was acked and is lost"),
                Some(Written::No) => prop_assert!(!there, "{number} was called not written and is there"),
                Some(Written::Maybe) => {}
                None => prop_assert!(false, "{number} has no outcome"),
            }
        }
    }
}
