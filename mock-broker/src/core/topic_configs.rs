//! The configuration of topics: Kafka 4.4's names, types, defaults and limits. Pure.

use std::collections::BTreeMap;

use milena_protocol::compression::Compression;
use milena_protocol::records::TimestampType;

/// What kind of value a configuration has, and which values are allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Boolean,
    Int(i64, i64),
    Long(i64),
    Double(f64, f64),
    OneOf(&'static [&'static str]),
    ListOf(&'static [&'static str]),
    AnyList,
}

impl Kind {
    /// The number of the type in DescribeConfigs.
    pub(crate) fn id(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::OneOf(_) => 2,
            Kind::Int(..) => 3,
            Kind::Long(_) => 5,
            Kind::Double(..) => 6,
            Kind::ListOf(_) | Kind::AnyList => 7,
        }
    }

    fn allows(self, value: &str) -> bool {
        match self {
            Kind::Boolean => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Kind::Int(min, max) => value.parse::<i64>().is_ok_and(|value| (min..=max).contains(&value)),
            Kind::Long(min) => value.parse::<i64>().is_ok_and(|value| value >= min),
            Kind::Double(min, max) => value.parse::<f64>().is_ok_and(|value| (min..=max).contains(&value)),
            Kind::OneOf(values) => values.contains(&value),
            Kind::ListOf(_) if value.is_empty() => true,
            Kind::ListOf(values) => value.split(',').map(str::trim).all(|value| values.contains(&value)),
            Kind::AnyList => true,
        }
    }
}

/// One configuration of a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    /// The broker's configuration of which a topic's default is a synonym; empty if there is none, or several.
    pub(crate) broker_name: &'static str,
}

macro_rules! table {
    ($($name:literal $kind:expr, $default:literal, $broker_name:literal;)*) => {
        /// Sorted by name.
        pub(crate) const TABLE: &[Definition] =
            &[$(Definition { name: $name, kind: $kind, default: $default, broker_name: $broker_name }),*];
    };
}

const I32: i64 = i32::MAX as i64;

table! {
    "cleanup.policy"                          Kind::ListOf(&["compact", "delete"]), "delete", "log.cleanup.policy";
    "compression.gzip.level"                  Kind::Int(-1, 9), "-1", "compression.gzip.level";
    "compression.lz4.level"                   Kind::Int(1, 17), "9", "compression.lz4.level";
    "compression.type"                        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), "producer", "compression.type";
    "compression.zstd.level"                  Kind::Int(-131_072, 22), "3", "compression.zstd.level";
    "delete.retention.ms"                     Kind::Long(0), "86400000", "log.cleaner.delete.retention.ms";
    "errors.deadletterqueue.group.enable"     Kind::Boolean, "false", "";
    "file.delete.delay.ms"                    Kind::Long(0), "60000", "log.segment.delete.delay.ms";
    "flush.messages"                          Kind::Long(1), "9223372036854775807", "log.flush.interval.messages";
    "flush.ms"                                Kind::Long(0), "9223372036854775807", "";
    "follower.replication.throttled.replicas" Kind::AnyList, "", "";
    "index.interval.bytes"                    Kind::Int(0, I32), "4096", "log.index.interval.bytes";
    "leader.replication.throttled.replicas"   Kind::AnyList, "", "";
    "local.retention.bytes"                   Kind::Long(-2), "-2", "log.local.retention.bytes";
    "local.retention.ms"                      Kind::Long(-2), "-2", "log.local.retention.ms";
    "max.compaction.lag.ms"                   Kind::Long(1), "9223372036854775807", "log.cleaner.max.compaction.lag.ms";
    "max.decompressed.message.bytes"          Kind::Int(1, 2_147_483_639), "2147483639", "max.decompressed.message.bytes";
    "max.message.bytes"                       Kind::Int(0, I32), "1048588", "message.max.bytes";
    "message.timestamp.after.max.ms"          Kind::Long(0), "3600000", "log.message.timestamp.after.max.ms";
    "message.timestamp.before.max.ms"         Kind::Long(0), "9223372036854775807", "log.message.timestamp.before.max.ms";
    "message.timestamp.type"                  Kind::OneOf(&["CreateTime", "LogAppendTime"]), "CreateTime", "log.message.timestamp.type";
    "min.cleanable.dirty.ratio"               Kind::Double(0.0, 1.0), "0.5", "log.cleaner.min.cleanable.ratio";
    "min.compaction.lag.ms"                   Kind::Long(0), "0", "log.cleaner.min.compaction.lag.ms";
    "min.insync.replicas"                     Kind::Int(1, I32), "1", "min.insync.replicas";
    "preallocate"                             Kind::Boolean, "false", "log.preallocate";
    "remote.copy.lag.bytes"                   Kind::Long(-1), "-1", "log.remote.copy.lag.bytes";
    "remote.copy.lag.ms"                      Kind::Long(-1), "0", "log.remote.copy.lag.ms";
    "remote.log.copy.disable"                 Kind::Boolean, "false", "";
    "remote.log.delete.on.disable"            Kind::Boolean, "false", "";
    "remote.storage.enable"                   Kind::Boolean, "false", "";
    "retention.bytes"                         Kind::Long(i64::MIN), "-1", "log.retention.bytes";
    "retention.ms"                            Kind::Long(-1), "604800000", "";
    "segment.bytes"                           Kind::Int(1_048_576, I32), "1073741824", "log.segment.bytes";
    "segment.index.bytes"                     Kind::Int(4, I32), "10485760", "log.index.size.max.bytes";
    "segment.jitter.ms"                       Kind::Long(0), "0", "";
    "segment.ms"                              Kind::Long(1), "604800000", "";
    "unclean.leader.election.enable"          Kind::Boolean, "false", "unclean.leader.election.enable";
}

