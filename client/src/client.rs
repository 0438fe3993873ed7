//! The client: finds the cluster, and makes producers and consumers. IO.

use std::sync::Arc;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::api::Request;
use milena_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use milena_protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::clock::system::SystemClock;
use crate::cluster::{Cluster, ClusterSettings, UNKNOWN_TOPIC};
use crate::config::{Config, client_setters};
use crate::consumer::{ConsumerBuilder, GroupChoice};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result, Written};
use crate::net::request_queue::Response;
use crate::net::transport::{Connector, TcpConnector};
use crate::net::{Limits, Net};
use crate::producer::ProducerBuilder;
use crate::runtime::{Runtime, TokioRuntime};
use crate::topic_partition::TopicPartition;

/// A connection to one Kafka cluster: its metadata and the connections that everything made from it shares.
///
/// Clones are cheap and mean the same client. Producers and consumers keep it alive; when the last of them and the last clone
/// are dropped, its tasks end.
///
/// ```no_run
/// # async fn example() -> milena::Result<()> {
/// let client = milena::Client::connect("localhost:9092").await?;
/// let producer = client.producer().build().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    cluster: Cluster,
    config: Arc<Config>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the cluster that these brokers belong to: `host:port`, several separated by commas.
    ///
    /// # Errors
    /// `Config` if the list cannot be read; `Transport` if none of the addresses answers within 10 s, or `Protocol` if one of
    /// them is something else than a Kafka broker. The error names each address and what went wrong with it.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt and leaves nothing behind.
    pub async fn connect(bootstrap: &str) -> Result<Client> {
        let config = Config::default().set("bootstrap.servers", bootstrap)?;
        Self::builder().config(config).connect().await
    }

    /// Settings first, then [`ClientBuilder::connect`].
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            config: Config::default(),
            connector: Box::new(TcpConnector),
            clock: None,
            runtime: None,
            entropy: Entropy::from_system(),
        }
    }

    /// A producer, with this client's settings until others are said.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), Config::clone(&self.config))
    }

    /// A consumer that belongs to this group. If the configuration has a `group.id`, it must be the same.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        self.consumer_of(GroupChoice::Named(group.into()))
    }

    /// A consumer that belongs to the group that the configuration names, `group.id` of this client's or of
    /// [`ConsumerBuilder::config`](crate::ConsumerBuilder::config).
    ///
    /// ```no_run
    /// # async fn example() -> milena::Result<()> {
    /// let config = milena::Config::parse_properties("bootstrap.servers=localhost:9092\ngroup.id=billing")?;
    /// let client = milena::Client::builder().config(config).connect().await?;
    /// let consumer = client.consumer_from_config().subscribe(["orders"]).build().await?;
    /// # Ok(()) }
    /// ```
    pub fn consumer_from_config(&self) -> ConsumerBuilder {
        self.consumer_of(GroupChoice::Configured)
    }

    /// A consumer without a group: it reads the partitions it is told to, and commits nothing. A `group.id` in the configuration is
    /// not used.
    pub fn reader(&self) -> ConsumerBuilder {
        self.consumer_of(GroupChoice::None)
    }

    fn consumer_of(&self, group: GroupChoice) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), Config::clone(&self.config), group)
    }

    /// Creates a topic and waits until every broker has it. −1 partitions or replicas are the broker's default.
    ///
    /// # Errors
    /// `Broker` with `TOPIC_ALREADY_EXISTS`, `INVALID_TOPIC_EXCEPTION` and what else a broker may say; `TimedOut` if it was not
    /// done within `default.api.timeout.ms`. The topic may exist all the same after a `TimedOut`.
    ///
    /// # Cancel safety
    /// The topic may or may not be created.
    pub async fn create_topic(&self, name: &str, partitions: i32, replication_factor: i16) -> Result<()> {
        let doing = format!("creating topic \"{name}\"");
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor,
            ..Default::default()
        };
        let timeout_ms = i32::try_from(self.cluster.net().limits.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let response = self
            .administer::<CreateTopicsRequest>(
                &doing,
                move |_| CreateTopicsRequest { topics: vec![topic.clone()], timeout_ms, ..Default::default() },
                |response| response.topics.first().map(|topic| (topic.error_code, topic.error_message.clone())),
            )
            .await;
        match response {
            // Our own earlier try has succeeded without an answer.
            Err((error, true)) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
            Err((error, _)) => return Err(error),
            Ok(()) => {}
        }
        let created = |topics: &[Option<ErrorCode>]| topics.iter().all(|topic| *topic == Some(ErrorCode::NONE));
        self.seen_by_every_broker(name, &doing, created).await
    }

    /// Deletes a topic with all its records and waits until no broker has it.
    ///
    /// # Errors
    /// `Broker` with `UNKNOWN_TOPIC_OR_PARTITION` and what else a broker may say; `TimedOut` if it was not done within
    /// `default.api.timeout.ms`. The topic may be gone all the same after a `TimedOut`.
    ///
    /// # Cancel safety
    /// The topic may or may not be deleted.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let doing = format!("deleting topic \"{name}\"");
        let topic = name.to_owned();
        let timeout_ms = i32::try_from(self.cluster.net().limits.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let build = move |version| {
            let (topics, topic_names) = match version {
                ..=5 => (Vec::new(), vec![topic.clone()]),
                6.. => (vec![DeleteTopicState { name: Some(topic.clone()), ..Default::default() }], Vec::new()),
            };
            DeleteTopicsRequest { topics, topic_names, timeout_ms }
        };
        let response = self
            .administer::<DeleteTopicsRequest>(&doing, build, |response| {
                response.responses.first().map(|topic| (topic.error_code, topic.error_message.clone()))
            })
            .await;
        match response {
            Err((error, true)) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {}
            Err((error, _)) => return Err(error),
            Ok(()) => {}
        }
        let gone = |topics: &[Option<ErrorCode>]| {
            topics.iter().all(|topic| *topic == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
        };
        self.seen_by_every_broker(name, &doing, gone).await?;
        self.cluster.on_deleted_topic(name);
        Ok(())
    }

    /// The partitions of a topic, in the order of their numbers.
    ///
    /// # Errors
    /// `Broker` with `UNKNOWN_TOPIC_OR_PARTITION` if there is no such topic within 10 s; `TimedOut` if no broker answers.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        if self.cluster.is_closed() {
            return Err(Error::closed("client"));
        }
        let within = self.api_timeout()?.min(UNKNOWN_TOPIC);
        let view = self.cluster.topic(&topic.into(), within).await?;
        let count = i32::try_from(view.partitions.len()).unwrap_or(i32::MAX);
        Ok((0..count).map(|partition| TopicPartition::new(view.name.clone(), partition)).collect())
    }

    /// Ends everything that was made from this client: producers settle what they have within `within`, and every later call
    /// on any of them fails with `Closed`.
    ///
    /// # Cancel safety
    /// The client is closed as soon as the future was polled; what producers had may then be unsettled.
    pub async fn close(self, within: Duration) {
        self.cluster.close();
        let settled = self.cluster.settled();
        tokio::select! {
            biased;
            () = settled => {}
            () = tokio::time::sleep(within) => {}
        }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Sends an administrative request to the controller, or whoever is known, until it is answered for good. With an error comes
    /// whether an earlier try may have been carried out.
    async fn administer<R: Request + Send + 'static>(
        &self,
        doing: &str,
        build: impl Fn(i16) -> R + Send + Sync + Clone + 'static,
        outcome: impl Fn(&R::Response) -> Option<(ErrorCode, Option<String>)>,
    ) -> Result<(), (Error, bool)> {
        let net = self.cluster.net();
        let deadline = net.now().saturating_add(self.api_timeout().map_err(|error| (error, false))?);
        let mut last = None;
        let mut perhaps_done = false;
        for attempt in 1.. {
            let left = deadline.saturating_sub(net.now());
            if self.cluster.is_closed() {
                return Err((Error::closed("client"), perhaps_done));
            }
            if left.is_zero() {
                let error =
                    Error::new(ErrorKind::TimedOut, format!("{doing} was not done within default.api.timeout.ms"))
                        .with_written(Written::Maybe);
                return Err((last.map_or(error.clone(), |cause: Error| error.with_source(cause)), perhaps_done));
            }
            let broker = self.cluster.view().controller.or_else(|| self.cluster.any_broker());
            let error = match broker {
                Some(broker) => {
                    match self.cluster.call::<R>(broker, net.limits.request_timeout.min(left), build.clone()).await {
                        Ok(Response { body, .. }) => match outcome(&body) {
                            Some((ErrorCode::NONE, _)) => return Ok(()),
                            Some((code, text)) => {
                                let error = Error::broker(doing, code, broker);
                                error.with_broker_text(text.as_deref())
                            }
                            None => Error::new(
                                ErrorKind::Protocol,
                                format!("{doing}: broker {broker} answered about nothing"),
                            ),
                        },
                        Err(error) => error,
                    }
                }
                None => Error::new(ErrorKind::Transport, format!("{doing}: no broker is known")),
            };
            // A topic that is unknown to the controller is not there.
            if !error.is_retriable() || error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
                return Err((error, perhaps_done));
            }
            self.cluster.request_refresh();
            // A refusal says that nothing was done.
            perhaps_done |= matches!(error.code(), None | Some(ErrorCode::REQUEST_TIMED_OUT));
            last = Some(error);
            tokio::time::sleep(self.cluster.retry_delay(attempt).min(deadline.saturating_sub(net.now()))).await;
        }
        Err((Error::new(ErrorKind::TimedOut, doing), perhaps_done))
    }

    async fn seen_by_every_broker(
        &self,
        name: &str,
        doing: &str,
        seen: impl Fn(&[Option<ErrorCode>]) -> bool,
    ) -> Result<()> {
        let net = self.cluster.net();
        let deadline = net.now().saturating_add(self.api_timeout()?);
        for round in 1.. {
            if seen(&self.cluster.topic_at_every_broker(name).await) {
                return Ok(());
            }
            if net.now() >= deadline {
                break;
            }
            tokio::time::sleep(self.cluster.retry_delay(round).min(Duration::from_millis(200))).await;
        }
        let text = format!("{doing}: not every broker has seen it within default.api.timeout.ms");
        Err(Error::new(ErrorKind::TimedOut, text).with_written(Written::Maybe))
    }

    fn api_timeout(&self) -> Result<Duration> {
        Ok(self.config.client()?.default_api_timeout)
    }
}

