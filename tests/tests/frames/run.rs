//! Sends frames over a few connections at once, and waits for what becomes of each.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use milena_mock_broker::{ApiKey, ErrorCode, Fault, FaultHandle, MockCluster, MockClusterBuilder, Topic};
use milena_protocol::frame::{correlation_id, decode_response, encode_request};
use milena_protocol::messages::api_versions::ApiVersionsRequest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::generator::{Frame, Generator};

const CONNECTIONS: u64 = 12;
/// Within the time that a request may wait in Kafka, which virtual time does not mind, something must become of it.
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(100 * 24 * 3600);
const REAL_PATIENCE: Duration = Duration::from_secs(60);

/// How far it has come.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Inner>);

struct Inner {
    frames: AtomicU64,
    warm_at: u64,
    warm_bytes: Mutex<Option<u64>>,
    /// Per connection, what it has sent last.
    last: Mutex<Vec<(u64, Vec<u8>)>>,
    done: Mutex<BTreeMap<ApiKey, u64>>,
}

impl Progress {
    pub(crate) fn new(warm_at: u64) -> Self {
        let last = Mutex::new(vec![(0, Vec::new()); CONNECTIONS as usize]);
        let (frames, warm_bytes, done) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { frames, warm_at, warm_bytes, last, done }))
    }

    pub(crate) fn frames(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn warm_bytes(&self) -> Option<u64> {
        *self.0.warm_bytes.lock().unwrap()
    }

    /// The last frame of each connection.
    pub(crate) fn last(&self) -> String {
        let mut text = "the last frames were".to_owned();
        for (connection, (number, frame)) in self.0.last.lock().unwrap().iter().enumerate() {
            let shown: String = frame.iter().take(1000).map(|byte| format!("{byte:02x}")).collect();
            text += &format!("\n{connection}: frame {number}, {} bytes: {shown}", frame.len());
        }
        text
    }

    fn sends(&self, connection: u64, number: u64, frame: &[u8]) {
        self.0.last.lock().unwrap()[connection as usize] = (number, frame.to_vec());
        let frames = self.0.frames.fetch_add(1, Ordering::Relaxed) + 1;
        let warm_at = self.0.warm_at;
        if (warm_at..warm_at + warm_at / 10).contains(&frames) && (frames - warm_at).is_multiple_of(50) {
            // What is in use for a moment only is not what the end is compared with.
            let mut warm_bytes = self.0.warm_bytes.lock().unwrap();
            *warm_bytes = [*warm_bytes, crate::resident_bytes()].into_iter().flatten().min();
        }
    }

    /// How often requests of each API did what they were for.
    pub(crate) fn done(&self) -> BTreeMap<ApiKey, u64> {
        self.0.done.lock().unwrap().clone()
    }
}

/// Collects what any thread panics with from now on.
pub(crate) fn count_panics() -> Arc<Mutex<Vec<String>>> {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new({
        let panics = Arc::clone(&panics);
        move |info| {
            panics.lock().unwrap().push(info.to_string());
            before(info);
        }
    }));
    panics
}

fn builder(seed: u64) -> MockClusterBuilder {
    MockCluster::builder()
        .brokers(2)
        .seed(seed)
        .with_topic(Topic::new("orders").partitions(4))
        .with_topic(Topic::new("payments").partitions(2).config("cleanup.policy", "compact"))
        .auto_create_topics(true)
        .group_min_session_timeout(Duration::from_millis(1))
        .retained_bytes(2 << 20)
        .journal_bytes(1 << 20)
}

/// Rules that look into what they are shown.
fn faults(cluster: &MockCluster) -> Vec<FaultHandle> {
    let sometimes = || Fault::any().probability(0.02);
    [
        sometimes().topic("orders").partition(1).error(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        sometimes().topic("payments").apply_then_error(ErrorCode::UNKNOWN_SERVER_ERROR),
        sometimes().group("g1").error(ErrorCode::NOT_COORDINATOR),
        sometimes().transactional_id("t1").error(ErrorCode::CONCURRENT_TRANSACTIONS),
        sometimes().throttle(Duration::from_millis(1)),
        Fault::on(ApiKey::PRODUCE).probability(0.02).record_error(ErrorCode::INVALID_RECORD, [0, 7]),
    ]
    .map(|fault| cluster.fault(fault).optional())
    .into()
}

pub(crate) fn over_pipes(seed: u64, frames: u64, progress: &Progress) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let cluster = builder(seed).start_in_memory();
        run(Runner { cluster, is_in_memory: true, progress: progress.clone() }, seed, frames).await;
    });
}

pub(crate) fn over_sockets(seed: u64, frames: u64, progress: &Progress) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // A damaged frame may join a group, and stay for as long as its session: not for half an hour.
        let cluster = builder(seed).group_max_session_timeout(Duration::from_secs(2)).start().await.unwrap();
        run(Runner { cluster, is_in_memory: false, progress: progress.clone() }, seed, frames).await;
    });
}

