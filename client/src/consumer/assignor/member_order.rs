//! In which order members get their share: static members by their names, then the others by their ids. Pure.

use std::cmp::Ordering;

use super::Member;

/// The places of the members in `members`, in Kafka's order. It does not depend on the order of joining, and a static member
/// keeps its place when it is started anew.
pub(super) fn ordered(members: &[Member<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|left, right| match (members.get(*left), members.get(*right)) {
        (Some(left), Some(right)) => compare(left, right),
        (_, None) | (None, _) => Ordering::Equal,
    });
    order
}

fn compare(left: &Member<'_>, right: &Member<'_>) -> Ordering {
    match (left.instance_id, right.instance_id) {
        (Some(left), Some(right)) => as_java(left, right),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => as_java(left.id, right.id),
    }
}

/// Java compares UTF-16, where characters beyond U+FFFF come before some others.
fn as_java(left: &str, right: &str) -> Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

#[cfg(test)]
mod tests {
    use super::super::strategies::fixture::member;
    use super::*;

    fn order(members: &[Member<'_>]) -> Vec<String> {
        ordered(members).into_iter().map(|place| members[place].id.to_owned()).collect()
    }

    #[test]
    fn member_info_sorting_without_group_instance_id() {
        let ids = ["b", "\u{10000}", "\u{ffff}", "a"];
        let members: Vec<_> = ids.iter().map(|id| member(id, &[])).collect();

        assert_eq!(order(&members), ["a", "b", "\u{10000}", "\u{ffff}"]);
    }

    fn named<'a>(id: &'a str, instance_id: Option<&'a str>) -> Member<'a> {
        Member { instance_id, ..member(id, &[]) }
    }

    #[test]
    fn member_info_sorting_with_all_group_instance_id() {
        assert_eq!(
            order(&[named("a", Some("2")), named("c", Some("\u{ffff}")), named("b", Some("1"))]),
            ["b", "a", "c"]
        );
    }

    #[test]
    fn member_info_sorting_with_some_group_instance_id() {
        assert_eq!(order(&[named("a", None), named("c", None), named("b", Some("z"))]), ["b", "a", "c"]);
    }

    #[test]
    fn merge_sort_many_member_info() {
        let ids: Vec<String> = (0..64).map(|number| format!("{:02}", number * 37 % 64)).collect();
        let members = ids.iter().map(|id| named(id, Some(&**id).filter(|id| **id < *"40")));
        let mut expected = ids.clone();
        expected.sort();

        assert_eq!(order(&members.collect::<Vec<_>>()), expected);
    }
}
