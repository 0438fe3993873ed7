//! The strategies that a consumer offers to its group, by their names. Pure.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::range::Range;
use super::round_robin::RoundRobin;
use super::sticky::{CooperativeSticky, Sticky};
use super::{Assignor, RebalanceProtocol};
use crate::error::{Error, ErrorKind, Result};

/// The longest name that fits into a request.
const LONGEST_NAME: usize = i16::MAX as usize;

/// What Kafka's own settings call the assignors, beside their names.
const JAVA_NAMES: [(&str, &str); 4] = [
    ("org.apache.kafka.clients.consumer.RangeAssignor", "range"),
    ("org.apache.kafka.clients.consumer.RoundRobinAssignor", "roundrobin"),
    ("org.apache.kafka.clients.consumer.StickyAssignor", "sticky"),
    ("org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "cooperative-sticky"),
];

/// An assignor under the name that it had when the consumer was built.
#[derive(Clone)]
pub(crate) struct Strategy {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: RebalanceProtocol,
    pub(crate) assignor: Arc<dyn Assignor>,
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Strategy").field(&self.name).finish()
    }
}

/// The assignors with these names, among Kafka's and those that the application registered.
///
/// # Errors
/// `Config` if a name is not known, is there twice or is no name, or if there is none.
pub(crate) fn choose<S: AsRef<str>>(names: &[S], registered: &[Arc<dyn Assignor>]) -> Result<Vec<Strategy>> {
    let refuse = |text: String| Err(Error::new(ErrorKind::Config, text));
    let built_in: [Arc<dyn Assignor>; 4] =
        [Arc::new(Range), Arc::new(RoundRobin), Arc::new(Sticky), Arc::new(CooperativeSticky)];
    let mut known: BTreeMap<Arc<str>, Arc<dyn Assignor>> = BTreeMap::new();
    for assignor in built_in.iter().chain(registered) {
        let name: Arc<str> = assignor.name().into();
        if name.is_empty() || name.len() > LONGEST_NAME {
            return refuse(format!(
                "the name of an assignor must have 1 to {LONGEST_NAME} bytes: one has {}",
                name.len()
            ));
        }
        if known.insert(name.clone(), assignor.clone()).is_some() {
            return refuse(format!("two assignors are called {name:?}: give the registered one another name"));
        }
    }
    let mut chosen: Vec<Strategy> = Vec::new();
    for name in names {
        let name = name.as_ref();
        let name = JAVA_NAMES.iter().find(|(java, _)| *java == name).map_or(name, |(_, short)| *short);
        let Some((name, assignor)) = known.get_key_value(name) else {
            let list: Vec<_> = known.keys().map(|name| format!("{name:?}")).collect();
            return refuse(format!(
                "partition.assignment.strategy names {name:?}, which is not known: known are {}; others must be registered",
                list.join(", ")
            ));
        };
        if chosen.iter().any(|strategy| strategy.name == *name) {
            return refuse(format!("partition.assignment.strategy names {name:?} twice"));
        }
        chosen.push(Strategy { name: name.clone(), protocol: assignor.protocol(), assignor: assignor.clone() });
    }
    if chosen.is_empty() {
        return refuse("partition.assignment.strategy is empty: name at least one assignor".to_owned());
    }
    Ok(chosen)
}

/// What a member does that offers these strategies: it keeps its partitions only if it may with each, since it does not know
/// which one the group will use.
pub(crate) fn common_protocol(strategies: &[Strategy]) -> RebalanceProtocol {
    match strategies.iter().all(|strategy| strategy.protocol == RebalanceProtocol::Cooperative) {
        true => RebalanceProtocol::Cooperative,
        false => RebalanceProtocol::Eager,
    }
}

/// Calls code of the application; a panic becomes its text.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panic_text(&*panic))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// What the tests of assignors share.
#[cfg(test)]
pub(crate) mod fixture {
    use super::super::{Member, Topics};
    use super::*;

    pub(crate) fn names<const N: usize>(names: [&str; N]) -> Vec<Arc<str>> {
        names.map(Arc::from).to_vec()
    }

    /// A dynamic member that tells nothing but its topics.
    pub(crate) fn member<'a>(id: &'a str, topics: &'a [Arc<str>]) -> Member<'a> {
        Member { id, instance_id: None, rack: None, topics, owned: &[], generation: None, user_data: &[] }
    }

    /// What each member gets, as words.
    pub(crate) fn shares(assignor: &dyn Assignor, members: &[Member<'_>], topics: &Topics) -> Vec<String> {
        let assignments = assignor.assign(members, topics).unwrap();
        let share = |member| {
            let partitions = assignments.partitions(member).iter();
            partitions.map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        (0..members.len()).map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Assignments, AssignorError, Member, Topics};
    use super::*;

    struct Named(&'static str);

    impl Assignor for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn assign(&self, _: &[Member<'_>], _: &Topics) -> Result<Assignments, AssignorError> {
            Err("never".into())
        }
    }

    fn chosen(names: &[&str], registered: &[Arc<dyn Assignor>]) -> Result<Vec<String>, String> {
        let chosen = choose(names, registered).map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::Config);
            error.to_string()
        })?;
        Ok(chosen.iter().map(|strategy| strategy.name.to_string()).collect())
    }

    #[test]
    fn assignors_are_found_by_kafkas_names_and_by_their_own() {
        let registered: [Arc<dyn Assignor>; 1] = [Arc::new(Named("by-rack"))];

        assert_eq!(chosen(&["by-rack", "roundrobin"], &registered).unwrap(), ["by-rack", "roundrobin"]);
        assert_eq!(chosen(&["org.apache.kafka.clients.consumer.RangeAssignor"], &[]).unwrap(), ["range"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let registered: [Arc<dyn Assignor>; 1] = [Arc::new(Named("by-rack"))];
        let text = chosen(&["stikcy"], &registered).unwrap_err();

        assert!(
            text.contains("\"stikcy\"")
                && text.contains("\"by-rack\", \"cooperative-sticky\", \"range\", \"roundrobin\", \"sticky\""),
            "{text}"
        );
    }

    #[test]
    fn names_that_say_nothing_or_two_things_are_refused() {
        assert!(chosen(&[], &[]).unwrap_err().contains("empty"));
        assert!(chosen(&["range", "range"], &[]).unwrap_err().contains("twice"));
        assert!(chosen(&["range"], &[Arc::new(Named("range"))]).unwrap_err().contains("two assignors"));
        assert!(chosen(&["range"], &[Arc::new(Named(""))]).unwrap_err().contains("1 to"));
    }
}
