//! The cluster as a client uses it: one view of the metadata kept fresh, one shared connection to each broker. IO.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use milena_protocol::ErrorCode;
use milena_protocol::api::Request;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use milena_protocol::primitives::Uuid;
use tokio::sync::{Notify, watch};

use crate::backoff::Backoff;
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::net::request_queue::{RequestQueue, Response};
use crate::net::{Address, Net};
use crate::topic_partition::{TopicPartition, check_topic_name, is_topic_name};
use crate::watched::{Watched, Watcher};

pub(crate) mod coordinators;
pub(crate) mod metadata;
pub(crate) mod metadata_refresh;
mod refreshing;

use coordinators::Coordinators;
use metadata::{ClusterView, Listed, TopicView};
use metadata_refresh::{Keep, MetadataRefresh};

/// How long a topic that no broker knows is looked for, however patient the caller is: a wrong name should not take a minute to
/// show.
pub(crate) const UNKNOWN_TOPIC: Duration = Duration::from_secs(10);

/// How the cluster is found and kept in view.
#[derive(Debug, Clone)]
pub(crate) struct ClusterSettings {
    pub(crate) bootstrap: Vec<(String, u16)>,
    pub(crate) bootstrap_timeout: Duration,
    pub(crate) metadata_max_age: Duration,
    pub(crate) retry: Backoff,
    pub(crate) allow_auto_create_topics: bool,
}

/// A handle; the connections and the refreshing end when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    net: Arc<Net>,
    settings: ClusterSettings,
    view: ArcSwap<ClusterView>,
    /// Held while the view is replaced.
    changing: Mutex<()>,
    /// Carries the version of the view, so that whoever waits for a change sees each.
    changed: Watched<u64>,
    refresh: Mutex<MetadataRefresh>,
    wake: Arc<Notify>,
    /// Shared connections: to brokers by id, and to the bootstrap addresses by their place in the list.
    brokers: Mutex<BTreeMap<Peer, RequestQueue>>,
    coordinators: Mutex<Coordinators>,
    entropy: Mutex<Entropy>,
    closed: Watched<bool>,
    unsettled: watch::Sender<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Broker(i32),
    Bootstrap(usize),
}

impl Drop for Inner {
    fn drop(&mut self) {
        for queue in lock(&self.brokers).values() {
            queue.close();
        }
        self.wake.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Finds the cluster through its bootstrap addresses.
    ///
    /// # Errors
    /// If none of them answers within `bootstrap.timeout.ms`; the error names each with what went wrong.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub(crate) async fn connect(net: Arc<Net>, settings: ClusterSettings) -> Result<Self> {
        let refresh = MetadataRefresh::new(settings.metadata_max_age, settings.retry, net.fork_entropy());
        let cluster = Self(Arc::new(Inner {
            view: ArcSwap::default(),
            changing: Mutex::default(),
            changed: Watched::new(0),
            refresh: Mutex::new(refresh),
            wake: Arc::new(Notify::new()),
            brokers: Mutex::default(),
            coordinators: Mutex::default(),
            entropy: Mutex::new(net.fork_entropy()),
            closed: Watched::new(false),
            unsettled: watch::Sender::new(()),
            net: net.clone(),
            settings,
        }));
        cluster.bootstrap().await?;
        let wake = cluster.0.wake.clone();
        net.runtime.spawn(Box::pin(refreshing::keep_fresh(Arc::downgrade(&cluster.0), wake)));
        Ok(cluster)
    }

    pub(crate) fn net(&self) -> &Arc<Net> {
        &self.0.net
    }

    /// The client was closed by its user: nothing new may begin.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// Tells when the client is closed by its user.
    pub(crate) fn closing(&self) -> Watcher<bool> {
        self.0.closed.watch()
    }

    /// The latest view. Without a lock.
    pub(crate) fn view(&self) -> Arc<ClusterView> {
        self.0.view.load_full()
    }

    /// Tells each change of the view.
    pub(crate) fn changes(&self) -> Watcher<u64> {
        self.0.changed.watch()
    }

