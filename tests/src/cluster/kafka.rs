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
        match self {
            Self::Processes(cluster) => cluster.crash(id).await,
            #[cfg(feature = "docker")]
            Self::Containers(cluster) => cluster.crash(id).await,
        }
    }

    pub(super) async fn restart(&self, id: i32) -> Result<(), Error> {
        match self {
            Self::Processes(cluster) => cluster.restart(id).await,
            #[cfg(feature = "docker")]
            Self::Containers(cluster) => cluster.restart(id).await,
        }
    }
}
