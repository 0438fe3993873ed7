//! What differs between any two clusters and means nothing: ids, addresses, times. Each becomes a name, the same wherever
//! the same thing comes again: so that "the leader is the broker that answered" is still seen.

use std::collections::BTreeMap;

use bytes::Bytes;
use milena_protocol::records::{Batches, TimestampType, control_marker};
use milena_tests::raw::now_ms;

use super::debug_tree::Tree;

/// What has one value only, unless something is wrong: left out then.
const QUIET: &[(&str, &str)] = &[
    ("throttle_time_ms", "0"),
    ("error_message", "None"),
    ("session_id", "0"),
    ("base_offset", "-1"),
    ("log_append_time_ms", "-1"),
    ("record_errors", "[]"),
    ("aborted_transactions", "None"),
    ("preferred_read_replica", "-1"),
    ("diverging_epoch", "{epoch: -1, end_offset: -1}"),
    ("snapshot_id", "{end_offset: -1, epoch: -1}"),
    ("current_leader", "{leader_id: -1, leader_epoch: -1}"),
    ("node_endpoints", "[]"),
    ("topic_id", "none"),
    ("topic_config_error_code", "0"),
    ("zk_migration_ready", "false"),
];

/// How far the clocks of broker and test may be apart, and how long a probe may take.
const NOW_MS: i64 = 10 * 60 * 1000;

/// The names given so far.
#[derive(Debug, Default)]
pub struct Names {
    /// By kind and value.
    given: BTreeMap<(&'static str, String), String>,
    /// How many were given of a kind.
    counts: BTreeMap<&'static str, u8>,
    /// Names of topics and groups that the script made, and what the transcript calls them.
    texts: Vec<(String, String)>,
    /// The time that the script writes records with.
    base_ms: i64,
}

impl Names {
    /// No names yet.
    pub fn new(base_ms: i64) -> Self {
        Self { base_ms, ..Default::default() }
    }

    /// From now on the transcript has `label` for `unique`, also inside other texts.
    pub fn call(&mut self, unique: &str, label: &str) {
        self.texts.push((unique.to_owned(), label.to_owned()));
        self.texts.sort_by_key(|(unique, _)| std::cmp::Reverse(unique.len()));
    }

    /// What is called so.
    pub fn called(&self, label: &str) -> Option<String> {
        self.texts.iter().find(|(_, called)| called == label).map(|(unique, _)| unique.clone())
    }

    /// The name of a value of some kind: `broker-a`, `broker-b`, …
    pub fn name(&mut self, kind: &'static str, value: &str) -> String {
        let counts = &mut self.counts;
        let given = self.given.entry((kind, value.to_owned())).or_insert_with(|| {
            let count = counts.entry(kind).or_default();
            *count += 1;
            format!("{kind}-{}", char::from(b'a' + *count - 1))
        });
        given.clone()
    }

    /// A value as the transcript has it.
    pub fn render(&mut self, tree: &Tree) -> String {
        self.render_field("", tree)
    }

    fn render_field(&mut self, field: &str, tree: &Tree) -> String {
        match tree {
            Tree::Structure(fields) => {
                let rendered = fields.iter().map(|(name, value)| (name, self.render_field(name, value)));
                let loud = rendered.filter(|(name, value)| !QUIET.contains(&(name.as_str(), value)));
                let fields: Vec<_> = loud.map(|(name, value)| format!("{name}: {value}")).collect();
                format!("{{{}}}", fields.join(", "))
            }
            Tree::List(pieces) if field == "records" => self.render_records(pieces),
            Tree::List(elements) => {
                let elements: Vec<_> = elements.iter().map(|element| self.render_field(field, element)).collect();
                format!("[{}]", elements.join(", "))
            }
            // Our words are our own. Whether there are any counts.
            Tree::Wrapped(_, text) if field.ends_with("error_message") => match &**text {
                Tree::Text(text) if text.is_empty() => "Some(\"\")".to_owned(),
                _ => "Some(words)".to_owned(),
            },
            Tree::Wrapped(name, inner) if name == "Some" => format!("Some({})", self.render_field(field, inner)),
            Tree::Wrapped(name, _) => name.clone(), // an error code: the number says nothing more
            Tree::Text(text) => self.render_text(field, text),
            Tree::Bytes(bytes) => format!("b\"{}\"", self.replaced(&bytes.escape_ascii().to_string())),
            Tree::Word(word) => self.render_word(field, word),
        }
    }