/// Where a value comes from, by its number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    DynamicTopic = 1,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
}

/// What was set for one topic, and what the brokers say for all.
#[derive(Debug, Clone)]
pub(crate) struct TopicConfigs {
    set: BTreeMap<String, String>,
    broker_min_insync_replicas: i32,
}

/// The values that an append needs, read once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppendRules {
    pub(crate) max_message_bytes: usize,
    pub(crate) segment_bytes: usize,
    pub(crate) max_decompressed_bytes: usize,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) timestamp_before_max_ms: i64,
    pub(crate) timestamp_after_max_ms: i64,
    pub(crate) is_compacted: bool,
    /// `None` keeps the producer's.
    pub(crate) compression: Option<Compression>,
    pub(crate) min_insync_replicas: usize,
    pub(crate) elects_uncleanly: bool,
}

/// What a topic says about its segments, and about which records may go. Read once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogRules {
    pub(crate) segment_bytes: u64,
    /// Milliseconds, as the following times.
    pub(crate) segment_ms: i64,
    /// Whether old records are deleted.
    pub(crate) deletes: bool,
    /// Negative: no limit.
    pub(crate) retention_bytes: i64,
    /// Negative: no limit.
    pub(crate) retention_ms: i64,
    /// Whether only the last record of each key is kept.
    pub(crate) compacts: bool,
    /// A log with a larger share of records that were not compacted yet is compacted.
    pub(crate) min_cleanable_dirty_ratio: f64,
    /// Records younger than this are not compacted.
    pub(crate) min_compaction_lag_ms: i64,
    /// How long a tombstone stays after it was first compacted.
    pub(crate) delete_retention_ms: i64,
}

impl TopicConfigs {
    /// # Errors
    /// If a name is not known or a value is not allowed: which, and why.
    pub(crate) fn new(set: BTreeMap<String, String>, broker_min_insync_replicas: i32) -> Result<Self, String> {
        for (name, value) in &set {
            let Some(definition) = definition(name) else { return Err(format!("unknown topic config name: {name}")) };
            if !definition.kind.allows(value) {
                return Err(format!("invalid value {value} for configuration {name}"));
            }
        }
        Ok(Self { set, broker_min_insync_replicas })
    }

    /// What was set for this topic alone.
    pub(crate) fn set(&self) -> &BTreeMap<String, String> {
        &self.set
    }

