//! Tests of reading, defaults, ranges, contradictions and setters. Pure.

use std::time::Duration;

use super::*;

mod consumer_keys;

struct Builder {
    config: Config,
}

#[allow(dead_code, unreachable_pub, reason = "all setters are generated, for builders that are public")]
impl Builder {
    client_setters! {}
    producer_setters! {}
    consumer_setters! {}
}

fn builder() -> Builder {
    Builder { config: Config::default().bootstrap(vec!["a:1".to_owned()]) }
}

fn message<T: fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

fn properties(pairs: &[(&str, &str)]) -> Config {
    Config::from_properties(pairs.iter().copied()).unwrap()
}

#[test]
fn defaults_are_those_documented_and_fit_together() {
    let config = builder().config;
    let (client, producer, consumer) =
        (config.client().unwrap(), config.producer().unwrap(), config.consumer().unwrap());

    assert_eq!(client.bootstrap_servers, [("a".to_owned(), 1)]);
    assert_eq!((client.client_id.as_str(), client.client_rack), ("milena", None));
    assert_eq!(client.max_response_bytes, 100 * 1024 * 1024);
    assert!(!client.allow_auto_create_topics);
    assert_eq!((producer.acks, producer.idempotence, producer.linger), (Acks::All, true, Duration::from_millis(5)));
    assert_eq!((producer.batch_size, producer.buffer_memory, producer.max_request_size), (16384, 33554432, 1048576));
    assert_eq!(consumer.auto_offset_reset, AutoOffsetReset::Earliest);
    assert_eq!((consumer.fetch_max_bytes, consumer.max_partition_fetch_bytes), (52428800, 1048576));
    assert_eq!((consumer.group_id, consumer.max_poll_records), (None, 500));
}

#[test]
fn the_effective_configuration_can_be_read_back() {
    let config = properties(&[
        ("bootstrap.servers", "a:1, [::1]:2"),
        ("group.id", "billing"),
        ("client.rack", "r1"),
        ("compression.type", "ZSTD"),
        ("compression.zstd.level", "-7"),
        ("auto.offset.reset", "by_duration:PT36H"),
        ("acks", "-1"),
        ("security.protocol", "plaintext"),
    ]);
    let effective = config.effective();
    let again = Config::from_properties(effective.clone()).unwrap();

    assert_eq!(again.effective(), effective);
    let value = |name| effective.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    assert_eq!(value("bootstrap.servers"), Some("a:1,[::1]:2"));
    assert_eq!(value("acks"), Some("all"));
    assert_eq!(value("auto.offset.reset"), Some("by_duration:P1DT12H"));
    assert_eq!(value("linger.ms"), Some("5"));
    assert_eq!(value("compression.gzip.level"), None);
    assert_eq!(config.producer().unwrap().compression_level(), Some(-7));
}

#[test]
fn every_name_is_there_once_and_every_default_can_be_written_as_text() {
    let defaults = Config::default().effective();
    for (name, value) in &defaults {
        assert!(Config::default().set(name, value).is_ok(), "{name}={value}");
    }
    let mut names: Vec<_> = PROPERTIES.iter().map(|property| property.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PROPERTIES.len());
    assert_eq!(defaults.len(), PROPERTIES.len() - 6, "bootstrap, rack, group, instance and two levels have none");
}

#[test]
fn all_that_is_wrong_with_properties_is_said_at_once() {
    let text = message(Config::from_properties([
        ("lingr.ms", "5"),
        ("batch.size", "16k"),
        ("linger.ms", "1"),
        ("sasl.password", "hunter2"),
        ("acks", "2"),
    ]));

    assert_eq!(
        text,
        "invalid configuration: unknown property \"lingr.ms\": did you mean linger.ms?; \
         batch.size=16k: not a whole number; allowed: 0 to 2147483647 bytes; \
         sasl.password is a Kafka property that is not yet supported; remove it; \
         acks=2: allowed: all, -1, 1, 0"
    );
}

