//! What a probe works with: a cluster, and the transcript that it writes.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use milena_protocol::api::Request;
use milena_protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawConnection, Sent, now_ms};

use super::debug_tree::Tree;
use super::names::Names;

/// How long before now the records of probes were written: not so long that they expire.
const AGO_MS: i64 = 60 * 60 * 1000;

/// One run of a probe on a cluster.
pub struct Script<'a> {
    pub cluster: &'a TestCluster,
    /// The time stamp to write records with: an hour ago. The transcript calls it `base`.
    pub base_ms: i64,
    written: Mutex<(Names, Vec<String>)>,
}

impl<'a> Script<'a> {
    pub fn new(cluster: &'a TestCluster) -> Self {
        let base_ms = now_ms() - AGO_MS;
        Self { cluster, base_ms, written: Mutex::new((Names::new(base_ms), Vec::new())) }
    }

    /// The lines so far.
    pub fn transcript(&self) -> Vec<String> {
        self.with(|_, lines| lines.clone())
    }

    /// Creates a topic, which the transcript calls `label`.
    pub async fn topic(&self, label: &str, partitions: i32) -> String {
        self.topic_with(label, partitions, &[]).await
    }

    /// Like [`topic`](Self::topic), with settings.
    pub async fn topic_with(&self, label: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let topic = self.cluster.topic_with(label, partitions, configs).await;
        self.call(&topic, label);
        topic
    }

    /// A name for a topic, a group or a member that does not exist yet; the transcript calls it `label`.
    pub fn name(&self, label: &str) -> String {
        let name = self.cluster.unique(label);
        self.call(&name, label);
        name
    }

    /// Like [`topic`](Self::topic), with one partition on these brokers, of which the first leads.
    pub async fn topic_on(&self, label: &str, brokers: &[i32]) -> String {
        let topic = self.cluster.topic_on(label, brokers, &[]).await;
        self.call(&topic, label);
        topic
    }

    /// From now on the transcript has `label` for a name.
    pub fn call(&self, unique: &str, label: &str) {
        self.with(|names, _| names.call(unique, label));
    }

    /// What the transcript calls `label`.
    pub fn known(&self, label: &str) -> String {
        self.with(|names, _| names.called(label)).unwrap_or_else(|| panic!("nothing is called {label}"))
    }

    /// Deletes a topic, and returns when no broker knows it any more.
    pub async fn delete_topic(&self, topic: &str) {
        let state = DeleteTopicState { name: Some(topic.to_owned()), ..Default::default() };
        let request = DeleteTopicsRequest { topics: vec![state], timeout_ms: 30_000, ..Default::default() };
        let answer = self.cluster.raw(1).await.ask(6, &request).await;
        assert!(answer.responses[0].error_code.is_none(), "delete {topic}: {answer:?}");
        let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
        let request =
            MetadataRequest { topics: Some(vec![named]), allow_auto_topic_creation: false, ..Default::default() };
        for broker in self.cluster.speaking() {
            let mut broker = RawConnection::connect(&broker).await.expect("a broker that answers");
            eventually("a topic to be gone", async || {
                let answer = broker.ask(9, &request).await;
                (!answer.topics[0].error_code.is_none()).then_some(())
            })
            .await;
        }
    }

    /// A connection to the leader of a partition, which the transcript calls the next broker from now on.
    pub async fn leader(&self, topic: &str, partition: i32) -> RawConnection {
        let leader = self.cluster.leader(topic, partition).await;
        self.with(|names, _| names.name("broker", &leader.to_string()));
        self.cluster.raw(leader).await
    }

    /// Writes a line.
    pub fn note(&self, line: &str) {
        self.with(|names, lines| lines.push(names.replaced(line)));
    }

    /// Writes a value.
    pub fn show(&self, step: &str, value: &impl Debug) {
        self.with(|names, lines| lines.push(format!("{step}: {}", names.render(&Tree::of(value)))));
    }

    /// Asks, writes the answer, returns it.
    ///
    /// # Panics
    /// There is none.
    pub async fn ask<R: Request<Response: Debug>>(
        &self,
        step: &str,
        to: &mut RawConnection,
        version: i16,
        request: &R,
    ) -> R::Response {
        let answer = self.try_ask(step, to, version, request).await;
        answer.unwrap_or_else(|| panic!("{step}: no answer to {} version {version}", R::KEY))
    }

    /// Asks, writes the answer or that there is none, returns it.
    pub async fn try_ask<R: Request<Response: Debug>>(
        &self,
        step: &str,
        to: &mut RawConnection,
        version: i16,
        request: &R,
    ) -> Option<R::Response> {
        let answer = to.try_ask(version, request).await;
        match &answer {
            Ok(answer) => self.show(step, answer),
            Err(reason) => self.show(step, reason),
        }
        answer.ok()
    }

    /// Waits for an answer, writes it, returns it.
    pub async fn answer<R: Request<Response: Debug>>(
        &self,
        step: &str,
        from: &mut RawConnection,
        sent: Sent<R>,
    ) -> R::Response {
        let answer = from.answer(sent).await;
        self.show(step, &answer);
        answer
    }

    /// Asks in each version and writes the answers, those of neighbours once if they are equal.
    pub async fn each_version<R: Request<Response: Debug>>(
        &self,
        step: &str,
        to: &mut RawConnection,
        versions: RangeInclusive<i16>,
        mut request: impl FnMut(i16) -> R,
    ) {
        let mut groups: Vec<(i16, i16, String)> = Vec::new();
        for version in versions {
            let answer = to.ask(version, &request(version)).await;
            let text = self.with(|names, _| names.render(&Tree::of(&answer)));
            match groups.last_mut() {
                Some((_, last, same)) if *same == text => *last = version,
                _ => groups.push((version, version, text)),
            }
        }
        for (first, last, text) in groups {
            self.note(&format!("{step} v{first}-v{last}: {text}"));
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Names, &mut Vec<String>) -> T) -> T {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (names, lines) = &mut *written;
        act(names, lines)
    }
}