    /// What is known has proved wrong: refreshes soon.
    pub(crate) fn request_refresh(&self) {
        lock(&self.0.refresh).request(self.0.net.now());
        self.0.wake.notify_one();
    }

    /// Looks for this topic, and keeps it in view if there is one.
    pub(crate) fn add_topic(&self, topic: &Arc<str>) {
        self.want_topic(topic, UNKNOWN_TOPIC, None);
    }

    /// Keeps this topic in view, also if it is still to be created, until what is returned is dropped.
    pub(crate) fn keep_topic(&self, topic: &Arc<str>, keep: Keep) -> KeptTopic {
        self.want_topic(topic, UNKNOWN_TOPIC, Some(keep));
        KeptTopic { cluster: self.clone(), topic: topic.clone(), keep }
    }

    fn want_topic(&self, topic: &Arc<str>, within: Duration, keep: Option<Keep>) {
        let now = self.0.net.now();
        if lock(&self.0.refresh).add_topic(topic, now, now.saturating_add(within), keep) {
            self.0.wake.notify_one();
        }
    }

    /// A broker said in an error who leads a partition now (KIP-951). Whether that was news.
    pub(crate) fn on_leader_hint(
        &self,
        topic_partition: &TopicPartition,
        topic_id: Uuid,
        leader: i32,
        leader_epoch: i32,
    ) -> bool {
        self.change_view(|view| view.with_leader(topic_partition, topic_id, leader, leader_epoch)).is_some()
    }

    /// The topic, once it is known; waits for it at most `within`.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` if brokers say to the end that there is none, other codes at once if retrying is no use,
    /// `TimedOut` if nobody answers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing but that the topic stays in view.
    pub(crate) async fn topic(&self, name: &Arc<str>, within: Duration) -> Result<Arc<TopicView>> {
        let mut changes = self.changes();
        check_topic_name(name)?;
        self.want_topic(name, within, None);
        let deadline = self.0.net.now().saturating_add(within);
        loop {
            changes.look();
            let known = self.view().topic(name).cloned();
            match &known {
                Some(topic) if topic.error.is_none() && !topic.partitions.is_empty() => return Ok(topic.clone()),
                Some(topic) if !topic.error.is_none() && !topic.error.is_retriable() => {
                    return Err(unusable(name, topic.error));
                }
                Some(_) | None => {}
            }
            tokio::select! {
                biased;
                () = self.0.net.sleep_until(Some(deadline)) => {
                    return Err(match known {
                        Some(topic) if !topic.error.is_none() => unusable(name, topic.error),
                        Some(_) | None => Error::new(
                            ErrorKind::TimedOut,
                            format!("no broker described topic \"{name}\" within {within:?}"),
                        ),
                    });
                }
                () = changes.changed() => {}
            }
        }
    }

    /// The topic was deleted: what was known of it is not worth keeping.
    pub(crate) fn on_deleted_topic(&self, name: &str) {
        lock(&self.0.refresh).on_deleted(name);
        self.forget_topic(name);
    }

    fn forget_topic(&self, name: &str) {
        self.change_view(|view| {
            let mut view = view.clone();
            view.topics.remove(name)?;
            view.version += 1;
            Some(view)
        });
    }

    /// Where a broker is, as of now.
    pub(crate) fn address(&self, broker: i32) -> Option<Address> {
        self.0.address(Peer::Broker(broker))
    }

