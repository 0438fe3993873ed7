//! Which topics a member reads: named, or found by a pattern, and watched. IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use milena_protocol::ErrorCode;
use tracing::{debug, info, warn};

use super::listening::{Call, Told};
use super::{Event, GroupMember};
use crate::clock::Time;
use crate::cluster::metadata::Listed;
use crate::cluster::metadata_refresh::Keep;
use crate::consumer::rebalance::RebalanceReason;
use crate::consumer::subscription::{Picked, Subscription, TopicSearch};
use crate::error::{Error, ErrorKind, Result};

impl GroupMember {
    pub(super) fn subscribe(&mut self, subscription: Subscription, now: Time) {
        self.search = None;
        match subscription {
            Subscription::Topics(topics) => {
                if let Some(sight) = &mut self.first_sight {
                    sight.retain(|topic| topics.contains(topic));
                }
                self.set_topics(topics, now);
            }
            Subscription::Pattern(pattern) => {
                self.search = Some(TopicSearch::new(pattern, self.shared.cluster.metadata_max_age()));
            }
        }
    }

    fn set_topics(&mut self, topics: BTreeSet<Arc<str>>, now: Time) {
        self.topics.clone_from(&topics);
        self.keep_topics();
        self.membership.subscribe(topics, now);
    }

    /// Keeps in view what this member reads, and as the leader what the others do, and nothing else.
    pub(super) fn keep_topics(&mut self) {
        let keep = |topic: &Arc<str>| match self.search.is_none() && self.topics.contains(topic) {
            true => Keep::Named,
            false => Keep::Watched,
        };
        let wanted: BTreeMap<_, _> = self.topics.union(&self.led).map(|topic| (topic.clone(), keep(topic))).collect();
        // Those that stay are not released in between.
        for (topic, keep) in &wanted {
            if self.kept.get(topic).is_none_or(|kept| kept.keep != *keep) {
                self.kept.insert(topic.clone(), self.shared.cluster.keep_topic(topic, *keep));
            }
        }
        self.kept.retain(|topic, _| wanted.contains_key(topic));
    }

    pub(super) fn search_topics(&mut self, now: Time) {
        if self.search.as_mut().is_some_and(|search| search.begin(now)) {
            let cluster = self.shared.cluster.clone();
            self.reply(async move { Event::Listed(cluster.list_topics().await) });
        }
    }

    pub(super) fn on_listed(&mut self, topics: Result<Vec<Listed>>, now: Time) {
        // One for an older pattern tells as much.
        let Some(search) = &mut self.search else { return };
        match topics {
            Ok(topics) => {
                let Picked { topics: picked, appeared } = search.on_answer(&topics, now);
                if let Some(sight) = &mut self.first_sight {
                    // What is missing only once may be back.
                    sight.retain(|topic| picked.contains(topic) || self.topics.contains(topic));
                    sight.appeared(appeared);
                }
                if picked.is_empty() || picked != self.topics {
                    info!(group = %self.group, topics = ?picked, "topics that fit the pattern");
                    self.set_topics(picked, now);
                }
            }
            Err(error) => {
                debug!(group = %self.group, %error, "topics were not listed");
                search.on_no_answer(now, |failures| self.shared.cluster.retry_delay(failures));
            }
        }
    }

    /// The metadata changed.
    pub(crate) fn on_view(&mut self, now: Time) {
        let view = self.shared.cluster.view();
        for name in &self.topics {
            let Some(topic) = view.topic(name) else { continue };
            match topic.error {
                ErrorCode::NONE => {
                    self.refused.remove(name);
                    self.shared.lock().assignment.on_known_topic(name);
                }
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                    self.shared.lock().assignment.on_unknown_topic(name);
                    if let Some(search) = &mut self.search {
                        search.hurry(now);
                    }
                }
                code if !code.is_retriable() && self.refused.insert(name.clone()) => {
                    let text = format!("topic \"{name}\" cannot be read: {code}");
                    self.shared.report(Error::new(ErrorKind::Broker, text).with_code(code));
                }
                _ => {}
            }
        }
        if let Some(sight) = &mut self.first_sight {
            sight.count(&self.topics, &view);
        }
        self.membership.on_view(&view, now);
    }

    /// Tells the listener of topics that were created anew: what it had of the old ones is gone, and the new ones begin. Whether
    /// there is something to tell.
    pub(crate) fn tell_recreated(&mut self, now: Time) -> bool {
        let partitions = self.shared.lock().assignment.take_recreated(self.listening.is_there());
        if partitions.is_empty() {
            return false;
        }
        warn!(group = %self.group, "the topics of {} partitions were created anew", partitions.len());
        let deadline = now.saturating_add(self.shared.settings.max_poll_interval);
        for told in [Told::Lost, Told::Assigned] {
            let partitions = partitions.clone();
            self.listening.call(Call { told, partitions, reason: RebalanceReason::TopicRecreated, deadline });
        }
        true
    }
}
