//! A real three-broker Apache Kafka in containers: for a machine with a container engine and no Java.
//!
//! The brokers share a network of their own and each publishes one port on this machine's loopback, chosen before it
//! starts, because a broker tells its clients where to find it. Nothing outlives the process that started it: what the
//! containers' destructors leave, the command `docker` removes when a pipe from that process closes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use testcontainers::bollard::models::HostConfig;
use testcontainers::core::ContainerPort;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use crate::real_kafka::{Error, Settings, blocking, ports, probe, random_uuid, shell};

/// Without `MILENA_TEST_KAFKA_IMAGE`.
const DEFAULT_IMAGE: &str = "apache/kafka:4.4.0";

/// How long a broker may take to serve; three that start together need about 10 s on two idle cores.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Where a broker listens in its container for its peers, for the quorum, and for what comes through the published port.
const PEERS: u16 = 9092;
const QUORUM: u16 = 9093;
const CLIENTS: ContainerPort = ContainerPort::Tcp(19092);

/// Carries the name of the run, for the removal at the end.
const LABEL: &str = "milena-tests";

/// A running three-broker cluster with the broker ids 1, 2 and 3 on the racks `r1`, `r2` and `r3`, one container each.
///
/// Dropping it, on a tokio runtime, removes the containers and their network.
#[derive(Debug)]
pub struct ContainedKafka {
    brokers: Vec<Broker>,
}

#[derive(Debug)]
struct Broker {
    id: i32,
    port: u16,
    container: ContainerAsync<GenericImage>,
}

impl ContainedKafka {
    /// Starts three containers of `MILENA_TEST_KAFKA_IMAGE` (default: the public `apache/kafka:4.4.0`), which the engine
    /// pulls if it does not have it, and returns when each broker serves and sees the others.
    ///
    /// # Errors
    /// No container engine answers, it cannot get the image, or a broker did not come up; the error then ends with the
    /// last lines of its log.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let (name, tag) = image(std::env::var("MILENA_TEST_KAFKA_IMAGE").ok().as_deref())?;
        engine_answers().await?;
        let run = remove_all_when_this_process_ends()?;

        static COUNT: AtomicU32 = AtomicU32::new(1);
        let network = format!("{run}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let ports = ports::choose(settings.first_port)?;
        let cluster_id = random_uuid()?;
        let mut brokers = Vec::new();
        for id in 1..=3 {
            let port = ports.client(id);
            let mut request = GenericImage::new(&name, &tag)
                .with_container_name(host(&network, id))
                .with_network(&network)
                .with_label(LABEL, run)
                .with_mapped_port(port, CLIENTS)
                .with_host_config_modifier(on_loopback)
                .with_env_var("CLUSTER_ID", &cluster_id)
                .with_env_var("KAFKA_HEAP_OPTS", "-Xmx320m")
                .with_env_var("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
                // A restarted container may have another address; Java would believe in the old one for 30 s.
                .with_env_var("KAFKA_OPTS", "-Dsun.net.inetaddr.ttl=1");
            let own = properties(&network, id, port);
            for (name, value) in own.iter().chain(&settings.properties) {
                request = request.with_env_var(variable(name), value);
            }
            let container = request.start().await.map_err(|error| {
                format!(
                    "start {name}:{tag}: {error}; MILENA_TEST_KAFKA_IMAGE names another image, and \
                         tests/docker/build-image.sh builds one without a registry"
                )
            })?;
            brokers.push(Broker { id, port, container });
        }
        for broker in &brokers {
            broker.until_it_serves(3).await?;
        }
        Ok(Self { brokers })
    }

    /// The addresses of all three brokers as `host:port,host:port,host:port`, whether they run or not.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.brokers.iter().map(|broker| broker.address().to_string()).collect();
        addresses.join(",")
    }

