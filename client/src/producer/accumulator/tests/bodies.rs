//! What batches are made of: memory that is given back, compression, splitting. Pure.

use super::*;

#[test]
fn an_expired_batch_gives_its_memory_back_when_the_socket_lets_go_and_not_before() {
    let mut queue = queue_with(|limits| limits.delivery_timeout = ms(1_000));
    queue.memory = Memory::new(4096);
    queue.batch(ms(0), "a").detach();
    let Next::Send(in_the_socket) = queue.queue.next(ms(0), &mut queue.compressor) else { panic!("nothing to send") };
    queue.expire(ms(1_000));
    assert!(queue.memory.try_segment(4096).is_none());
    assert_eq!(seen_values(&in_the_socket), "a", "bytes of a frozen batch changed");
    drop(in_the_socket);

    assert!(queue.memory.try_segment(4096).is_some());
    assert_eq!(queue.unawaited.take().map(|(count, error)| (count, error.written())), Some((1, Written::Maybe)));
}

fn seen_values(sending: &Sending) -> String {
    let pieces = sending.pieces.clone();
    seen(Sending { pieces, ..*sending }).values.concat()
}

#[test]
fn large_batches_are_compressed_elsewhere_with_their_place_kept() {
    let mut queue = queue_with(|limits| {
        (limits.max_batch, limits.compression) = (200_000, Compression::Lz4);
    });
    queue.batch(ms(0), &"large".repeat(20_000)).detach();
    queue.batch(ms(0), "small").detach();
    let Next::Compress { token, body } = queue.queue.next(ms(0), &mut queue.compressor) else {
        panic!("not offloaded")
    };
    assert_eq!(queue.next(ms(0)), None, "the small batch overtook");
    let compressed = queue.compressor.compress(&body).ok();
    drop(body);
    queue.queue.on_compressed(token, compressed);

    let sent = queue.all(ms(0));
    assert_eq!(sent.iter().map(|s| (s.sequence, s.values[0].len())).collect::<Vec<_>>(), [(0, 100_000), (1, 5)]);
    assert!(queue.memory.try_segment((1 << 20) - 20_000).is_some(), "the uncompressed size is still reserved");
}

#[test]
fn a_batch_that_is_too_large_is_split_until_it_fits() {
    let mut queue = queue_with(|limits| limits.compression = Compression::Zstd);
    let deliveries: Vec<_> = (0..5).map(|number| queue.append(ms(0), &format!("value {number}"))).collect();
    let behind = queue.batch(ms(0), "behind");
    let sent = queue.all(ms(5));
    queue.answer(ms(6), sent[0].token, ErrorCode::MESSAGE_TOO_LARGE);
    queue.answer(ms(6), sent[1].token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);

    let shape = |sent: &Seen| (sent.epoch, sent.sequence, sent.values.len());
    let half = queue.next(ms(200)).unwrap();
    queue.answer(ms(201), half.token, ErrorCode::NONE);
    let rest = queue.all(ms(201));
    assert_eq!([shape(&half), shape(&rest[0]), shape(&rest[1])], [(1, 0, 2), (1, 2, 3), (1, 5, 1)]);
    queue.answer(ms(202), rest[0].token, ErrorCode::MESSAGE_TOO_LARGE);
    queue.answer(ms(202), rest[1].token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let third = queue.next(ms(400)).unwrap();
    assert_eq!(shape(&third), (2, 0, 1));
    queue.answer(ms(401), third.token, ErrorCode::NONE);
    let last = queue.next(ms(401)).unwrap();
    assert_eq!(shape(&last), (2, 1, 2));
    queue.answer(ms(402), last.token, ErrorCode::INVALID_RECORD);

    let verdicts: Vec<_> = deliveries.iter().map(verdict_of).collect();
    let (yes, no) = (Some(Written::Yes), Some(Written::No));
    assert_eq!(verdicts, [yes, yes, yes, no, no]);
    assert_eq!(verdict_of(&behind), None);
}

#[test]
fn splitting_goes_on_until_every_part_fits() {
    let mut queue = queue();
    let deliveries: Vec<_> =
        (0..40).map(|number| queue.append(ms(0), &format!("{number} {}", "x".repeat(200)))).collect();
    let mut now = ms(5);
    let mut written = Vec::new();
    for _ in 0..400 {
        if let Some(sent) = queue.next(now) {
            let code = if sent.values.len() > 3 { ErrorCode::MESSAGE_TOO_LARGE } else { ErrorCode::NONE };
            if code.is_none() {
                written.extend(sent.values);
            }
            queue.answer(now, sent.token, code);
        }
        now += ms(100);
    }

    assert!(deliveries.iter().all(|delivery| verdict_of(delivery) == Some(Written::Yes)));
    let numbers: Vec<i32> = written.iter().map(|value| value.split_once(' ').unwrap().0.parse().unwrap()).collect();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
}

#[test]
fn what_one_batch_was_compressed_to_never_becomes_the_body_of_another() {
    let mut queue = queue_with(|limits| {
        (limits.max_batch, limits.compression) = (200_000, Compression::Lz4);
        limits.delivery_timeout = ms(1_000);
    });
    queue.batch(ms(0), &"first ".repeat(20_000)).detach();
    let Next::Compress { token, body } = queue.queue.next(ms(0), &mut queue.compressor) else {
        panic!("not offloaded")
    };
    queue.expire(ms(1_000));
    queue.batch(ms(1_000), &"second".repeat(20_000)).detach();
    let Next::Compress { .. } = queue.queue.next(ms(1_000), &mut queue.compressor) else { panic!("not offloaded") };
    let compressed = queue.compressor.compress(&body).ok();
    queue.queue.on_compressed(token, compressed);

    assert_eq!(queue.next(ms(1_000)), None);
}
