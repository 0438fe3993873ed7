//! Which rule decides about a request, and what became of the rules. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use milena_protocol::ApiKey;
use milena_protocol::frame::RequestHeader;

use super::Fault;
use super::action::{Action, Plan, Then};
use super::falsify::Falsify;
use super::matcher::{Limit, Matcher};
use super::subject::{Incoming, Refusal};
use crate::core::Core;
use crate::random::Random;

/// Each rule draws from a random stream of its own; those below belong to other parts of the cluster.
const FIRST_STREAM: u64 = 1000;

#[derive(Debug)]
pub(crate) struct Rules {
    seed: u64,
    next_id: u64,
    /// In the order in which they were added.
    rules: BTreeMap<u64, Rule>,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    action: Action,
    added: Duration,
    added_at: &'static Location<'static>,
    random: Random,
    matches: u64,
    hits: u64,
}

/// What became of a rule that is removed.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) rule: String,
    pub(crate) hits: u64,
    pub(crate) expected: u64,
}

impl Rules {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next_id: 0, rules: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, now: Duration, fault: Fault, added_at: &'static Location<'static>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let Fault { matcher, action } = fault;
        let random = Random::new(self.seed, FIRST_STREAM + id);
        self.rules.insert(id, Rule { matcher, action, added: now, added_at, random, matches: 0, hits: 0 });
        id
    }

    pub(crate) fn hits(&self, id: u64) -> u64 {
        self.rules.get(&id).map_or(0, |rule| rule.hits)
    }

    pub(crate) fn describe(&self, id: u64) -> String {
        self.rules.get(&id).map(ToString::to_string).unwrap_or_default()
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Verdict> {
        let rule = self.rules.remove(&id)?;
        let expected = match rule.matcher.limit {
            Some(Limit::Times(times)) => times,
            Some(Limit::Always) | None => 1,
        };
        Some(Verdict { rule: rule.to_string(), hits: rule.hits, expected })
    }

    /// Asks the rules in the order in which they were added. The first that fires decides; those behind it do not see the
    /// request.
    pub(crate) fn decide(&mut self, now: Duration, request: &Incoming<'_>, core: &Core) -> Plan {
        for rule in self.rules.values_mut() {
            if rule.is_decided_early() || !rule.matcher.matches(now.saturating_sub(rule.added), request, core) {
                continue;
            }
            // What cannot be answered with an error goes on to the core, which closes the connection if it must.
            let Some(plan) = rule.plan(request, core) else { continue };
            if rule.fires() {
                return plan;
            }
        }
        Plan::PASS
    }

    /// At how many bytes a request is to be cut whose body has not come yet. Asked before [`decide`](Self::decide).
    pub(crate) fn cut_request(&mut self, now: Duration, broker: i32, header: &RequestHeader) -> Option<usize> {
        self.rules.values_mut().find_map(|rule| {
            let Action::CutRequestAt(length) = rule.action else { return None };
            let since_added = now.saturating_sub(rule.added);
            let matches = rule.is_decided_early()
                && rule.matcher.matches_header(since_added, broker, header.api_key, header.client_id.as_deref());
            (matches && rule.fires()).then_some(length)
        })
    }

    /// Whether requests have to be shown to [`cut_request`](Self::cut_request).
    pub(crate) fn cut_requests(&self) -> bool {
        self.rules.values().any(|rule| matches!(rule.action, Action::CutRequestAt(_)))
    }

    /// Whether a new connection is refused.
    pub(crate) fn refuse_connection(&mut self, now: Duration, broker: i32) -> bool {
        self.rules.values_mut().any(|rule| {
            let matches = rule.action == Action::RefuseConnection
                && rule.matcher.matches_connection(now.saturating_sub(rule.added), broker);
            matches && rule.fires()
        })
    }
}

impl Rule {
    /// Whether it has its say before a request has been read.
    fn is_decided_early(&self) -> bool {
        match self.action {
            Action::RefuseConnection => true,
            Action::CutRequestAt(_) => !self.matcher.needs_body(),
            _ => false,
        }
    }

    /// `None` if it is about an error for which the request has no place.
    fn plan(&self, request: &Incoming<'_>, core: &Core) -> Option<Plan> {
        let refuse = |code, records: &[i32], is_applied| {
            let refusal = Refusal { code, records, is_applied };
            request.refuse(&self.matcher.scope, &refusal, core)
        };
        Some(match &self.action {
            Action::Error(code) => return refuse(*code, &[], false),
            Action::ApplyThenError(code) => return refuse(*code, &[], true),
            Action::RecordError(code, records) if request.header.api_key == ApiKey::PRODUCE => {
                return refuse(*code, records, false);
            }
            Action::RecordError(..) | Action::RefuseConnection => return None,
            Action::Delay(hold) => Plan::Apply { hold: *hold, instead: None, then: Then::Answer },
            Action::ApplyThenDelay(time) => Plan::apply(Then::HoldFor(*time)),
            Action::ApplyThenDisconnect => Plan::apply(Then::Close),
            Action::Disconnect | Action::CutRequestAt(_) => Plan::CLOSE,
            Action::NeverAnswer => Plan::Ignore,
            Action::CutResponseAt(length) => Plan::apply(Then::Cut(*length)),
            Action::Trickle(rate) => Plan::apply(Then::Trickle(*rate)),
            Action::FlipBit(bit) => Plan::apply(Then::Falsify(Falsify::Bit(*bit))),
            Action::WrongCorrelationId => Plan::apply(Then::Falsify(Falsify::CorrelationId)),
            Action::Throttle(time) => Plan::apply(Then::Falsify(Falsify::Throttle(*time))),
        })
    }

    /// Counts a match.
    fn fires(&mut self) -> bool {
        self.matches += 1;
        let most = match self.matcher.limit {
            Some(Limit::Times(times)) => times,
            Some(Limit::Always) => u64::MAX,
            None if self.matcher.probability.is_some() || self.matcher.during.is_some() => u64::MAX,
            None => 1,
        };
        let fires = self.hits < most
            && self.matches >= self.matcher.nth.unwrap_or(1)
            && self.matcher.probability.is_none_or(|probability| self.random.chance(probability));
        if fires {
            self.hits += 1;
            tracing::info!(rule = %self, hits = self.hits, "a fault");
        }
        fires
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { matcher, action, added_at, .. } = self;
        match (matcher.api, action) {
            (_, Action::RefuseConnection) => f.write_str("connections")?,
            (Some(api), _) => write!(f, "{api}")?,
            (None, _) => f.write_str("any request")?,
        }
        write!(f, "{matcher}: {action} (added at {added_at})")
    }
}

#[cfg(test)]
mod tests;
