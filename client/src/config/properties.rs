//! The one table: for each setting its Kafka name, setter, type, default, range and documentation. Pure.

use std::time::Duration;

use super::value::{self, Rule, Setting, Value};
use super::{Acks, AutoOffsetReset, Compression, GroupProtocol, IsolationLevel, SecurityProtocol};

/// What is done with a setting by its name.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) field: &'static str,
    pub(super) read: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) given: fn(&Config) -> bool,
    /// The value given, else the default if there is one.
    pub(super) effective: fn(&Config) -> Option<String>,
}

/// A default: a duration, a size, any other expression, `none`, or `required` (checked when the client is built).
macro_rules! default {
    (required) => {
        Vec::new()
    };
    (none) => {
        None
    };
    ($number:literal ms) => {
        Duration::from_millis($number)
    };
    ($number:literal s) => {
        Duration::from_secs($number)
    };
    ($number:literal min) => {
        Duration::from_secs(60 * $number)
    };
    ($number:literal bytes) => {
        $number
    };
    ($number:literal MiB) => {
        $number << 20
    };
    ($value:expr) => {
        $value
    };
}

/// A setter, if the table gives it an argument.
macro_rules! setter {
    ([$(#[$($meta:tt)+])+] $role:ident $field:ident ()) => {};
    ([$(#[$($meta:tt)+])+] $role:ident $field:ident ($argument:ty)) => {
        $(#[$($meta)+])+
        pub fn $field(mut self, value: $argument) -> Self {
            self.config.$role.$field = Some(value.into());
            self
        }
    };
}
pub(crate) use setter;

/// Turns the table into everything that knows about single settings. A row is
///
/// ```text
/// /// What it means.
/// "kafka.name" => field(setter's argument, or nothing for no setter): Type = [default] in [min to max unit];
/// ```
macro_rules! settings {
    (
        $(#[$config:meta])*
        pub struct Config;
        $(
            $(#[$settings:meta])*
            $role:ident: $Given:ident => $Settings:ident, $setters:ident! {
                $(
                    $(#[doc = $doc:literal])+
                    $name:literal => $field:ident $argument:tt: $type:ty = [$($default:tt)+]
                        $(in [$min:literal to $max:literal $unit:ident])?;
                )+
            }
        )+
    ) => {
        $(#[$config])*
        ///
        /// | Property | Default | Allowed |
        /// |---|---|---|
        $($(
            #[doc = concat!(
                "| `", $name, "` | `", stringify!($($default)+), "` | ",
                $(stringify!($min), " to ", stringify!($max), " ", stringify!($unit),)? " |"
            )]
        )+)+
        #[derive(Clone, Default)]
        pub struct Config {
            $(pub(crate) $role: $Given,)+
        }

        impl Config {
            /// What was given in `later`, and for the rest what was given here.
            pub(crate) fn merge(self, later: Self) -> Self {
                Self {
                    $($role: $Given { $($field: later.$role.$field.or(self.$role.$field),)+ },)+
                }
            }
        }

        $(
            /// What was given; the rest has its default.
            #[derive(Clone, Default)]
            pub(crate) struct $Given {
                $(pub(crate) $field: Option<<$type as Setting>::Given>,)+
            }

            impl $Given {
                /// Values and defaults; adds to `problems` what is out of range.
                pub(super) fn settle(&self, problems: &mut Vec<String>) -> $Settings {
                    let default = $Settings::default();
                    $Settings {
                        $($field: match &self.$field {
                            None => default.$field,
                            Some(given) => {
                                let rule = Rule::ANY$(.within($min, $max, stringify!($unit)))?;
                                value::settle($name, given, &rule, problems)
                            }
                        },)+
                    }
                }
            }

            $(#[$settings])*
            #[derive(Clone, Debug)]
            pub(crate) struct $Settings {
                $(
                    $(#[doc = $doc])+
                    pub(crate) $field: $type,
                )+
            }

            impl Default for $Settings {
                fn default() -> Self {
                    Self { $($field: default!($($default)+),)+ }
                }
            }

            /// The typed setters, for the `impl` of a builder that has a field `config: Config`. The types in the table
            /// must be in scope there.
            macro_rules! $setters {
                () => {
                    $($crate::config::setter! {
                        [
                            $(#[doc = $doc])+
                            #[doc = ""]
                            #[doc = concat!(
                                "Default: `", stringify!($($default)+), "`. ",
                                $("Allowed: ", stringify!($min), " to ", stringify!($max), " ", stringify!($unit), ". ",)?
                                "Property: `", $name, "`."
                            )]
                        ]
                        $role $field $argument
                    })+
                };
            }
            pub(crate) use $setters;
        )+

        pub(super) static PROPERTIES: &[Property] = &[
            $($(Property {
                name: $name,
                field: stringify!($field),
                read: |config, text| {
                    let rule = Rule::ANY$(.within($min, $max, stringify!($unit)))?;
                    config.$role.$field = Some(Value::parse(text, &rule)?);
                    Ok(())
                },
                given: |config| config.$role.$field.is_some(),
                effective: |config| Setting::shown(&config.$role.settle(&mut Vec::new()).$field),
            },)+)+
        ];
    };
}

settings! {
    /// Settings for clients, producers and consumers, by the names of Kafka's properties. It remembers what was given;
    /// everything else has its default, which is Kafka 4's unless the setter's documentation says why not.
    ///
    /// Builders have typed setters for most of them, which take durations and byte counts. Whether settings fit
    /// together is checked when something is built with them, all at once.
    pub struct Config;

    /// What connections, metadata and everything else that is shared go by.
    client: GivenClient => ClientSettings, client_setters! {
        /// The brokers to ask first, as `host:port`, separated by commas. One that answers is enough; the others are
        /// learnt from it.
        "bootstrap.servers" => bootstrap_servers(): Vec<(String, u16)> = [required];

        /// How long connecting may take until a bootstrap server has answered; then it fails and names each address
        /// that was tried. Not one of Kafka's properties: its clients go on trying in silence, and a wrong address
        /// should be an error.
        "bootstrap.timeout.ms" => bootstrap_timeout(Duration): Duration = [10 s] in [1 to 2147483647 ms];

        /// The name under which brokers log and limit this client.
        "client.id" => client_id(impl Into<String>): String = [String::from("milena")] in [0 to 32767 bytes];

        /// The rack or zone that the client runs in, in the brokers' words (`broker.rack`). A group is told, and
        /// its assignor may go by it; reads go to the leader all the same.
        "client.rack" => client_rack(impl Into<String>): Option<String> = [none] in [1 to 32767 bytes];

        /// How long a broker may take to answer a request. Then the connection counts as broken and the request is
        /// tried again, if its own deadline allows.
        "request.timeout.ms" => request_timeout(Duration): Duration = [30 s] in [1 to 2147483647 ms];

        /// The deadline of calls that take no other, all their attempts included.
        "default.api.timeout.ms" => default_api_timeout(Duration): Duration = [60 s] in [1 to 2147483647 ms];

        /// The wait before a request that failed is sent again. It doubles with each failure, give or take 20 %, up to
        /// `retry.backoff.max.ms`.
        "retry.backoff.ms" => retry_backoff(Duration): Duration = [100 ms] in [1 to 2147483647 ms];

        /// The longest wait before a request is sent again.
        "retry.backoff.max.ms" => retry_backoff_max(Duration): Duration = [1 s] in [1 to 2147483647 ms];

        /// The wait before a broker that could not be reached is tried again. It doubles with each failure, give or
        /// take 20 %, up to `reconnect.backoff.max.ms`.
        "reconnect.backoff.ms" => reconnect_backoff(Duration): Duration = [50 ms] in [1 to 2147483647 ms];

        /// The longest wait before a broker is tried again.
        "reconnect.backoff.max.ms" => reconnect_backoff_max(Duration): Duration = [1 s] in [1 to 2147483647 ms];

        /// How long making a connection may take, at first. It doubles with each failure, up to
        /// `socket.connection.setup.timeout.max.ms`.
        "socket.connection.setup.timeout.ms" => connection_setup_timeout(Duration): Duration = [10 s] in [1 to 2147483647 ms];

        /// How long making a connection may take at most.
        "socket.connection.setup.timeout.max.ms" =>
            connection_setup_timeout_max(Duration): Duration = [30 s] in [1 to 2147483647 ms];

        /// Connections that were not used for so long are closed. Brokers close them after 10 minutes; being first
        /// avoids sending into a connection that is going away.
        "connections.max.idle.ms" => connections_max_idle(Duration): Duration = [9 min] in [1 to 9223372036854775807 ms];

        /// After so long, what is known about brokers, topics and leaders is asked for again, even if nothing failed.
        "metadata.max.age.ms" => metadata_max_age(Duration): Duration = [5 min] in [1 to 9223372036854775807 ms];

        /// Whether brokers may create a topic that is asked for and does not exist, if they are configured to. Kafka's
        /// clients ask them to; here it is off, so that a misspelt topic is an error and not a new topic.
        "allow.auto.create.topics" => allow_auto_create_topics(bool): bool = [false];

        /// The largest answer that is accepted. A longer one is taken for a peer that does not speak Kafka's protocol,
        /// and the connection is closed before memory is spent on it. Not one of Kafka's properties: its clients trust
        /// the length.
        "max.response.bytes" => max_response_bytes(usize): usize = [100 MiB] in [1024 to 2147483647 bytes];

        /// Whether connections are encrypted and authenticated. For now only `PLAINTEXT`.
        "security.protocol" => security_protocol(): SecurityProtocol = [SecurityProtocol::Plaintext];
    }

    /// What a producer goes by.
    producer: GivenProducer => ProducerSettings, producer_setters! {
        /// How many replicas must have a record before it counts as written: `all`, `1` (the leader) or `0` (nobody
        /// answers). Less than `all` needs `enable.idempotence=false`, said explicitly: Kafka's producer would drop the
        /// idempotence silently.
        "acks" => acks(Acks): Acks = [Acks::All];

        /// Whether brokers recognise what is sent again, so that a retry neither writes a record twice nor changes the
        /// order in a partition.
        "enable.idempotence" => idempotence(bool): bool = [true];

        /// How long a batch that is not full waits for more records. Zero sends as soon as the connection is free.
        "linger.ms" => linger(Duration): Duration = [5 ms] in [0 to 2147483647 ms];

        /// A partition's batch of so many bytes is sent without lingering. It is a reason to send and no limit: while
        /// the connection is busy a batch grows on, up to `max.request.size`.
        "batch.size" => batch_size(usize): usize = [16384 bytes] in [0 to 2147483647 bytes];

        /// The memory for records that are not settled yet; more than 4 GiB count as 4 GiB. When it is used up, enqueuing waits
        /// for room. Only a compressed batch that a broker finds too large takes more, while it is split and sent in parts.
        "buffer.memory" => buffer_memory(usize): usize = [32 MiB] in [4096 to 9223372036854775807 bytes];

        /// How long enqueuing may wait for room in the buffer, or for what is not yet known about a topic.
        "max.block.ms" => max_block(Duration): Duration = [60 s] in [0 to 9223372036854775807 ms];

        /// How long after it was enqueued a record may still be on its way, all attempts included. Then it fails. At
        /// least `linger.ms` and `request.timeout.ms` together.
        "delivery.timeout.ms" => delivery_timeout(Duration): Duration = [2 min] in [1 to 2147483647 ms];

        /// The largest record, and the largest batch before compression. Topics have a limit of their own,
        /// `max.message.bytes`.
        "max.request.size" => max_request_size(usize): usize = [1 MiB] in [1 to 2147483647 bytes];

        /// What batches are compressed with.
        "compression.type" => compression(Compression): Compression = [Compression::None];

        /// How hard gzip tries, if batches are compressed with it. Without a value it decides itself.
        "compression.gzip.level" => compression_gzip_level(i32): Option<i32> = [none] in [1 to 9 level];

        /// How hard Zstandard tries, if batches are compressed with it. Without a value it decides itself.
        "compression.zstd.level" => compression_zstd_level(i32): Option<i32> = [none] in [-131072 to 22 level];

        /// How many requests may be under way to a broker at a time. With idempotence at most 5: brokers remember no
        /// more batches of a producer.
        "max.in.flight.requests.per.connection" => max_in_flight(usize): usize = [5] in [1 to 1000 requests];
    }

    /// What a consumer goes by.
    consumer: GivenConsumer => ConsumerSettings, consumer_setters! {
        /// The group of the consumers that are made with `Client::consumer_from_config`. `Client::consumer` names a group itself, and
        /// refuses another one here; `Client::reader` has none and does not look.
        "group.id" => group_id(): Option<String> = [none] in [1 to 32767 bytes];

        /// By which protocol the group works. For now only `classic`: a member divides the partitions.
        "group.protocol" => group_protocol(): GroupProtocol = [GroupProtocol::Classic];

        /// Makes the consumer a static member of its group, under this name: when it comes back within `session.timeout.ms` it gets
        /// the partitions that it had, and nobody's move. It leaves the group only if it is asked to. Each member needs a name of
        /// its own: of two with the same, the one that started earlier is fenced. If it comes back with fewer topics, the group
        /// divides anew; topics that it did not read before it gets no earlier than at the next rebalance. Letters, digits, `.`,
        /// `_` and `-`.
        "group.instance.id" => group_instance_id(impl Into<String>): Option<String> = [none] in [1 to 249 bytes];

        /// After so long without a heartbeat, the group goes on without this consumer. Brokers allow 6 s to 30 min unless they are
        /// configured otherwise.
        "session.timeout.ms" => session_timeout(Duration): Duration = [45 s] in [1 to 2147483647 ms];

        /// How often the group hears from this consumer, and the consumer of a rebalance. At most a third of
        /// `session.timeout.ms`, so that one lost heartbeat is no death. Heartbeats go on whatever the application does.
        "heartbeat.interval.ms" => heartbeat_interval(Duration): Duration = [3 s] in [1 to 2147483647 ms];

        /// How long the application may hold records without progress (a read that begins, a record let go of or
        /// acknowledged) until the consumer leaves its group, so that others get its partitions. Also how long a rebalance
        /// waits for the consumer to finish what it has.
        "max.poll.interval.ms" => max_poll_interval(Duration): Duration = [5 min] in [1 to 2147483647 ms];

        /// How the group divides its partitions: names of assignors, separated by commas, the preferred one first. The group
        /// uses one that all its members have. `range`, `roundrobin`, `sticky` and `cooperative-sticky` are there; others can be
        /// registered. Kafka's default is `range` first, with which every rebalance stops every member; with
        /// `cooperative-sticky` alone members read on what they keep. A group changes from the one to the other in two rolling
        /// restarts: to `cooperative-sticky,range`, then to `cooperative-sticky`.
        "partition.assignment.strategy" =>
            partition_assignment_strategy(): Vec<String> = [vec![String::from("cooperative-sticky")]];

        /// Whether Kafka's internal topics fit no pattern that a consumer subscribes to.
        "exclude.internal.topics" => exclude_internal_topics(bool): bool = [true];

        /// Where to start on a partition without a committed offset, or when the broker no longer has the position.
        /// Kafka's default is `latest`, which skips records that are there; the earliest never loses any. A partition or a
        /// topic that a group member sees appear under its subscription is read from its beginning even with `latest`
        /// (KAFKA-20539), unless it goes to a member that joined later.
        "auto.offset.reset" => auto_offset_reset(AutoOffsetReset): AutoOffsetReset = [AutoOffsetReset::Earliest];

        /// Whether offsets of records that were handed out and let go of are committed in the background.
        "enable.auto.commit" => enable_auto_commit(bool): bool = [true];

        /// How often offsets are committed in the background.
        "auto.commit.interval.ms" => auto_commit_interval(Duration): Duration = [5 s] in [1 to 2147483647 ms];

        /// A broker answers a fetch when it has so much, or after `fetch.max.wait.ms`.
        "fetch.min.bytes" => fetch_min_bytes(i32): i32 = [1 bytes] in [0 to 2147483647 bytes];

        /// How long a broker may wait for `fetch.min.bytes`. Less than `request.timeout.ms`.
        "fetch.max.wait.ms" => fetch_max_wait(Duration): Duration = [500 ms] in [0 to 2147483647 ms];

        /// About how much a broker puts into one answer. A first batch that is larger still comes whole.
        "fetch.max.bytes" => fetch_max_bytes(i32): i32 = [50 MiB] in [1 to 2147483647 bytes];

        /// About how much of one partition a broker puts into one answer. A first batch that is larger still comes
        /// whole.
        "max.partition.fetch.bytes" => max_partition_fetch_bytes(i32): i32 = [1 MiB] in [1 to 2147483647 bytes];

        /// The most records in one batch that is handed out, whatever it was asked for.
        "max.poll.records" => max_poll_records(usize): usize = [500] in [1 to 2147483647 records];

        /// Whether the checksum of each batch is verified. Without, damage on disk or on the way can go unseen.
        "check.crcs" => check_crcs(bool): bool = [true];

        /// Whether records of transactions that are open or were aborted are handed out too.
        "isolation.level" => isolation_level(IsolationLevel): IsolationLevel = [IsolationLevel::ReadUncommitted];

        /// The memory for records that were fetched, counted decompressed, those that the application still holds
        /// included; when it is used up, fetching waits. Not one of Kafka's properties: its consumer has no such limit,
        /// and many partitions or a slow application can fill the machine.
        "fetch.buffer.bytes" => fetch_buffer_bytes(usize): usize = [64 MiB] in [1 to 9223372036854775807 bytes];
    }
}