/// Settings and seams of a [`Client`].
#[must_use = "a builder does nothing until `connect`"]
pub struct ClientBuilder {
    config: Config,
    connector: Box<dyn Connector>,
    clock: Option<Arc<dyn Clock>>,
    runtime: Option<Arc<dyn Runtime>>,
    entropy: Entropy,
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The brokers to find the cluster through, each `host:port`. One that answers is enough.
    pub fn bootstrap<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.config = self.config.bootstrap(servers.into_iter().map(Into::into).collect());
        self
    }

    /// Takes over everything that was set in `config`, for all roles; what was set here before and not there stays.
    pub fn config(mut self, config: Config) -> Self {
        self.config = self.config.merge(config);
        self
    }

    /// How connections are made. Default: TCP.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Box::new(connector);
        self
    }

    /// Where time comes from. Default: tokio's clock and the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Where tasks run. Default: the tokio runtime that `connect` is called in.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// Makes everything random (jitter, choices) follow from this seed. Default: a seed from the operating system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.entropy = Entropy::from_seed(seed);
        self
    }

    client_setters!();

    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`], and `Config` for every setting that is unknown, out of range or contradicts another, all at once.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt and leaves nothing behind.
    pub async fn connect(self) -> Result<Client> {
        let settings = self.config.client()?;
        if settings.bootstrap_servers.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                "bootstrap.servers is not set: name at least one broker as host:port",
            ));
        }
        let limits = Limits {
            client_id: settings.client_id,
            request_timeout: settings.request_timeout,
            reconnect: Backoff { initial: settings.reconnect_backoff, max: settings.reconnect_backoff_max },
            setup_timeout: settings.connection_setup_timeout,
            setup_timeout_max: settings.connection_setup_timeout_max,
            max_response_bytes: settings.max_response_bytes,
            max_idle: settings.connections_max_idle,
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::start()));
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Arc::new(TokioRuntime::current()?),
        };
        let net = Arc::new(Net::new(self.connector, clock, runtime, self.entropy, limits));
        let cluster = ClusterSettings {
            bootstrap: settings.bootstrap_servers,
            bootstrap_timeout: settings.bootstrap_timeout,
            metadata_max_age: settings.metadata_max_age,
            retry: Backoff { initial: settings.retry_backoff, max: settings.retry_backoff_max },
            allow_auto_create_topics: settings.allow_auto_create_topics,
        };
        let cluster = Cluster::connect(net, cluster).await?;
        Ok(Client { cluster, config: Arc::new(self.config) })
    }
}