    /// Kills a broker with `docker kill` and returns when it is gone. Does nothing if it is down already.
    ///
    /// # Errors
    /// There is no such broker, or the engine refused.
    pub async fn crash(&self, id: i32) -> Result<(), Error> {
        let container = &self.broker(id)?.container;
        if container.is_running().await? {
            docker_client_instance().await?.kill_container(container.id(), None).await?;
        }
        while container.is_running().await? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Shuts a broker down cleanly with `docker stop` and returns when it is gone.
    ///
    /// # Errors
    /// There is no such broker, or the engine refused.
    pub async fn stop(&self, id: i32) -> Result<(), Error> {
        Ok(self.broker(id)?.container.stop_with_timeout(Some(60)).await?)
    }

    /// Starts a broker that was crashed or stopped, on its old data and port, and returns when it serves and sees every broker that
    /// runs. Its replicas may still be catching up. Does nothing if it runs already.
    ///
    /// # Errors
    /// There is no such broker, or it did not come up.
    pub async fn restart(&self, id: i32) -> Result<(), Error> {
        let broker = self.broker(id)?;
        broker.container.start().await?;
        let mut running = 0;
        for broker in &self.brokers {
            running += usize::from(broker.container.is_running().await?);
        }
        broker.until_it_serves(running).await
    }

    /// Stops a broker in its tracks with `docker pause`: its sockets stay open and nobody answers.
    ///
    /// # Errors
    /// There is no such broker, or the engine refused.
    pub async fn freeze(&self, id: i32) -> Result<(), Error> {
        let container = &self.broker(id)?.container;
        Ok(docker_client_instance().await?.pause_container(container.id()).await?)
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// There is no such broker, or the engine refused.
    pub async fn thaw(&self, id: i32) -> Result<(), Error> {
        let container = &self.broker(id)?.container;
        Ok(docker_client_instance().await?.unpause_container(container.id()).await?)
    }

    /// Lets every broker run again: thaws the frozen ones, starts those that are down, and returns when each serves and sees
    /// the others.
    ///
    /// # Errors
    /// A broker did not come up.
    pub async fn heal(&self) -> Result<(), Error> {
        let engine = docker_client_instance().await?;
        for Broker { container, .. } in &self.brokers {
            let state = engine.inspect_container(container.id(), None).await?.state;
            if state.as_ref().and_then(|state| state.paused) == Some(true) {
                engine.unpause_container(container.id()).await?;
            } else if !container.is_running().await? {
                container.start().await?;
            }
        }
        for broker in &self.brokers {
            broker.until_it_serves(self.brokers.len()).await?;
        }
        Ok(())
    }

    fn broker(&self, id: i32) -> Result<&Broker, Error> {
        let broker = self.brokers.iter().find(|broker| broker.id == id);
        broker.ok_or_else(|| format!("there is no broker {id}: the cluster has the brokers 1, 2 and 3").into())
    }
}

impl Broker {
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Waits until the broker answers a Metadata request that lists this many brokers, itself among them.
    async fn until_it_serves(&self, brokers: usize) -> Result<(), Error> {
        let (started, address) = (Instant::now(), self.address());
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let trouble = loop {
            ticks.tick().await;
            let saw = match blocking(move || Ok(probe::brokers(address)?)).await {
                Ok(ids) if ids.len() >= brokers && ids.contains(&self.id) => return Ok(()),
                Ok(ids) => format!("it lists the brokers {ids:?}"),
                Err(error) => error.to_string(),
            };
            if let Some(code) = self.container.exit_code().await? {
                break format!("the container ended with code {code}");
            }
            if started.elapsed() >= READY_WITHIN {
                break format!("not ready after {} s, {saw}", READY_WITHIN.as_secs());
            }
        };
        Err(format!("start broker {} on port {}: {trouble}{}", self.id, self.port, self.end_of_log().await).into())
    }

    async fn end_of_log(&self) -> String {
        let mut log = self.container.stdout_to_vec().await.unwrap_or_else(|error| error.to_string().into());
        log.extend(self.container.stderr_to_vec().await.unwrap_or_else(|error| error.to_string().into()));
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        format!("; the last lines of its log:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
    }
}

/// An image and its tag. A name with a digest is split in front of the digest's last part, which the engine does not mind.
fn image(chosen: Option<&str>) -> Result<(String, String), Error> {
    let image = chosen.filter(|image| !image.is_empty()).unwrap_or(DEFAULT_IMAGE);
    match image.rsplit_once(':') {
        Some((name, tag)) if !name.is_empty() && !tag.is_empty() && !tag.contains('/') => {
            Ok((name.to_owned(), tag.to_owned()))
        }
        Some(_) | None => {
            Err(format!("MILENA_TEST_KAFKA_IMAGE={image} has no tag: name one, such as {DEFAULT_IMAGE}").into())
        }
    }
}

async fn engine_answers() -> Result<(), Error> {
    let trouble = match docker_client_instance().await {
        Ok(engine) => match engine.ping().await {
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let address = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "/var/run/docker.sock".to_owned());
    Err(format!(
        "no container engine answers at {address} (DOCKER_HOST): {trouble}; start Docker, or use MILENA_TEST_CLUSTER=real, \
         which needs none"
    )
    .into())
}

/// Starts, once, the process that removes what is left of this run when this process is gone; returns the run's name.
fn remove_all_when_this_process_ends() -> Result<&'static str, Error> {
    const REMOVE: &str = r#"
        cat >/dev/null                # ends when the other side closes, however it ends
        containers=$(docker ps -aq --filter "label=$1=$2")
        [ -z "$containers" ] || docker rm -fv $containers
        networks=$(docker network ls -q --filter "name=^$2-")
        [ -z "$networks" ] || docker network rm $networks"#;
    // The child holds the pipe; as nothing drops a static, the pipe closes with the process.
    static RUN: OnceLock<(String, Result<Child, String>)> = OnceLock::new();
    let (name, janitor) = RUN.get_or_init(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!("milena-{}-{:x}", std::process::id(), now.as_micros());
        let missing = |error| {
            format!("run `docker`, which removes the containers at the end: {error}; install Docker's command line")
        };
        let janitor = Command::new("docker")
            .arg("--version")
            .output()
            .and_then(|_| shell(REMOVE).args([LABEL, &name]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn());
        (name, janitor.map_err(missing))
    });
    match janitor {
        Ok(_) => Ok(name),
        Err(error) => Err(error.clone().into()),
    }
}

/// What a broker is called on its network.
fn host(network: &str, id: i32) -> String {
    format!("{network}-{id}")
}

/// Publishes the ports on this machine alone.
fn on_loopback(config: &mut HostConfig) {
    let ports = config.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
    for binding in ports.flatten().flatten() {
        binding.host_ip = Some(Ipv4Addr::LOCALHOST.to_string());
    }
}

/// The properties of one broker, which is a controller too, so that the quorum survives one crash.
fn properties(network: &str, id: i32, port: u16) -> Vec<(String, String)> {
    let clients = CLIENTS.as_u16();
    let voters: Vec<_> = (1..=3).map(|id| format!("{id}@{}:{QUORUM}", host(network, id))).collect();
    let own = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", id.to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("listeners", format!("CLIENTS://0.0.0.0:{clients},PEERS://0.0.0.0:{PEERS},QUORUM://0.0.0.0:{QUORUM}")),
        ("advertised.listeners", format!("CLIENTS://127.0.0.1:{port},PEERS://{}:{PEERS}", host(network, id))),
        ("listener.security.protocol.map", "CLIENTS:PLAINTEXT,PEERS:PLAINTEXT,QUORUM:PLAINTEXT".to_owned()),
        ("inter.broker.listener.name", "PEERS".to_owned()),
        ("controller.listener.names", "QUORUM".to_owned()),
        ("log.dirs", "/tmp/kafka-data".to_owned()),
        ("broker.rack", format!("r{id}")),
    ];
    let shared = ports::SHARED.iter().map(|(name, value)| (*name, (*value).to_owned()));
    own.into_iter().chain(shared).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How the image wants a property named in its environment.
fn variable(property: &str) -> String {
    let mut name = String::from("KAFKA_");
    for character in property.chars() {
        match character {
            '.' => name.push('_'),
            '_' => name.push_str("__"),
            '-' => name.push_str("___"),
            other => name.push(other.to_ascii_uppercase()),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{image, variable};

    #[test]
    fn an_image_needs_a_tag() {
        let split = |name: &str, tag: &str| (name.to_owned(), tag.to_owned());
        assert_eq!(image(None).unwrap(), split("apache/kafka", "4.4.0"));
        assert_eq!(image(Some("")).unwrap(), split("apache/kafka", "4.4.0"));
        assert_eq!(image(Some("host:5000/kafka:1")).unwrap(), split("host:5000/kafka", "1"));
        assert_eq!(image(Some("kafka@sha256:0a")).unwrap(), split("kafka@sha256", "0a"));
        for bad in ["kafka", "host:5000/kafka", "kafka:", ":1"] {
            assert!(image(Some(bad)).unwrap_err().to_string().contains("has no tag"), "{bad}");
        }
    }

    #[test]
    fn a_property_becomes_a_variable() {
        assert_eq!(variable("min.insync.replicas"), "KAFKA_MIN_INSYNC_REPLICAS");
        assert_eq!(variable("a-b_c.d"), "KAFKA_A___B__C_D");
    }
}
