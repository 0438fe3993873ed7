//! Which broker coordinates which group. Pure.

use std::collections::BTreeMap;

/// What FindCoordinator said, until a broker contradicts it.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    groups: BTreeMap<String, i32>,
}

impl Coordinators {
    pub(crate) fn group(&self, group: &str) -> Option<i32> {
        self.groups.get(group).copied()
    }

    pub(crate) fn on_found(&mut self, group: &str, broker: i32) {
        self.groups.insert(group.to_owned(), broker);
    }

    /// `broker` did not answer, or says that it is not the coordinator. A newer finding stays.
    pub(crate) fn on_wrong(&mut self, group: &str, broker: i32) {
        if self.group(group) == Some(broker) {
            self.groups.remove(group);
        }
    }
}
