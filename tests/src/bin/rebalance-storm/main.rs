//! A storm of rebalances: every two seconds a member of a group joins, leaves or dies, for two minutes, while records are written.
//! Five groups at once, one for each strategy and one of static members; at the end the checker says whether they kept their promises.
//!
//! ```text
//! MILENA_TEST_CLUSTER=real cargo run -p milena-tests --bin rebalance-storm
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]
#![allow(clippy::disallowed_methods, reason = "nothing here is simulated")]

mod history;
mod member;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use milena::{Client, Record};
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use milena_tests::checker;
use milena_tests::cluster::TestCluster;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use self::history::History;
use self::member::{Manner, Member};

type Error = Box<dyn std::error::Error + Send + Sync>;

const PARTITIONS: i32 = 6;
const EVERY: Duration = Duration::from_secs(2);
/// Each partition gets a record so often.
const PERIOD: Duration = Duration::from_millis(20);
const MOST_MEMBERS: usize = 5;
/// How long after the storm all must be read.
const CALM: Duration = Duration::from_secs(60);
/// A thread may be held up so long between getting a record and noting it.
const GRACE: Duration = Duration::from_millis(500);

const STORMS: [(&str, bool); 5] = [
    ("range", false),
    ("roundrobin", false),
    ("sticky", false),
    ("cooperative-sticky", false),
    ("cooperative-sticky", true),
];

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = match std::env::args().nth(1).map(|seconds| seconds.parse()) {
        None => 120,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => {
            eprintln!("usage: rebalance-storm [SECONDS]");
            return ExitCode::FAILURE;
        }
    };
    let cluster = TestCluster::shared().await;
    let storms = STORMS.map(async |(strategy, is_static)| {
        let outcome = storm(&cluster, strategy, is_static, Duration::from_secs(seconds)).await;
        let kind = if is_static { "static" } else { "dynamic" };
        match &outcome {
            Ok(text) => println!("ok: {strategy}, {kind} members: {text}"),
            Err(error) => println!("FAILED: {strategy}, {kind} members: {error}"),
        }
        outcome.is_ok()
    });
    match join_all(storms).await.into_iter().all(|is_ok| is_ok) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Where members of a static group come back to; others take any.
struct Places {
    members: Vec<Option<Member>>,
    random: u64,
}

impl Places {
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    fn occupied(&self) -> usize {
        self.members.iter().flatten().count()
    }
}

async fn storm(
    cluster: &TestCluster,
    strategy: &'static str,
    is_static: bool,
    lasts: Duration,
) -> Result<String, Error> {
    let topic = cluster.topic(&format!("storm-{strategy}"), PARTITIONS).await;
    let manner = Manner { bootstrap: cluster.bootstrap(), group: topic.clone(), topic: topic.clone(), strategy };
    let history = History::new(&topic, PARTITIONS);
    let client = Client::connect(&cluster.bootstrap()).await?;
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(write(client.clone(), topic.clone(), stopped));
    let (end, ended) = watch::channel(false);
    let looking = tokio::spawn(history.clone().look_at(client.clone(), manner.group.clone(), ended));

    let mut places = Places { members: (0..MOST_MEMBERS).map(|_| None).collect(), random: 7 };
    let (mut joined, mut left, mut died) = (0, 0, 0);
    let began = Instant::now();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < lasts {
        ticks.tick().await;
        let place = if joined < 2 { joined } else { places.below(MOST_MEMBERS as u64) as usize };
        match places.members[place].take() {
            None => {
                let instance = is_static.then(|| format!("place-{place}"));
                places.members[place] = Some(Member::join(&manner, &history, joined, instance).await?);
                joined += 1;
            }
            Some(member) if places.occupied() == 0 => places.members[place] = Some(member),
            Some(member) if places.below(4) == 0 => {
                member.die();
                died += 1;
            }
            Some(member) => {
                member.close().await?;
                left += 1;
            }
        }
    }
    stop.send_replace(true);
    let written = writing.await??;
    let calm = Instant::now();
    while history.processed() < written && calm.elapsed() < CALM {
        ticks.reset_after(PERIOD);
        ticks.tick().await;
    }
    for member in places.members.into_iter().flatten() {
        member.close().await?;
    }
    end.send_replace(true);
    let committed = looking.await??;
    verdict(cluster, &manner, &history, written, &committed)
        .await
        .map(|text| format!("{written} records; {joined} members joined, {left} left, {died} died; {text}"))
}

/// What the checker says of a group whose members are gone.
async fn verdict(
    cluster: &TestCluster,
    manner: &Manner,
    history: &History,
    written: usize,
    committed: &[i64],
) -> Result<String, Error> {
    let truth = history.truth(cluster).await;
    let in_log: usize = truth.values().map(|records| records.len()).sum();
    let (events, shown) = history.take();
    let report = checker::check(&events, &truth, GRACE);
    if !report.violations.is_empty() {
        return Err(report.to_string().into());
    }
    if !shown.is_empty() {
        return Err(
            format!("the application was shown {} errors: {:?}", shown.len(), &shown[..shown.len().min(5)]).into()
        );
    }
    if in_log != written {
        return Err(format!("{written} records were acknowledged, the log has {in_log}").into());
    }
    let ends: Vec<i64> = truth.values().map(|records| records.keys().next_back().map_or(0, |last| last + 1)).collect();
    if committed != ends {
        return Err(format!("{committed:?} are committed, the log ends at {ends:?}").into());
    }
    let figures = report.figures;
    Ok(format!(
        "{} rebalances, partitions moved {} times, at most {:.2} s without a record, {} repeated",
        generation(cluster, &manner.group).await,
        figures.moved,
        figures.longest_pause.as_secs_f64(),
        figures.repeated,
    ))
}

/// Which generation a group has come to.
async fn generation(cluster: &TestCluster, group: &str) -> i32 {
    let protocol = |name: &str| JoinGroupRequestProtocol { name: name.to_owned(), metadata: "".into() };
    let request = JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 6_000,
        protocol_type: "consumer".to_owned(),
        protocols: STORMS.iter().map(|(strategy, _)| protocol(strategy)).take(4).collect(),
        ..Default::default()
    };
    // The version before members are given their ids first.
    cluster.raw_coordinator(group).await.ask(3, &request).await.generation_id - 1
}

/// Writes to each partition until it is told to stop, and gives how many records are written for sure.
async fn write(client: Client, topic: String, stopped: watch::Receiver<bool>) -> Result<usize, Error> {
    let producer = client.producer().build().await?;
    let mut ticks = interval(PERIOD);
    let mut written = 0;
    while !*stopped.borrow() {
        ticks.tick().await;
        for partition in 0..PARTITIONS {
            let value = written.to_string();
            producer.enqueue(Record::to(&topic).partition(partition).value(&value)).await?.detach();
            written += 1;
        }
    }
    producer.flush().await?;
    Ok(written)
}