    /// One request to one broker over its shared connection. One attempt.
    ///
    /// # Errors
    /// As [`RequestQueue::call`].
    ///
    /// # Cancel safety
    /// The request may be sent all the same.
    pub(crate) async fn call<R: Request + Send + 'static>(
        &self,
        broker: i32,
        timeout: Duration,
        build: impl FnOnce(i16) -> R + Send + 'static,
    ) -> Result<Response<R::Response>> {
        let answer = self.queue(Peer::Broker(broker)).call::<R>(timeout, R::VERSIONS.max, build).await;
        answer.inspect_err(|_| self.request_refresh())
    }

    /// Some broker, another one each time.
    pub(crate) fn any_broker(&self) -> Option<i32> {
        let view = self.view();
        let index = lock(&self.0.entropy).below(view.brokers.len());
        view.brokers.keys().nth(index).copied()
    }

    /// The broker that coordinates this group, asked for if it is not known. One attempt.
    ///
    /// # Errors
    /// If there is none now, or nobody answers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn coordinator(&self, group: &str) -> Result<i32> {
        if let Some(broker) = lock(&self.0.coordinators).group(group) {
            return Ok(broker);
        }
        let asked = self.any_broker().ok_or_else(|| Error::new(ErrorKind::Transport, "no broker is known"))?;
        let key = group.to_owned();
        let build = move |version| match version {
            ..=3 => FindCoordinatorRequest { key, ..Default::default() },
            4.. => FindCoordinatorRequest { coordinator_keys: vec![key], ..Default::default() },
        };
        let response = self.call::<FindCoordinatorRequest>(asked, self.0.net.limits.request_timeout, build).await?;
        let body = response.body;
        let (code, broker) = match body.coordinators.first() {
            Some(found) if response.version >= 4 => (found.error_code, found.node_id),
            Some(_) | None => (body.error_code, body.node_id),
        };
        code.ok()
            .map_err(|code| Error::broker(format_args!("finding the coordinator of group \"{group}\""), code, asked))?;
        lock(&self.0.coordinators).on_found(group, broker);
        if !self.view().brokers.contains_key(&broker) {
            self.request_refresh();
        }
        Ok(broker)
    }

    /// `broker` does not coordinate this group any more.
    pub(crate) fn on_wrong_coordinator(&self, group: &str, broker: i32) {
        lock(&self.0.coordinators).on_wrong(group, broker);
    }

    /// `metadata.max.age.ms`.
    pub(crate) fn metadata_max_age(&self) -> Duration {
        self.0.settings.metadata_max_age
    }

    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub(crate) fn retry_backoff(&self) -> Backoff {
        self.0.settings.retry
    }

    /// The wait before the next try after `failures` failures in a row.
    pub(crate) fn retry_delay(&self, failures: u32) -> Duration {
        self.0.settings.retry.delay(failures, &mut lock(&self.0.entropy))
    }

    /// All topics of the cluster, as some broker knows them. One attempt.
    ///
    /// # Errors
    /// If it does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn list_topics(&self) -> Result<Vec<Listed>> {
        let broker = self.any_broker().ok_or_else(|| Error::new(ErrorKind::Transport, "no broker is known"))?;
        let answer = self.metadata_from(Peer::Broker(broker), None, PATIENCE, false).await?;
        let listed = |topic: MetadataResponseTopic| {
            let name = topic.name.filter(|name| topic.error_code.is_none() && is_topic_name(name))?;
            Some(Listed { name: name.into(), is_internal: topic.is_internal })
        };
        Ok(answer.topics.into_iter().filter_map(listed).collect())
    }

    /// What each broker says of a topic; `None` for one that does not answer.
    pub(crate) async fn topic_at_every_broker(&self, name: &str) -> Vec<Option<ErrorCode>> {
        let mut answers = Vec::new();
        for broker in self.view().brokers.keys() {
            let answer = self.metadata_from(Peer::Broker(*broker), Some(vec![name.into()]), PATIENCE, false).await;
            let topic = answer.ok().and_then(|answer| answer.topics.into_iter().next());
            answers.push(topic.map(|topic| match topic.partitions.iter().any(|partition| partition.leader_id < 0) {
                true => ErrorCode::LEADER_NOT_AVAILABLE,
                false => topic.error_code,
            }));
        }
        answers
    }

    /// Counts as unsettled until the guard is dropped; see [`Cluster::settled`].
    pub(crate) fn unsettled(&self) -> watch::Receiver<()> {
        self.0.unsettled.subscribe()
    }

    /// Waits until every guard of [`Cluster::unsettled`] was dropped.
    pub(crate) async fn settled(&self) {
        self.0.unsettled.closed().await;
    }

    fn queue(&self, peer: Peer) -> RequestQueue {
        let mut brokers = lock(&self.0.brokers);
        let inner = Arc::downgrade(&self.0);
        let queue = brokers.entry(peer).or_insert_with(|| {
            let of_silence = inner.clone();
            RequestQueue::spawn(
                self.0.net.clone(),
                move || inner.upgrade().and_then(|inner| inner.address(peer)),
                // What it was asked for may be somebody else's by now.
                move || {
                    if let Some(inner) = of_silence.upgrade() {
                        Self(inner).request_refresh();
                    }
                },
            )
        });
        queue.clone()
    }

    async fn metadata_from(
        &self,
        peer: Peer,
        topics: Option<Vec<Arc<str>>>,
        timeout: Duration,
        create: bool,
    ) -> Result<MetadataResponse> {
        let allow_auto_topic_creation = create && self.0.settings.allow_auto_create_topics;
        let build = move |_| {
            let named = |name: &Arc<str>| MetadataRequestTopic { name: Some(name.to_string()), ..Default::default() };
            let topics = topics.map(|topics| topics.iter().map(named).collect());
            MetadataRequest { topics, allow_auto_topic_creation, ..Default::default() }
        };
        let response = self.queue(peer).call::<MetadataRequest>(timeout, MetadataRequest::VERSIONS.max, build).await?;
        match response.body.error_code.ok() {
            Ok(()) => Ok(response.body),
            Err(code) => Err(Error::new(ErrorKind::Broker, format!("Metadata failed: {code}")).with_code(code)),
        }
    }

    /// Replaces the view by what `change` makes of it, if it makes anything: one change after the other, so that none is lost.
    fn change_view(&self, change: impl FnOnce(&ClusterView) -> Option<ClusterView>) -> Option<Arc<ClusterView>> {
        let _turn = lock(&self.0.changing);
        let view = Arc::new(change(&self.view())?);
        self.0.view.store(view.clone());
        self.0.changed.set(view.version);
        Some(view)
    }
}