#[test]
fn values_are_strict_about_units_ranges_and_words() {
    for (name, value, part) in [
        ("linger.ms", "5s", "linger.ms=5s: not a whole number; allowed: 0 to 2147483647 ms"),
        ("linger.ms", "5 ms", "not a whole number"),
        ("linger.ms", "0.5", "not a whole number"),
        ("linger.ms", "", "not a whole number"),
        ("linger.ms", "-", "not a whole number"),
        ("linger.ms", "-1", "out of range; allowed: 0 to"),
        ("linger.ms", "99999999999999999999999", "out of range"),
        ("linger.ms", "2147483648", "out of range"),
        ("request.timeout.ms", "0", "out of range; allowed: 1 to"),
        ("fetch.max.bytes", "3000000000", "out of range; allowed: 1 to 2147483647 bytes"),
        ("compression.gzip.level", "10", "allowed: 1 to 9 level"),
        ("compression.type", "brotli", "allowed: none, gzip, snappy, lz4, zstd"),
        ("enable.idempotence", "yes", "allowed: true, false"),
        ("isolation.level", "committed", "allowed: read_uncommitted, read_committed"),
        ("auto.offset.reset", "smallest", "allowed: earliest, latest, none, by_duration:PnDTnHnMnS"),
        ("security.protocol", "SASL_SSL", "security.protocol=SASL_SSL: not yet supported; allowed: PLAINTEXT"),
        ("group.protocol", "consumer", "group.protocol=consumer: not yet supported; allowed: classic"),
        ("security.protocol", "TLS", "allowed: PLAINTEXT"),
        ("group.id", " ", "group.id=: empty; allowed: 1 to 32767 bytes"),
        ("bootstrap.servers", "a:1,", "at position 5: a comma with no host:port beside it"),
        ("bootstrap.servers", "", "the list is empty"),
    ] {
        let text = message(Config::default().set(name, value));
        assert!(text.contains(part), "{name}={value}: {text}");
    }
    for (name, value) in
        [("linger.ms", " 7 "), ("acks", "0"), ("acks", "1"), ("check.crcs", "FALSE"), ("client.id", "")]
    {
        assert!(Config::default().set(name, value).is_ok(), "{name}={value}");
    }
}

#[test]
fn a_properties_file_is_read_and_what_is_not_understood_is_refused_by_line() {
    let config = Config::parse_properties(
        "# all roles\n! in one file\r\n\nbootstrap.servers = a:1,b:2\r\nlinger.ms: 7\n  group.id=g=1 \nlinger.ms=8",
    )
    .unwrap();
    assert_eq!(config.client().unwrap().bootstrap_servers.len(), 2);
    assert_eq!(config.producer().unwrap().linger, Duration::from_millis(8));
    assert_eq!(config.consumer().unwrap().group_id.as_deref(), Some("g=1"));

    let text = message(Config::parse_properties("linger.ms=5\nsecret words\nclient.id=a\\\n b\ncolour=red"));
    assert!(text.contains("line 2 is not of the form name=value; line 3 has a backslash"), "{text}");
    assert!(text.contains("line 4 is not") && text.contains("unknown property \"colour\""), "{text}");
    assert!(!text.contains("secret") && !text.contains("red"), "{text}");
}

#[test]
fn setters_take_typed_values_that_are_checked_when_built() {
    let config = builder()
        .client_id("app")
        .linger(Duration::from_micros(500))
        .acks(Acks::All)
        .batch_size(0)
        .compression(Compression::Gzip)
        .compression_gzip_level(9)
        .auto_offset_reset(AutoOffsetReset::Latest)
        .config;
    assert_eq!(config.client().unwrap().client_id, "app");
    let producer = config.producer().unwrap();
    assert_eq!((producer.linger, producer.compression_level()), (Duration::from_micros(500), Some(9)));
    assert_eq!(config.consumer().unwrap().auto_offset_reset, AutoOffsetReset::Latest);
    assert!(config.effective().contains(&("linger.ms", "0.5".to_owned())));

    let config = builder().request_timeout(Duration::ZERO).max_response_bytes(1).client_rack("").config;
    let text = message(config.client());
    assert!(text.contains("request.timeout.ms=0: out of range; allowed: 1 to 2147483647 ms"), "{text}");
    assert!(text.contains("max.response.bytes=1: out of range") && text.contains("client.rack=: empty"), "{text}");

    let text = message(builder().compression_gzip_level(0).max_in_flight(0).config.producer());
    assert!(text.contains("compression.gzip.level=0") && text.contains("per.connection=0"), "{text}");
    assert!(message(builder().linger(Duration::MAX).config.producer()).contains("linger.ms="));
}

