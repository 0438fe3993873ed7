//! Apache Kafka in the form that was chosen: processes or containers.

use super::Choice;
use crate::real_kafka::{Error, RealKafka, Settings};
#[cfg(feature = "docker")]
use crate::testcontainers_kafka::ContainedKafka;

pub(super) enum Kafka {
    Processes(RealKafka),
    #[cfg(feature = "docker")]
    Containers(ContainedKafka),
}

macro_rules! on_either {
    ($kafka:ident, $method:ident($($argument:expr)?)) => {
        match $kafka {
            Self::Processes(cluster) => cluster.$method($($argument)?).await,
            #[cfg(feature = "docker")]
            Self::Containers(cluster) => cluster.$method($($argument)?).await,
        }
    };
}

impl Kafka {
    pub(super) async fn start(choice: Choice, settings: Settings) -> Result<Self, Error> {
        match choice {
            Choice::Mock => Err("the mock cluster is not Apache Kafka".into()),
            Choice::Real => Ok(Self::Processes(RealKafka::start(settings).await?)),
            #[cfg(feature = "docker")]
            Choice::Testcontainers => Ok(Self::Containers(ContainedKafka::start(settings).await?)),
            #[cfg(not(feature = "docker"))]
            Choice::Testcontainers => {
                Err("MILENA_TEST_CLUSTER=testcontainers needs a feature of the tests: cargo test \
                 -p milena-tests --features docker --test behaviour"
                    .into())
            }
        }
    }

    pub(super) fn bootstrap(&self) -> String {
        match self {
            Self::Processes(cluster) => cluster.bootstrap(),
            #[cfg(feature = "docker")]
            Self::Containers(cluster) => cluster.bootstrap(),
        }
    }

    pub(super) async fn crash(&self, id: i32) -> Result<(), Error> {
        on_either!(self, crash(id))
    }

    pub(super) async fn stop(&self, id: i32) -> Result<(), Error> {
        on_either!(self, stop(id))
    }

    pub(super) async fn restart(&self, id: i32) -> Result<(), Error> {
        on_either!(self, restart(id))
    }

    pub(super) async fn freeze(&self, id: i32) -> Result<(), Error> {
        on_either!(self, freeze(id))
    }

    pub(super) async fn thaw(&self, id: i32) -> Result<(), Error> {
        on_either!(self, thaw(id))
    }

    pub(super) async fn heal(&self) -> Result<(), Error> {
        on_either!(self, heal())
    }
}
