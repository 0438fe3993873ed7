//! The layouts of every version, and members that send something else; the names of Kafka's ConsumerProtocolTest. Pure.

use super::*;

fn subscription(version: i16) -> Subscription {
    Subscription {
        version,
        topics: vec!["b".into(), "a".into()],
        user_data: Some(Bytes::from_static(b"data")),
        owned_partitions: vec![("b".into(), vec![2, 0]), ("a".into(), vec![1]), ("b".into(), vec![1])],
        generation_id: 5,
        rack_id: Some("r1".into()),
    }
}

fn owned() -> Vec<(String, Vec<i32>)> {
    vec![("a".into(), vec![1]), ("b".into(), vec![0, 1, 2])]
}

#[test]
fn serialize_deserialize_subscription_all_versions() {
    let sorted = Subscription { topics: vec!["a".into(), "b".into()], owned_partitions: owned(), ..subscription(3) };
    let none =
        Subscription { version: 0, owned_partitions: Vec::new(), generation_id: -1, rack_id: None, ..sorted.clone() };
    let expected = [
        none.clone(),
        Subscription { version: 1, owned_partitions: owned(), ..none.clone() },
        Subscription { version: 2, owned_partitions: owned(), generation_id: 5, ..none },
        sorted,
    ];
    for (version, expected) in (0..).zip(expected) {
        let bytes = subscription(version).encode().unwrap();
        assert_eq!(Subscription::decode(bytes.clone()).unwrap(), expected);
        for end in 0..bytes.len() {
            assert!(Subscription::decode(bytes.slice(..end)).is_err(), "version {version}, cut at {end}");
        }
    }
}