async fn run(runner: Runner, seed: u64, frames: u64) {
    let cluster = runner.cluster.clone();
    let faults = faults(&cluster);
    let mut tasks = JoinSet::new();
    for connection in 0..CONNECTIONS {
        tasks.spawn(runner.clone().client(connection, seed, frames / CONNECTIONS));
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    drop(faults);
    let mut served = Vec::new();
    for broker in cluster.brokers() {
        let mut stream = runner.connect(broker.id()).await.expect("it still accepts");
        stream.write_all(&probe(1)).await.expect("it still reads");
        let answer = read_frame(&mut stream).await.expect("it still answers");
        served = decode_response::<ApiVersionsRequest>(0, answer).expect("an answer").api_keys;
    }
    // A few thousand frames are not enough for each.
    let all = served.iter().map(|api| ApiKey(api.api_key)).filter(|_| frames >= 5 * crate::WARMED_UP);
    let some = [ApiKey::PRODUCE, ApiKey::FETCH, ApiKey::JOIN_GROUP, ApiKey::OFFSET_COMMIT];
    for api in all.chain(some) {
        assert!(runner.progress.done().contains_key(&api), "no {api} has done anything: {:?}", runner.progress.done());
    }
    cluster.until("no open connections", |state| state.open_connections() == 0).await;
    assert!(cluster.journal().to_string().lines().count() > 100);
    cluster.stop().await;
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

#[derive(Clone)]
struct Runner {
    cluster: MockCluster,
    is_in_memory: bool,
    progress: Progress,
}

impl Runner {
    async fn connect(&self, broker: i32) -> io::Result<Box<dyn Stream>> {
        let broker = self.cluster.broker(broker);
        Ok(match self.is_in_memory {
            true => Box::new(self.cluster.pipe(broker.host(), broker.port()).await?),
            false => Box::new(TcpStream::connect((broker.host(), broker.port())).await?),
        })
    }

    async fn client(self, connection: u64, seed: u64, frames: u64) {
        let mut generator = Generator::new(seed * CONNECTIONS + connection, self.is_in_memory);
        let patience = if self.is_in_memory { VIRTUAL_PATIENCE } else { REAL_PATIENCE };
        let mut stream = None;
        for number in 0..frames {
            let open = match stream.take() {
                // Nobody stays with one broker.
                Some(open) if !generator.random.one_in(50) => open,
                _ => self.connect(1 + generator.random.below(2) as i32).await.expect("a connection"),
            };
            let frame = generator.next(number as i32);
            self.progress.sends(connection, number, frame.bytes());
            let exchange = timeout(patience, exchange(open, frame, number as i32, &mut generator));
            stream = exchange.await.unwrap_or_else(|_| {
                panic!("connection {connection}: nothing became of frame {number} in {patience:?}")
            });
        }
        let mut done = self.progress.0.done.lock().unwrap();
        generator.known.done.iter().for_each(|(api, times)| *done.entry(*api).or_default() += times);
    }
}

/// A request that is answered whatever happened before, unless the connection has ended.
fn probe(correlation_id: i32) -> Vec<u8> {
    encode_request(0, correlation_id, "frames", &ApiVersionsRequest::default()).expect("a request").concat()
}

async fn read_frame(stream: &mut Box<dyn Stream>) -> io::Result<Bytes> {
    let length = stream.read_u32().await?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame.into())
}

/// Sends a frame, and a request after it: by the answer to that, or the end of the connection, the frame is done with. The
/// connection, if it is still there.
async fn exchange(
    mut stream: Box<dyn Stream>,
    frame: Frame,
    correlation: i32,
    generator: &mut Generator,
) -> Option<Box<dyn Stream>> {
    if let Frame::Torn(bytes) = &frame {
        // The broker may have closed it before all is written.
        if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
            let _rest = stream.read_to_end(&mut Vec::new()).await;
        }
        return None;
    }
    stream.write_all(frame.bytes()).await.ok()?;
    stream.write_all(&probe(!correlation)).await.ok()?;
    if !generator.is_patient && matches!(frame, Frame::Whole(_)) {
        // It may have become a request that waits for days: that its client goes is what ends it.
        stream.shutdown().await.ok()?;
    }
    loop {
        let answer = read_frame(&mut stream).await.ok()?;
        let answers = correlation_id(&answer).expect("a correlation id");
        // No damaged frame looks like it.
        if answers == !correlation {
            let is_open = generator.is_patient || !matches!(frame, Frame::Whole(_));
            return is_open.then_some(stream);
        }
        if let Frame::Request(_, answered, asked) = &frame {
            assert_eq!(answers, correlation, "an answer to something else");
            answered(&mut generator.known, asked, answer);
        }
    }
}
