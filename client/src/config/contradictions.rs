//! Settings that do not fit together: each problem names them and the remedy. Pure.

use crate::topic_partition::is_topic_name;

use super::{Acks, ClientSettings, Config, ConsumerSettings, ProducerSettings, property};

/// `name=value`, and whether nobody asked for it.
fn say(config: &Config, name: &str) -> String {
    let Some(property) = property(name) else { return name.to_owned() };
    let value = (property.effective)(config).unwrap_or_default();
    if (property.given)(config) { format!("{name}={value}") } else { format!("{name}={value} (the default)") }
}

/// Two settings of which the first must not be above the second.
fn at_most(config: &Config, fits: bool, low: &str, high: &str, problems: &mut Vec<String>) {
    if !fits {
        let (is, limit) = (say(config, low), say(config, high));
        problems.push(format!("{is} is above {limit}: lower {low} or raise {high}"));
    }
}

pub(super) fn client(config: &Config, client: &ClientSettings, problems: &mut Vec<String>) {
    if config.client.bootstrap_servers.is_none() {
        problems.push("bootstrap.servers is missing: name at least one broker as host:port".to_owned());
    }
    for (fits, low, high) in [
        (client.retry_backoff <= client.retry_backoff_max, "retry.backoff.ms", "retry.backoff.max.ms"),
        (client.reconnect_backoff <= client.reconnect_backoff_max, "reconnect.backoff.ms", "reconnect.backoff.max.ms"),
        (
            client.connection_setup_timeout <= client.connection_setup_timeout_max,
            "socket.connection.setup.timeout.ms",
            "socket.connection.setup.timeout.max.ms",
        ),
    ] {
        at_most(config, fits, low, high, problems);
    }
}

pub(super) fn producer(
    config: &Config,
    producer: &ProducerSettings,
    client: &ClientSettings,
    problems: &mut Vec<String>,
) {
    let idempotence = say(config, "enable.idempotence");
    if producer.idempotence && producer.acks != Acks::All {
        let acks = say(config, "acks");
        problems.push(format!(
            "{acks} contradicts {idempotence}: set acks=all, or say enable.idempotence=false and accept loss and duplicates"
        ));
    }
    if producer.idempotence && producer.max_in_flight > 5 {
        let max_in_flight = say(config, "max.in.flight.requests.per.connection");
        problems.push(format!(
            "{max_in_flight} contradicts {idempotence}: set at most 5, or say enable.idempotence=false and accept duplicates"
        ));
    }
    let least = producer.linger.saturating_add(client.request_timeout);
    if producer.delivery_timeout < least {
        problems.push(format!(
            "{} is less than {} and {} together: raise delivery.timeout.ms to {} or lower the others",
            say(config, "delivery.timeout.ms"),
            say(config, "linger.ms"),
            say(config, "request.timeout.ms"),
            least.as_nanos().div_ceil(1_000_000),
        ));
    }
    for (fits, low, high) in [
        (producer.batch_size <= producer.buffer_memory, "batch.size", "buffer.memory"),
        (producer.max_request_size <= producer.buffer_memory, "max.request.size", "buffer.memory"),
    ] {
        at_most(config, fits, low, high, problems);
    }
}

pub(super) fn consumer(
    config: &Config,
    consumer: &ConsumerSettings,
    client: &ClientSettings,
    problems: &mut Vec<String>,
) {
    let fits_in = |bytes: i32, room: usize| usize::try_from(bytes).is_ok_and(|bytes| bytes <= room);
    for (fits, low, high) in [
        (consumer.fetch_min_bytes <= consumer.fetch_max_bytes, "fetch.min.bytes", "fetch.max.bytes"),
        (fits_in(consumer.fetch_max_bytes, client.max_response_bytes), "fetch.max.bytes", "max.response.bytes"),
        (
            fits_in(consumer.max_partition_fetch_bytes, consumer.fetch_buffer_bytes),
            "max.partition.fetch.bytes",
            "fetch.buffer.bytes",
        ),
    ] {
        at_most(config, fits, low, high, problems);
    }
    if consumer.fetch_max_wait >= client.request_timeout {
        problems.push(format!(
            "{} is not below {}: every fetch without records would time out; lower fetch.max.wait.ms",
            say(config, "fetch.max.wait.ms"),
            say(config, "request.timeout.ms"),
        ));
    }
    if let Some(name) = consumer.group_instance_id.as_deref().filter(|name| !is_topic_name(name)) {
        // Kafka's rule is the same for both.
        problems.push(format!(
            "group.instance.id={} is no name: it may have 1 to 249 letters, digits, `.`, `_` and `-`, and not be `.` or `..`",
            name.escape_debug()
        ));
    }
    if consumer.heartbeat_interval.saturating_mul(3) > consumer.session_timeout {
        problems.push(format!(
            "{} is more than a third of {}: one lost heartbeat could end the membership; lower heartbeat.interval.ms or raise \
             session.timeout.ms",
            say(config, "heartbeat.interval.ms"),
            say(config, "session.timeout.ms"),
        ));
    }
}