    /// The value that holds, and where it comes from.
    pub(crate) fn value(&self, definition: &Definition) -> (String, Source) {
        match self.set.get(definition.name) {
            Some(value) => (value.clone(), Source::DynamicTopic),
            None => self.inherited(definition),
        }
    }

    /// The value that would hold had none been set for this topic.
    pub(crate) fn inherited(&self, definition: &Definition) -> (String, Source) {
        // Kafka sets this one for the whole cluster, from what its first controller was started with (KIP-966).
        if definition.name == "min.insync.replicas" {
            (self.broker_min_insync_replicas.to_string(), Source::DynamicDefaultBroker)
        } else {
            (definition.default.to_owned(), Source::Default)
        }
    }

    fn text(&self, name: &str) -> String {
        definition(name).map_or(String::new(), |definition| self.value(definition).0)
    }

    /// Every number in the table and every accepted value parses; 0 would be a gap in the table.
    fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(0)
    }

    fn has_policy(&self, wanted: &str) -> bool {
        self.text("cleanup.policy").split(',').any(|policy| policy.trim() == wanted)
    }

    pub(crate) fn log_rules(&self) -> LogRules {
        LogRules {
            segment_bytes: self.size("segment.bytes") as u64,
            segment_ms: self.number("segment.ms"),
            deletes: self.has_policy("delete"),
            retention_bytes: self.number("retention.bytes"),
            retention_ms: self.number("retention.ms"),
            compacts: self.has_policy("compact"),
            min_cleanable_dirty_ratio: self.text("min.cleanable.dirty.ratio").parse().unwrap_or(0.0),
            min_compaction_lag_ms: self.number("min.compaction.lag.ms"),
            delete_retention_ms: self.number("delete.retention.ms"),
        }
    }

    pub(crate) fn append_rules(&self) -> AppendRules {
        AppendRules {
            max_message_bytes: self.size("max.message.bytes"),
            segment_bytes: self.size("segment.bytes"),
            max_decompressed_bytes: self.size("max.decompressed.message.bytes"),
            timestamp_type: match self.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: self.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: self.number("message.timestamp.after.max.ms"),
            is_compacted: self.has_policy("compact"),
            compression: match self.text("compression.type").as_str() {
                "producer" => None,
                "uncompressed" => Some(Compression::None),
                name => Compression::from_name(name),
            },
            min_insync_replicas: self.size("min.insync.replicas"),
            elects_uncleanly: self.text("unclean.leader.election.enable").eq_ignore_ascii_case("true"),
        }
    }
}

pub(crate) fn definition(name: &str) -> Option<&'static Definition> {
    TABLE.binary_search_by_key(&name, |definition| definition.name).ok().and_then(|index| TABLE.get(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(set: &[(&str, &str)]) -> Result<TopicConfigs, String> {
        TopicConfigs::new(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), 1)
    }

    #[test]
    fn the_table_is_sorted_and_allows_its_defaults() {
        assert!(TABLE.is_sorted_by_key(|definition| definition.name));
        for definition in TABLE {
            assert!(definition.kind.allows(definition.default), "{}", definition.name);
        }
    }

    #[test]
    fn values_are_checked() {
        assert!(configs(&[("retention.ms", "-1"), ("cleanup.policy", "compact,delete")]).is_ok());
        let unknown = configs(&[("retention", "1")]).map(|_| ());
        assert_eq!(unknown, Err("unknown topic config name: retention".to_owned()));
        assert!(configs(&[("max.message.bytes", "many")]).is_err());
        assert!(configs(&[("min.insync.replicas", "0")]).is_err());
        assert!(configs(&[("compression.type", "brotli")]).is_err());
    }

    #[test]
    fn rules_follow_what_was_set() {
        let rules =
            configs(&[("compression.type", "zstd"), ("max.message.bytes", "100")]).map(|set| set.append_rules());
        assert!(
            rules.is_ok_and(|rules| rules.compression == Some(Compression::Zstd) && rules.max_message_bytes == 100)
        );
        let rules = configs(&[]).map(|set| set.append_rules());
        assert!(rules.is_ok_and(|rules| rules.compression.is_none()
            && rules.max_message_bytes == 1_048_588
            && rules.min_insync_replicas == 1
            && !rules.is_compacted));
    }
}