    fn render_text(&mut self, field: &str, text: &str) -> String {
        match field {
            _ if text.is_empty() => "\"\"".to_owned(),
            "host" | "client_host" => "host".to_owned(),
            "rack" => self.name("rack", text),
            "cluster_id" => self.name("cluster", text),
            "member_id" | "leader" if !self.texts.iter().any(|(unique, _)| unique == text) => self.name("member", text),
            _ => format!("\"{}\"", self.replaced(text)),
        }
    }

    fn render_word(&mut self, field: &str, word: &str) -> String {
        let number = word.parse::<i64>().ok();
        match (field, number) {
            (
                "leader_id"
                | "node_id"
                | "controller_id"
                | "preferred_read_replica"
                | "broker_id"
                | "replica_nodes"
                | "isr_nodes"
                | "offline_replicas",
                Some(0..),
            ) => self.name("broker", word),
            ("producer_id", Some(0..)) => self.name("producer", word),
            ("session_id", Some(1..)) => self.name("session", word),
            ("port", Some(1..)) => "port".to_owned(),
            ("finalized_features_epoch", Some(0..)) => "epoch".to_owned(),
            ("topic_id", None) if word.bytes().all(|letter| letter == b'A') => "none".to_owned(),
            ("topic_id", None) => self.name("id", word),
            (_, Some(time)) => self.time(time),
            _ => word.to_owned(),
        }
    }

    /// A number that may be a time.
    fn time(&self, number: i64) -> String {
        match number - self.base_ms {
            since @ 0..1_000_000 => format!("base+{since}"),
            _ if (number - now_ms()).abs() < NOW_MS => "now".to_owned(),
            _ => number.to_string(),
        }
    }

    /// A text with the transcript's names in it.
    pub fn replaced(&self, text: &str) -> String {
        self.texts.iter().fold(text.to_owned(), |text, (unique, label)| text.replace(unique, label))
    }

    fn render_records(&mut self, pieces: &[Tree]) -> String {
        let bytes = pieces.iter().flat_map(|piece| match piece {
            Tree::Bytes(bytes) => bytes.iter().copied(),
            other => panic!("a piece of records: {other:?}"),
        });
        let mut batches = Batches::new(Bytes::from_iter(bytes));
        let mut rendered = Vec::new();
        for batch in &mut batches {
            rendered.push(match batch {
                Ok(batch) => self.render_batch(&batch),
                Err(error) => format!("unreadable: {error}"),
            });
        }
        if batches.is_truncated() {
            rendered.push("cut".to_owned());
        }
        format!("<{}>", rendered.join("; "))
    }

    fn render_batch(&mut self, batch: &milena_protocol::records::Batch) -> String {
        let header = *batch.header();
        let mut words =
            vec![format!("{}..={} epoch {}", header.base_offset, header.last_offset(), header.partition_leader_epoch)];
        if !batch.has_valid_crc() {
            words.push("bad crc".to_owned());
        }
        if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            words.push("append time".to_owned());
        }
        words.push(format!("{} to {}", self.time(header.base_timestamp), self.time(header.max_timestamp)));
        if header.attributes.0 & 7 != 0 {
            words.push(format!("codec {}", header.attributes.0 & 7));
        }
        if header.producer_id >= 0 {
            let producer = self.name("producer", &header.producer_id.to_string());
            words.push(format!("{producer}/{}/{}", header.producer_epoch, header.base_sequence));
        }
        let bits = header.attributes;
        words.extend(bits.is_transactional().then(|| "transactional".to_owned()));
        words.extend(bits.is_control().then(|| "control".to_owned()));
        match batch.records(1 << 20) {
            Ok(records) => {
                for record in &records {
                    let Ok(record) = record else {
                        words.push("unreadable record".to_owned());
                        break;
                    };
                    // The value has the epoch of the coordinator, which has led for the first time or not.
                    if bits.is_control() {
                        let value = record.value.map_or(0, <[u8]>::len);
                        words.push(format!("{}:{:?} in {value} bytes", record.offset, control_marker(&record)));
                        continue;
                    }
                    let show = |bytes: Option<&[u8]>| match bytes {
                        None => "null".to_owned(),
                        Some(bytes) if bytes.len() > 40 => format!("{} bytes", bytes.len()),
                        Some(bytes) => bytes.escape_ascii().to_string(),
                    };
                    let key = record.key.map(|key| format!("{}=", show(Some(key)))).unwrap_or_default();
                    words.push(format!(
                        "{}:{key}{}@{}",
                        record.offset,
                        show(record.value),
                        self.time(record.timestamp)
                    ));
                }
            }
            Err(_) => words.push("unreadable records".to_owned()),
        }
        words.join(" ")
    }
}