#[test]
fn the_bytes_are_those_of_the_java_client() {
    let bytes = subscription(3).encode().unwrap();
    let expected: [&[u8]; 8] = [
        &[0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b'],
        &[0, 0, 0, 4],
        b"data",
        &[0, 0, 0, 2, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 1],
        &[0, 1, b'b', 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0, 0, 0, 5],
        &[0, 2],
        b"r1",
    ];
    assert_eq!(bytes, expected.concat());
    let empty = Assignment::default().encode().unwrap();
    assert_eq!(empty, [0, 3, 0, 0, 0, 0, 255, 255, 255, 255][..]);
}

#[test]
fn serialize_subscription_should_order_topics() {
    let topics = |topics: [&str; 3]| Subscription { topics: topics.map(str::to_owned).into(), ..subscription(3) };
    assert_eq!(topics(["c", "a", "b"]).encode(), topics(["a", "b", "c"]).encode());
}

#[test]
fn serialize_subscription_should_order_owned_partitions() {
    let bytes = subscription(3).encode();
    assert_eq!(bytes, Subscription { owned_partitions: owned(), ..subscription(3) }.encode());
}

#[test]
fn deserialize_old_subscription_version() {
    let read = Subscription::decode(subscription(0).encode().unwrap()).unwrap();
    assert_eq!((read.owned_partitions, read.generation_id, read.rack_id), (vec![], -1, None));
    assert_eq!((read.topics, read.user_data), (vec!["a".into(), "b".into()], Some(Bytes::from_static(b"data"))));
}

#[test]
fn deserialize_new_subscription_with_old_version() {
    // A member that says less than what follows.
    let mut bytes = subscription(1).encode().unwrap().to_vec();
    bytes[1] = 0;
    let read = Subscription::decode(bytes.into()).unwrap();
    assert_eq!((read.version, read.owned_partitions), (0, vec![]));
    assert_eq!(read.topics, ["a", "b"]);
}

/// Later versions are read as the highest that is known.
#[test]
fn deserialize_future_subscription_version() {
    let mut bytes = subscription(3).encode().unwrap().to_vec();
    bytes[1] = 9;
    bytes.extend_from_slice(b"something new");
    let read = Subscription::decode(bytes.into()).unwrap();
    assert_eq!((read.version, read.generation_id, read.rack_id.as_deref()), (9, 5, Some("r1")));
}

#[test]
fn deserialize_future_assignment_version() {
    let assignment = Assignment { partitions: owned(), user_data: None, ..Assignment::default() };
    let mut bytes = assignment.encode().unwrap().to_vec();
    bytes[1] = 4;
    bytes.push(0);
    assert_eq!(Assignment::decode(bytes.into()).unwrap(), Assignment { version: 4, ..assignment });
}

#[test]
fn deserialize_null_assignment_user_data() {
    let assignment = Assignment { partitions: owned(), user_data: None, ..Assignment::default() };
    assert_eq!(Assignment::decode(assignment.encode().unwrap()).unwrap().user_data, None);
}

#[test]
fn user_data_of_sticky_members_has_two_layouts() {
    let new = StickyUserData { partitions: owned(), generation_id: Some(7) };
    let old = StickyUserData { generation_id: None, ..new.clone() };
    let bytes = new.encode().unwrap();
    assert_eq!(bytes[bytes.len() - 4..], [0, 0, 0, 7]);
    assert_eq!(old.encode().unwrap(), bytes[..bytes.len() - 4]);
    for end in 0..bytes.len() {
        let read = StickyUserData::decode(bytes.slice(..end));
        // Without a whole generation it is the older one.
        assert_eq!(read.is_ok(), end >= bytes.len() - 4, "cut at {end}");
        assert!(read.is_err() || read == Ok(old.clone()));
    }
    assert_eq!(StickyUserData::decode(bytes), Ok(new));

    let data = CooperativeStickyUserData { generation_id: 7 };
    assert_eq!(data.encode()[..], [0, 0, 0, 7]);
    assert_eq!(CooperativeStickyUserData::decode(Bytes::from_static(&[0, 0, 0, 7, 1])), Ok(data));
    assert!(CooperativeStickyUserData::decode(Bytes::from_static(&[0, 0, 7])).is_err());
}

#[test]
fn serialize_deserialize_assignment_all_versions() {
    for version in 0..=3 {
        let partitions = vec![("b".into(), vec![2, 0]), ("a".into(), vec![])];
        let assignment = Assignment { version, partitions, user_data: Some(Bytes::new()) };
        let bytes = assignment.encode().unwrap();
        assert_eq!(Assignment::decode(bytes.clone()).unwrap(), assignment);
        for end in 0..bytes.len() {
            assert!(Assignment::decode(bytes.slice(..end)).is_err(), "version {version}, cut at {end}");
        }
    }
}

#[test]
fn what_is_no_blob_is_an_error_that_names_the_field() {
    let error = |bytes: &'static [u8]| Subscription::decode(Bytes::from_static(bytes)).unwrap_err().to_string();
    assert_eq!(error(&[255, 255]), "Subscription.version at byte 2: version -1 is negative");
    assert_eq!(
        error(&[0, 0, 127, 255, 255, 255]),
        "Subscription.topics at byte 6: length 2147483647 is more than the 0 bytes left"
    );
    assert_eq!(error(&[0, 0, 255, 255, 255, 255]), "Subscription.topics at byte 6: null is not allowed here");
    let error = Assignment::decode(Bytes::from_static(&[128, 0])).unwrap_err();
    assert_eq!(error.to_string(), "Assignment.version at byte 2: version -32768 is negative");
}

#[test]
fn what_does_not_fit_is_not_written() {
    for version in [-1, 4] {
        let error = Subscription { version, ..Subscription::default() }.encode().unwrap_err();
        assert_eq!(error.to_string(), "Subscription.version: the version is not 0 to 3");
        assert!(Assignment { version, ..Assignment::default() }.encode().is_err());
    }
    let topics = vec!["t".repeat(40_000)];
    let error = Subscription { topics, ..Subscription::default() }.encode().unwrap_err();
    assert!(error.to_string().starts_with("Subscription.topics: "), "{error}");
}
