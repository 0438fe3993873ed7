//! Brokers that crash, freeze, are cut off and lose their leadership, from the seed.

use std::collections::BTreeSet;

use milena_mock_broker::Direction;

use crate::world::World;

/// What happens to brokers: one at a time is down, one frozen, one cut off from the others, one cut off from clients in one direction,
/// and leaders move. Clients reach at least one of the three.
#[derive(Default)]
pub(crate) struct Trouble {
    down: Option<i32>,
    frozen: Option<i32>,
    isolated: Option<i32>,
    spares_coordinators: bool,
    cut: Option<(i32, Direction)>,
}

impl Trouble {
    /// Without cutting brokers off from the others: a coordinator that is cut off goes on telling its members that all is well,
    /// while its successor gives their partitions to others. Kafka has nothing against that.
    pub(crate) fn of_groups() -> Self {
        Self { spares_coordinators: true, ..Self::default() }
    }

    pub(crate) fn next(&mut self, world: &mut World) {
        match world.random.below(60) {
            0 => self.crash(world),
            1 => self.restart(world),
            2 if self.frozen.is_none() => {
                if let Some(broker) = self.pick(world) {
                    world.cluster.broker(broker).freeze();
                    self.frozen = Some(broker);
                }
            }
            3..6 => self.thaw(world),
            9 if self.isolated.is_none() && !self.spares_coordinators => {
                let broker = 1 + world.random.below(3) as i32;
                world.cluster.broker(broker).isolate();
                self.isolated = Some(broker);
            }
            10..12 => self.rejoin(world),
            12 if self.cut.is_none() => {
                let direction = [Direction::ToBroker, Direction::ToClient][world.random.below(2) as usize];
                if let Some(broker) = self.pick(world) {
                    world.cluster.broker(broker).cut(direction);
                    self.cut = Some((broker, direction));
                }
            }
            13..17 => self.mend(world),
            6..9 => {
                let partition = world.cluster.partition("orders", world.random.below(6) as i32);
                let in_sync = partition.in_sync_replicas();
                let next = in_sync[world.random.below(in_sync.len() as u64) as usize];
                // Without a leader the last one in sync is not there.
                if partition.leader().is_some_and(|leader| leader != next) {
                    partition.elect(next);
                }
            }
            _ => {}
        }
    }

    /// A broker that clients can do without.
    fn pick(&self, world: &mut World) -> Option<i32> {
        let broker = 1 + world.random.below(3) as i32;
        let cut = self.cut.map(|(broker, _)| broker);
        let out_of_reach: BTreeSet<i32> = [self.down, self.frozen, cut, Some(broker)].into_iter().flatten().collect();
        (out_of_reach.len() < 3).then_some(broker)
    }

    fn crash(&mut self, world: &mut World) {
        let picked = self.pick(world);
        if self.down.is_none()
            && let Some(broker) = picked
        {
            world.cluster.broker(broker).crash();
            self.down = Some(broker);
            self.frozen = self.frozen.filter(|frozen| *frozen != broker);
            self.isolated = self.isolated.filter(|isolated| *isolated != broker);
        }
    }

    fn restart(&mut self, world: &World) {
        if let Some(broker) = self.down.take() {
            world.cluster.broker(broker).restart();
        }
    }

    fn thaw(&mut self, world: &World) {
        if let Some(broker) = self.frozen.take() {
            world.cluster.broker(broker).thaw();
        }
    }

    fn rejoin(&mut self, world: &World) {
        if let Some(broker) = self.isolated.take() {
            world.cluster.broker(broker).rejoin();
        }
    }

    fn mend(&mut self, world: &World) {
        if let Some((broker, direction)) = self.cut.take() {
            world.cluster.broker(broker).mend(direction);
        }
    }

    pub(crate) fn end(mut self, world: &World) {
        self.mend(world);
        self.rejoin(world);
        self.thaw(world);
        self.restart(world);
    }
}
