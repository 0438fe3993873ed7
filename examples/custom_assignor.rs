//! A strategy of your own to divide partitions: members say how strong they are, and get as much as they can carry. IO.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use bytes::Bytes;
use milena::{Assignments, Assignor, AssignorError, Client, Member, Owned, TopicPartition, Topics};
use milena_mock_broker::MockCluster;

struct ByWeight {
    weight: u8,
}

impl Assignor for ByWeight {
    // All members of the group need it under the same name, so change the name if you change what they tell each other.
    fn name(&self) -> &str {
        "by-weight"
    }

    // Every member sends this to the leader of the group …
    fn user_data(&self, _owned: &Owned<'_>) -> Bytes {
        vec![self.weight].into()
    }

    // … which divides the partitions for all of them: each goes to the member that is least loaded for its weight.
    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        let weights = members.iter().map(|member| match member.user_data {
            [weight] if *weight > 0 => Ok(u32::from(*weight)),
            other => Err(format!("member {} has no weight: {other:?}", member.id)),
        });
        let weights = weights.collect::<Result<Vec<_>, _>>()?;
        let (mut assignments, mut loads) = (Assignments::new(members), vec![0; members.len()]);
        for topic in topics.names() {
            for partition in 0..topics.partitions(topic).unwrap_or(0) {
                let subscribed = (0..members.len()).filter(|member| members[*member].topics.contains(topic));
                // After one more, a member's load is (load + 1) / weight; multiplied out, as u32 has no fractions.
                let lighter =
                    |a: &usize, b: &usize| u32::cmp(&((loads[*a] + 1) * weights[*b]), &((loads[*b] + 1) * weights[*a]));
                let Some(member) = subscribed.min_by(lighter) else { continue };
                loads[member] += 1;
                assignments.give(member, TopicPartition::new(topic.clone(), partition));
            }
        }
        Ok(assignments)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = MockCluster::builder().topic("orders", 6).start().await?;
    let client = Client::connect(&cluster.bootstrap()).await?;
    let member = |weight| {
        let consumer = client.consumer("billing").subscribe(["orders"]).register_assignor(ByWeight { weight });
        consumer.assignors(["by-weight"]).heartbeat_interval(std::time::Duration::from_millis(100)).build()
    };
    let (small, large) = (member(1).await?, member(2).await?);
    let shares = || [&small, &large].map(|consumer| consumer.control().assignment());
    cluster.until("a share for each member", |_| shares().iter().all(|share| !share.is_empty())).await;
    for (weight, share) in [1, 2].into_iter().zip(shares()) {
        let numbers: Vec<_> = share.iter().map(TopicPartition::partition).collect();
        println!("weight {weight}: partitions {numbers:?}");
    }
    Ok(())
}
