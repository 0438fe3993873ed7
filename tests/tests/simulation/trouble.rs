//! Brokers that crash, freeze and lose their leadership, from the seed.

use crate::world::World;

/// What happens to brokers: one at a time is down or frozen, and leaders move.
#[derive(Default)]
pub(crate) struct Trouble {
    down: Option<i32>,
    frozen: Option<i32>,
}

impl Trouble {
    pub(crate) fn next(&mut self, world: &mut World) {
        match world.random.below(60) {
            0 => self.crash(world),
            1 => self.restart(world),
            2 if self.frozen.is_none() => {
                let broker = 1 + world.random.below(3) as i32;
                world.cluster.broker(broker).freeze();
                self.frozen = Some(broker);
            }
            3..6 => self.thaw(world),
            6..9 => {
                let partition = world.cluster.partition("orders", world.random.below(6) as i32);
                let in_sync = partition.in_sync_replicas();
                let next = in_sync[world.random.below(in_sync.len() as u64) as usize];
                if Some(next) != partition.leader() {
                    partition.elect(next);
                }
            }
            _ => {}
        }
    }

    fn crash(&mut self, world: &mut World) {
        let broker = 1 + world.random.below(3) as i32;
        if self.down.is_none() {
            world.cluster.broker(broker).crash();
            self.down = Some(broker);
            self.frozen = self.frozen.filter(|frozen| *frozen != broker);
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

    pub(crate) fn end(mut self, world: &World) {
        self.thaw(world);
        self.restart(world);
    }
}