/// A topic that somebody keeps in view.
pub(crate) struct KeptTopic {
    cluster: Cluster,
    topic: Arc<str>,
    pub(crate) keep: Keep,
}

impl Drop for KeptTopic {
    fn drop(&mut self) {
        let unwanted = lock(&self.cluster.0.refresh).release_topic(&self.topic, self.keep);
        if unwanted {
            self.cluster.forget_topic(&self.topic);
        }
    }
}

/// How long one broker may take for metadata before the next is asked: a frozen broker must not hide the others' news.
const PATIENCE: Duration = Duration::from_secs(3);

impl Inner {
    fn address(&self, peer: Peer) -> Option<Address> {
        match peer {
            Peer::Broker(id) => {
                let view = self.view.load();
                let broker = view.brokers.get(&id)?;
                Some(Address { broker: Some(id), host: broker.host.clone(), port: broker.port })
            }
            Peer::Bootstrap(index) => {
                let (host, port) = self.settings.bootstrap.get(index)?;
                Some(Address { broker: None, host: host.as_str().into(), port: *port })
            }
        }
    }

    /// Ends the shared connections to brokers that are gone from the metadata.
    fn close_departed(&self) {
        let view = self.view.load();
        lock(&self.brokers).retain(|peer, queue| {
            let stays = match peer {
                Peer::Broker(id) => view.brokers.contains_key(id),
                Peer::Bootstrap(_) => true,
            };
            if !stays {
                queue.close();
            }
            stays
        });
    }
}

fn unusable(name: &str, code: ErrorCode) -> Error {
    let remedy = match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "; create it, or set allow.auto.create.topics",
        _ => "",
    };
    Error::new(ErrorKind::Broker, format!("topic \"{name}\" cannot be used: {code}{remedy}")).with_code(code)
}
