//! Finding the cluster, and keeping what is known of it fresh. IO.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::metadata::MetadataResponse;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::metadata_refresh::Open;
use super::{Cluster, Inner, PATIENCE, Peer, lock};
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result};

impl Cluster {
    /// Asks the bootstrap addresses, one after the other, until one answers.
    pub(super) async fn bootstrap(&self) -> Result<()> {
        let Inner { net, settings, refresh, .. } = &*self.0;
        let deadline = net.now().saturating_add(settings.bootstrap_timeout);
        let mut causes: BTreeMap<usize, Error> = BTreeMap::new();
        lock(refresh).next_action(net.now());
        for round in 1.. {
            for (index, (host, port)) in settings.bootstrap.iter().enumerate() {
                let left = deadline.saturating_sub(net.now());
                if left.is_zero() {
                    break;
                }
                // One that accepts and says nothing must leave time for the others.
                let share = u32::try_from(settings.bootstrap.len() - index).unwrap_or(1);
                match self.metadata_from(Peer::Bootstrap(index), Some(Vec::new()), left / share, false).await {
                    Ok(response) => {
                        self.take_over(&response, Vec::new());
                        return Ok(());
                    }
                    // What the address itself answered says more than that the time was over.
                    Err(error) if error.kind() == ErrorKind::TimedOut => {
                        let text = format!("{host}:{port} did not answer within {:.1?}", left / share);
                        causes.entry(index).or_insert(Error::new(ErrorKind::TimedOut, text));
                    }
                    Err(error) => drop(causes.insert(index, error)),
                }
            }
            // What is no Kafka broker will not become one.
            let hopeless = causes.values().filter(|error| error.kind() == ErrorKind::Protocol).count();
            let pause = settings.retry.delay(round, &mut lock(&self.0.entropy));
            if hopeless == settings.bootstrap.len() || net.now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        // The causes are part of the text, since there are as many as addresses.
        let list: Vec<String> = causes.values().map(Error::to_string).collect();
        let list = list.join("; ");
        let no_kafka = causes.values().all(|error| error.kind() == ErrorKind::Protocol);
        let text = match no_kafka {
            true => format!("no address of bootstrap.servers is a Kafka broker's: {list}"),
            false => format!(
                "no bootstrap address answered within {:?} (bootstrap.timeout.ms): {list}",
                settings.bootstrap_timeout
            ),
        };
        let is_protocol = causes.values().any(|error| error.kind() == ErrorKind::Protocol);
        Err(Error::new(if is_protocol { ErrorKind::Protocol } else { ErrorKind::Transport }, text))
    }

    fn take_over(&self, response: &MetadataResponse, asked: Vec<Arc<str>>) {
        let now = self.0.net.now();
        let view = self.change_view(|view| Some(view.merge(response))).unwrap_or_else(|| self.view());
        let mut refresh = lock(&self.0.refresh);
        let mut open = Open::Nothing;
        for name in &asked {
            let topic = view.topic(name);
            let has_leaders = topic.is_some_and(|topic| {
                let led = |leader: Option<i32>| leader.is_some_and(|leader| view.brokers.contains_key(&leader));
                !topic.partitions.is_empty() && topic.partitions.iter().all(|partition| led(partition.leader))
            });
            let error = topic.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |topic| topic.error);
            open = open.max(match error {
                ErrorCode::NONE if has_leaders => Open::Nothing,
                error if !error.is_none() && !error.is_retriable() => Open::Nothing,
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION if !refresh.is_awaited(name, now) => Open::Absent,
                _ => Open::Awaited,
            });
        }
        let absent = |name: &&Arc<str>| view.topic(name).is_none_or(|topic| topic.partitions.is_empty());
        let forgotten: Vec<_> = asked.iter().filter(absent).filter(|name| refresh.forget_absent(name, now)).collect();
        refresh.on_answer(now, open);
        drop(refresh);
        forgotten.into_iter().for_each(|name| self.forget_topic(name));
    }

    /// One refresh: brokers of the view first, in an order that changes, then the bootstrap addresses.
    async fn refresh(&self, topics: Vec<Arc<str>>) {
        let view = self.view();
        let count = view.brokers.len();
        let first = lock(&self.0.entropy).below(count);
        let known = view.brokers.keys().cycle().skip(first).take(count).copied().map(Peer::Broker);
        let bootstrap = (0..self.0.settings.bootstrap.len()).map(Peer::Bootstrap);
        let patience = self.0.net.limits.request_timeout.min(PATIENCE);
        for peer in known.chain(bootstrap) {
            match self.metadata_of(peer, &topics, patience).await {
                Ok(response) => return self.take_over(&response, topics),
                Err(error) => debug!(?peer, %error, "no metadata"),
            }
        }
        warn!("no broker answers; trying again");
        lock(&self.0.refresh).on_failure(self.0.net.now());
    }

    /// What this broker says of these topics. Those that nobody named must not come back to life because they are asked for.
    async fn metadata_of(&self, peer: Peer, topics: &[Arc<str>], patience: Duration) -> Result<MetadataResponse> {
        let creates = self.0.settings.allow_auto_create_topics;
        let (named, watched): (Vec<_>, Vec<_>) = {
            let refresh = lock(&self.0.refresh);
            topics.iter().cloned().partition(|topic| !creates || refresh.may_be_created(topic))
        };
        let mut answer = self.metadata_from(peer, Some(named), patience, true).await?;
        if !watched.is_empty() {
            answer.topics.extend(self.metadata_from(peer, Some(watched), patience, false).await?.topics);
        }
        Ok(answer)
    }
}

/// Refreshes the view whenever the machine says so, until the cluster is dropped.
pub(super) async fn keep_fresh(cluster: Weak<Inner>, wake: Arc<Notify>) {
    loop {
        let Some(inner) = cluster.upgrade() else { return };
        let cluster = Cluster(inner);
        let now = cluster.0.net.now();
        let (topics, deadline) = {
            let mut refresh = lock(&cluster.0.refresh);
            (refresh.next_action(now), refresh.next_deadline())
        };
        if let Some(topics) = topics {
            cluster.refresh(topics).await;
            cluster.0.close_departed();
            continue;
        }
        let wait = deadline.map(|deadline: Time| deadline.saturating_sub(now));
        drop(cluster);
        let sleep = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = sleep => {}
            () = wake.notified() => {}
        }
    }
}