#[test]
fn a_bootstrap_list_is_required_and_checked_at_its_position() {
    assert!(message(Config::default().client()).contains("bootstrap.servers is missing"));
    assert!(Config::default().producer().is_ok() && Config::default().consumer().is_ok());

    let config = Config::default().bootstrap(vec!["a:1".to_owned(), "http://b:2".to_owned()]);
    let text = message(config.client());
    assert!(text.contains("bootstrap.servers=a:1,http://b:2: at position 5: \"http://\""), "{text}");
    assert!(message(Config::default().bootstrap(Vec::new()).client()).contains("the list is empty"));
}

#[test]
fn contradictions_name_both_settings_and_the_remedy() {
    type Read = fn(&Config) -> Option<Error>;
    let client: Read = |config| config.client().err();
    let producer: Read = |config| config.producer().err();
    let consumer: Read = |config| config.consumer().err();

    for (read, given, says) in [
        (producer, &[("acks", "1")][..], "acks=1 contradicts enable.idempotence=true (the default): set acks=all"),
        (producer, &[("acks", "0"), ("enable.idempotence", "true")], "acks=0 contradicts enable.idempotence=true: set"),
        (
            producer,
            &[("max.in.flight.requests.per.connection", "6")],
            "max.in.flight.requests.per.connection=6 contradicts enable.idempotence=true (the default): set at most 5",
        ),
        (
            producer,
            &[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "1000")],
            "delivery.timeout.ms=1000 is less than linger.ms=5 (the default) and request.timeout.ms=1000 together: \
             raise delivery.timeout.ms to 1005",
        ),
        (producer, &[("request.timeout.ms", "120000")], "delivery.timeout.ms=120000 (the default) is less than"),
        (
            producer,
            &[("batch.size", "40000000")],
            "batch.size=40000000 is above buffer.memory=33554432 (the default): lower",
        ),
        (
            producer,
            &[("buffer.memory", "1000000")],
            "max.request.size=1048576 (the default) is above buffer.memory=1000000",
        ),
        (
            client,
            &[("retry.backoff.ms", "2000")],
            "retry.backoff.ms=2000 is above retry.backoff.max.ms=1000 (the default)",
        ),
        (client, &[("reconnect.backoff.max.ms", "1")], "raise reconnect.backoff.max.ms"),
        (client, &[("socket.connection.setup.timeout.ms", "30001")], "raise socket.connection.setup.timeout.max.ms"),
        (consumer, &[("fetch.buffer.bytes", "1000")], "max.partition.fetch.bytes=1048576 (the default) is above"),
        (
            consumer,
            &[("max.response.bytes", "1024")],
            "fetch.max.bytes=52428800 (the default) is above max.response.bytes",
        ),
        (
            consumer,
            &[("fetch.max.bytes", "1"), ("fetch.min.bytes", "2")],
            "fetch.min.bytes=2 is above fetch.max.bytes=1",
        ),
        (consumer, &[("fetch.max.wait.ms", "30000")], "fetch.max.wait.ms=30000 is not below request.timeout.ms=30000"),
        (consumer, &[("group.instance.id", "a/b")], "group.instance.id=a/b is no name: it may have 1 to 249 letters"),
    ] {
        let mut config = properties(given);
        config.client.bootstrap_servers = builder().config.client.bootstrap_servers;
        let text = read(&config).map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(says), "{given:?}: {text}");
    }

    let fine = [("acks", "1"), ("enable.idempotence", "false"), ("max.in.flight.requests.per.connection", "6")];
    assert!(properties(&fine).producer().is_ok());
    assert!(properties(&[("fetch.max.bytes", "1000")]).consumer().is_ok(), "a first batch always comes whole");
}

#[test]
fn all_contradictions_come_in_one_error() {
    let text = message(
        builder()
            .acks(Acks::Leader)
            .max_in_flight(6)
            .buffer_memory(5000)
            .delivery_timeout(Duration::from_millis(1))
            .config
            .producer(),
    );
    for name in ["acks=1", "connection=6", "delivery.timeout.ms=1 ", "batch.size=16384", "max.request.size=1048576"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn merging_takes_what_was_given_later_and_keeps_the_rest() {
    let config =
        properties(&[("linger.ms", "1"), ("acks", "all")]).merge(properties(&[("linger.ms", "2"), ("group.id", "g")]));

    assert_eq!(format!("{config:?}"), r#"{"acks": "all", "linger.ms": "2", "group.id": "g"}"#);
}

#[test]
fn debug_shows_only_what_was_given() {
    assert_eq!(format!("{:?}", Config::default()), "{}");
    let config = properties(&[("linger.ms", "7")]);
    assert_eq!(format!("{config:?}"), "{\"linger.ms\": \"7\"}");
}
