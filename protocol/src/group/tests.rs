//! The layouts of every version, and members that send something else. Pure.

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
fn each_version_has_its_fields() {
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
fn later_versions_are_read_as_the_highest_known() {
    let mut bytes = subscription(3).encode().unwrap().to_vec();
    bytes[1] = 9;
    bytes.extend_from_slice(b"something new");
    let read = Subscription::decode(bytes.into()).unwrap();
    assert_eq!((read.version, read.generation_id, read.rack_id.as_deref()), (9, 5, Some("r1")));

    let assignment = Assignment { partitions: owned(), user_data: None, ..Assignment::default() };
    let mut bytes = assignment.encode().unwrap().to_vec();
    bytes[1] = 4;
    bytes.push(0);
    assert_eq!(Assignment::decode(bytes.into()).unwrap(), Assignment { version: 4, ..assignment });
}

#[test]
fn assignments_keep_their_order() {
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
