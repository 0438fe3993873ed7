//! What to say about a property that is not in the table. Pure.

use super::properties::{PROPERTIES, Property};

/// Of Kafka, and to come. A name that ends in a dot stands for all that begin with it.
const NOT_YET: &[&str] = &[
    "client.dns.lookup",
    "compression.lz4.level",
    "enable.metrics.push",
    "group.remote.assignor",
    "metadata.cluster.check.enable",
    "metadata.max.idle.ms",
    "metadata.recovery.",
    "partitioner.",
    "receive.buffer.bytes",
    "sasl.",
    "send.buffer.bytes",
    "share.",
    "ssl.",
    "transaction.timeout.ms",
    "transaction.two.phase.commit.enable",
    "transactional.id",
];

/// Of Kafka, and about what runs inside a JVM. Looked at before those that are to come.
const OF_THE_JVM: &[&str] = &[
    "auto.include.jmx.reporter",
    "config.providers",
    "interceptor.classes",
    "internal.",
    "metric.reporters",
    "metrics.",
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
];

/// Of Kafka, with no place here.
const NEEDLESS: &[(&str, &str)] = &[
    ("key.serializer", "milena takes bytes: delete this line"),
    ("value.serializer", "milena takes bytes: delete this line"),
    ("key.deserializer", "milena hands out bytes: delete this line"),
    ("value.deserializer", "milena hands out bytes: delete this line"),
    ("retries", "milena tries again until delivery.timeout.ms: delete this line and set that"),
    ("bootstrap.resolve.timeout.ms", "milena has one limit for resolving and connecting: set bootstrap.timeout.ms"),
];

/// Names of librdkafka and of Kafka's old clients, too far from ours to be found by their letters.
const FOREIGN: &[(&str, &str)] = &[
    ("auto.commit.enable", "enable.auto.commit"),
    ("batch.num.messages", "batch.size"),
    ("broker.rack", "client.rack"),
    ("compression.codec", "compression.type"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("fetch.wait.max.ms", "fetch.max.wait.ms"),
    ("message.max.bytes", "max.request.size"),
    ("message.send.max.retries", "delivery.timeout.ms"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.kbytes", "buffer.memory"),
    ("queue.buffering.max.messages", "buffer.memory"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("queued.max.messages.kbytes", "fetch.buffer.bytes"),
    ("receive.message.max.bytes", "max.response.bytes"),
    ("request.required.acks", "acks"),
    ("socket.timeout.ms", "request.timeout.ms"),
    ("topic.metadata.refresh.interval.ms", "metadata.max.age.ms"),
    ("zookeeper.connect", "bootstrap.servers"),
];

/// Why `name` is refused, and what to do. Never shows a value: that of an unknown name may be a password.
pub(super) fn refusal(name: &str) -> String {
    if let Some((_, remedy)) = NEEDLESS.iter().find(|(needless, _)| *needless == name) {
        return format!("{name} is a Kafka property that does not exist here; {remedy}");
    }
    if is_in(OF_THE_JVM, name) {
        return format!("{name} is about the JVM and means nothing here: delete this line");
    }
    if is_in(NOT_YET, name) {
        return format!("{name} is a Kafka property that is not yet supported; remove it");
    }
    match suggestion(name) {
        Some(known) => format!("unknown property \"{name}\": did you mean {known}?"),
        None => format!("unknown property \"{name}\": remove it"),
    }
}

fn is_in(list: &[&str], name: &str) -> bool {
    list.iter().any(|known| *known == name || known.ends_with('.') && name.starts_with(known))
}

fn suggestion(name: &str) -> Option<&'static str> {
    // As environment variables and other languages spell them.
    let name = name.to_ascii_lowercase().replace(['_', '-'], ".");
    if let Some((_, known)) = FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
        return Some(known);
    }
    // Setters' names are often what people remember.
    let distance = |property: &Property| {
        edit_distance(&name, property.name).min(edit_distance(&name, &property.field.replace('_', ".")))
    };
    let nearest = PROPERTIES.iter().map(|property| (distance(property), property.name)).min_by_key(|(far, _)| *far)?;
    (nearest.0 * 3 <= name.chars().count()).then_some(nearest.1)
}

/// Levenshtein's: letters to insert, remove or replace.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, in_a) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (in_b, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(in_a != *in_b);
            left = replaced.min(*above + 1).min(left + 1);
            diagonal = *above;
            *above = left;
        }
    }
    // Only the columns behind the first are kept up to date; it is the answer only when `b` is empty.
    if b.is_empty() { a.chars().count() } else { row.last().copied().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_letters() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("acks", "acks", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!((edit_distance(a, b), edit_distance(b, a)), (distance, distance), "{a} {b}");
        }
    }

    #[test]
    fn near_and_foreign_names_get_a_suggestion() {
        for (name, known) in [
            ("linger", "linger.ms"),
            ("lingr.ms", "linger.ms"),
            ("linger_ms", "linger.ms"),
            ("Bootstrap.Server", "bootstrap.servers"),
            ("bootstrap-servers", "bootstrap.servers"),
            ("enable.idempotance", "enable.idempotence"),
            ("ack", "acks"),
            ("queue.buffering.max.ms", "linger.ms"),
            ("metadata.broker.list", "bootstrap.servers"),
            ("fetch.max.byte", "fetch.max.bytes"),
            ("compression", "compression.type"),
            ("max.in.flight", "max.in.flight.requests.per.connection"),
            ("idempotence", "enable.idempotence"),
        ] {
            let refusal = refusal(name);
            assert_eq!(refusal, format!("unknown property \"{name}\": did you mean {known}?"));
        }
        assert_eq!(refusal("colour"), "unknown property \"colour\": remove it");
        assert_eq!(refusal(""), "unknown property \"\": remove it");
    }

    #[test]
    fn properties_of_kafka_that_do_not_exist_here_are_not_called_unknown() {
        for name in ["transactional.id", "sasl.jaas.config", "ssl.keystore.location"] {
            assert_eq!(refusal(name), format!("{name} is a Kafka property that is not yet supported; remove it"));
        }
        assert_eq!(
            refusal("key.serializer"),
            "key.serializer is a Kafka property that does not exist here; milena takes bytes: delete this line"
        );
        assert_eq!(
            refusal("interceptor.classes"),
            "interceptor.classes is about the JVM and means nothing here: delete this line"
        );
    }

    #[test]
    fn every_name_is_in_one_list_only_and_every_suggestion_exists() {
        let known: Vec<_> = PROPERTIES.iter().map(|property| property.name).collect();
        for (foreign, name) in FOREIGN {
            assert!(known.contains(name), "{name}");
            assert!(!known.contains(foreign) && !NOT_YET.contains(foreign), "{foreign}");
        }
        assert!(NEEDLESS.iter().all(|(name, _)| !known.contains(name)));
        for name in known {
            assert!(!is_in(NOT_YET, name) && !is_in(OF_THE_JVM, name), "{name}");
        }
    }
}
