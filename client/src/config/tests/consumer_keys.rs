//! Every setting of Kafka's consumer (4.4): taken, or refused with what to do. Pure.

use std::collections::BTreeSet;

use super::*;

type Set = fn(Builder) -> Builder;
type Holds = fn(&Config) -> bool;

/// Each with a value that is not the default, and the setter that says the same.
const WITH_A_SETTER: &[(&str, &str, Set)] = &[
    ("allow.auto.create.topics", "true", |b| b.allow_auto_create_topics(true)),
    ("auto.commit.interval.ms", "700", |b| b.auto_commit_interval(700 * MS)),
    ("auto.offset.reset", "latest", |b| b.auto_offset_reset(AutoOffsetReset::Latest)),
    ("check.crcs", "false", |b| b.check_crcs(false)),
    ("client.id", "app", |b| b.client_id("app")),
    ("client.rack", "r1", |b| b.client_rack("r1")),
    ("connections.max.idle.ms", "701", |b| b.connections_max_idle(701 * MS)),
    ("default.api.timeout.ms", "702", |b| b.default_api_timeout(702 * MS)),
    ("enable.auto.commit", "false", |b| b.enable_auto_commit(false)),
    ("exclude.internal.topics", "false", |b| b.exclude_internal_topics(false)),
    ("fetch.max.bytes", "703", |b| b.fetch_max_bytes(703)),
    ("fetch.max.wait.ms", "704", |b| b.fetch_max_wait(704 * MS)),
    ("fetch.min.bytes", "705", |b| b.fetch_min_bytes(705)),
    ("group.instance.id", "i", |b| b.group_instance_id("i")),
    ("heartbeat.interval.ms", "706", |b| b.heartbeat_interval(706 * MS)),
    ("isolation.level", "read_committed", |b| b.isolation_level(IsolationLevel::ReadCommitted)),
    ("max.partition.fetch.bytes", "707", |b| b.max_partition_fetch_bytes(707)),
    ("max.poll.interval.ms", "708", |b| b.max_poll_interval(708 * MS)),
    ("max.poll.records", "709", |b| b.max_poll_records(709)),
    ("metadata.max.age.ms", "710", |b| b.metadata_max_age(710 * MS)),
    ("reconnect.backoff.max.ms", "711", |b| b.reconnect_backoff_max(711 * MS)),
    ("reconnect.backoff.ms", "712", |b| b.reconnect_backoff(712 * MS)),
    ("request.timeout.ms", "713", |b| b.request_timeout(713 * MS)),
    ("retry.backoff.max.ms", "714", |b| b.retry_backoff_max(714 * MS)),
    ("retry.backoff.ms", "715", |b| b.retry_backoff(715 * MS)),
    ("session.timeout.ms", "716", |b| b.session_timeout(716 * MS)),
    ("socket.connection.setup.timeout.max.ms", "717", |b| b.connection_setup_timeout_max(717 * MS)),
    ("socket.connection.setup.timeout.ms", "718", |b| b.connection_setup_timeout(718 * MS)),
];

const MS: Duration = Duration::from_millis(1);

/// Those whose setter is elsewhere, or that have one value only: what is taken, and what it becomes.
const WITHOUT_A_SETTER: &[(&str, &str, Holds)] = &[
    ("bootstrap.servers", "b:7", |config| {
        config.client().is_ok_and(|it| it.bootstrap_servers == [("b".to_owned(), 7)])
    }),
    ("group.id", "billing", |config| consumer(config).group_id.as_deref() == Some("billing")),
    ("group.protocol", "classic", |config| consumer(config).group_protocol == GroupProtocol::Classic),
    ("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor, sticky", |config| {
        consumer(config).partition_assignment_strategy.len() == 2
    }),
    ("security.protocol", "PLAINTEXT", |config| {
        config.client.settle(&mut Vec::new()).security_protocol == SecurityProtocol::Plaintext
    }),
];

fn consumer(config: &Config) -> ConsumerSettings {
    config.consumer().unwrap()
}

/// Serializers, reporters, classes to load: they mean nothing outside of a JVM.
const DELETE_THIS_LINE: &[&str] = &[
    "config.providers",
    "interceptor.classes",
    "internal.throw.on.fetch.stable.offset.unsupported",
    "key.deserializer",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "sasl.client.callback.handler.class",
    "sasl.kerberos.kinit.cmd",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.oauthbearer.jwt.retriever.class",
    "sasl.oauthbearer.jwt.validator.class",
    "security.providers",
    "ssl.engine.factory.class",
    "ssl.keymanager.algorithm",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "value.deserializer",
];

const NOT_YET: &[&str] = &[
    "client.dns.lookup",
    "enable.metrics.push",
    "group.remote.assignor",
    "metadata.cluster.check.enable",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "receive.buffer.bytes",
    "sasl.jaas.config",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.service.name",
    "sasl.kerberos.ticket.renew.jitter",
    "sasl.kerberos.ticket.renew.window.factor",
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.login.refresh.buffer.seconds",
    "sasl.login.refresh.min.period.seconds",
    "sasl.login.refresh.window.factor",
    "sasl.login.refresh.window.jitter",
    "sasl.login.retry.backoff.max.ms",
    "sasl.login.retry.backoff.ms",
    "sasl.mechanism",
    "sasl.oauthbearer.allow.unverified.audience",
    "sasl.oauthbearer.allow.unverified.issuer",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.template.file",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.audience",
    "sasl.oauthbearer.expected.issuer",
    "sasl.oauthbearer.header.urlencode",
    "sasl.oauthbearer.jwks.endpoint.refresh.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
    "sasl.oauthbearer.jwks.endpoint.url",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "sasl.oauthbearer.token.endpoint.url",
    "send.buffer.bytes",
    "share.acknowledgement.mode",
    "share.acquire.mode",
    "ssl.cipher.suites",
    "ssl.enabled.protocols",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Has another name here, which the refusal gives.
const RENAMED: &[(&str, &str)] = &[("bootstrap.resolve.timeout.ms", "set bootstrap.timeout.ms")];

#[test]
fn every_setting_that_is_taken_reaches_the_setter_of_its_name() {
    for (name, value, set) in WITH_A_SETTER {
        let by_name = properties(&[(name, value)]);
        let by_setter = set(Builder { config: Config::default() }).config;
        assert_eq!(format!("{by_name:?}"), format!("{by_setter:?}"), "{name}");
        assert_eq!(format!("{by_name:?}"), format!("{{{name:?}: {value:?}}}"));
        let default = Config::default().effective().into_iter().find(|(known, _)| known == name);
        assert_ne!(default, Some((*name, (*value).to_owned())), "the default shows nothing");
    }
    for (name, value, holds) in WITHOUT_A_SETTER {
        assert!(holds(&properties(&[(name, value)])), "{name}");
    }
}

#[test]
fn every_other_setting_of_kafkas_consumer_is_refused_with_what_to_do() {
    let refusals = DELETE_THIS_LINE.iter().map(|name| (name, "delete this line"));
    let refusals = refusals.chain(NOT_YET.iter().map(|name| (name, "not yet")));
    for (name, says) in refusals.chain(RENAMED.iter().map(|(name, says)| (name, *says))) {
        let text = message(Config::default().set(name, "hunter2"));
        assert!(text.contains(&format!("configuration: {name} is ")) && text.contains(says), "{text}");
        assert!(!text.contains("unknown") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_table_is_whole() {
    let taken: Vec<&str> =
        WITH_A_SETTER.iter().map(|row| row.0).chain(WITHOUT_A_SETTER.iter().map(|row| row.0)).collect();
    let refused = DELETE_THIS_LINE.iter().chain(NOT_YET).copied().chain(RENAMED.iter().map(|row| row.0));
    let all: Vec<&str> = taken.iter().copied().chain(refused).collect();
    // So many has `ConsumerConfig.configNames()`.
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (120, 120));

    let ours = ["bootstrap.timeout.ms", "max.response.bytes", "fetch.buffer.bytes"];
    for property in
        PROPERTIES.iter().filter(|property| !taken.contains(&property.name) && !ours.contains(&property.name))
    {
        let value = (property.effective)(&Config::default()).unwrap_or("1".to_owned());
        let mut others = properties(&[(property.name, &value)]);
        others.producer = Default::default();
        assert!(!(property.given)(&others), "{} is no producer's and not in the table", property.name);
    }
}
