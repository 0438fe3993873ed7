//! What Kafka 4.4 answered, kept in `tests/golden/differential`: the mock cluster and Kafka are both held to it.
//!
//! `MILENA_TEST_CLUSTER=real MILENA_TEST_RECORD=1 cargo test -p milena-tests --test differential` records it anew;
//! `MILENA_TEST_PROBE=text` runs only the probes whose names contain the text.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;

use futures_util::{FutureExt, StreamExt, stream};
use milena_tests::cluster::{TestCluster, skipped};
use milena_tests::real_kafka::{self, Settings};
use tokio::sync::{OnceCell, RwLock};

use super::differences::DIFFERENCES;
use super::metadata;
use super::outages::{self, DEAD_PROBES, FROZEN_PROBES, LOSING_PROBES};
use super::script::Script;

/// How many probes of a file run at the same time; as many files as there are cores do.
const AT_ONCE: usize = 12;

/// How the last line begins of a probe that has panicked.
const PANICKED: &str = "panicked: ";

/// One probe: its name states the rule, its script shows it.
#[derive(Clone, Copy)]
pub struct Probe {
    pub name: &'static str,
    pub run: for<'a> fn(&'a Script<'a>) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

/// Makes the list of a file's probes from the functions.
macro_rules! probes {
    ($($probe:ident)*) => {
        pub const PROBES: &[crate::golden::Probe] = &[$(crate::golden::Probe {
            name: stringify!($probe),
            run: |script| Box::pin($probe(script)),
        }),*];
    };
}
pub(crate) use probes;

type Transcript = Vec<String>;

/// Files share the cluster; the one that breaks brokers has it alone.
static WHOLE: RwLock<()> = RwLock::const_new(());

/// Runs the probes of a file and compares their transcripts with the recorded ones, or records them.
///
/// # Panics
/// Some differ; the message has them all.
pub async fn check(file: &str, probes: &[Probe]) {
    let _shared = WHOLE.read().await;
    let Some(cluster) = cluster(file).await else { return };
    let wanted = probes.iter().filter(|probe| is_wanted(probe));
    let seen = stream::iter(wanted).map(|probe| run(&cluster, probe, &[])).buffer_unordered(AT_ONCE).collect().await;
    compare_all(&cluster, file, &seen, |name| probes.iter().any(|probe| probe.name == name));
}

/// The same for the probe of a cluster that nobody has used. On Kafka the probes share one: it comes before them all.
pub async fn check_first(file: &str) {
    let Some(cluster) = cluster(file).await else { return };
    let seen = BTreeMap::from([first(&cluster).await]);
    compare_all(&cluster, file, &seen, |name| name == metadata::FIRST.name);
}

async fn first(cluster: &TestCluster) -> (String, Transcript) {
    static FIRST: OnceCell<(String, Transcript)> = OnceCell::const_new();
    FIRST.get_or_init(|| run(cluster, &metadata::FIRST, &[])).await.clone()
}

/// The same for probes that break brokers.
pub async fn check_outages(file: &str) {
    let _alone = WHOLE.write().await;
    let Some(cluster) = cluster(file).await else { return };
    let mut seen = BTreeMap::new();
    for probe in FROZEN_PROBES.iter().filter(|probe| is_wanted(probe)) {
        let (name, transcript) = run(&cluster, probe, &[]).await;
        if transcript.iter().any(|line| line.starts_with(PANICKED)) {
            outages::thaw(&cluster).await; // for those that come after it
        }
        seen.insert(name, transcript);
    }
    if [LOSING_PROBES, DEAD_PROBES].concat().iter().any(is_wanted) {
        let topics = outages::begin(&cluster).await;
        for probe in LOSING_PROBES.iter().filter(|probe| is_wanted(probe)) {
            seen.extend([run(&cluster, probe, &[]).await]);
        }
        outages::kill(&cluster, &topics).await;
        for probe in DEAD_PROBES.iter().filter(|probe| is_wanted(probe)) {
            seen.extend([run(&cluster, probe, &topics).await]);
        }
        outages::end(&cluster, &topics).await;
    }
    compare_all(&cluster, file, &seen, |name| {
        [FROZEN_PROBES, LOSING_PROBES, DEAD_PROBES].concat().iter().any(|probe| probe.name == name)
    });
}

fn is_wanted(probe: &Probe) -> bool {
    !std::env::var("MILENA_TEST_PROBE").is_ok_and(|wanted| !probe.name.contains(&wanted))
}

async fn cluster(file: &str) -> Option<TestCluster> {
    // A broker that is busy must not be taken for dead: its partitions would move during a probe. A producer that is late is
    // found out soon.
    let patient = Settings::default()
        .property("broker.session.timeout.ms", "6000")
        .property("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200");
    let cluster = TestCluster::shared_with(patient).await;
    if cluster.is_real() && !real_kafka::version().starts_with("4.4") {
        skipped(file, "the recorded answers are those of Kafka 4.4");
        return None;
    }
    if cluster.is_real() {
        first(&cluster).await;
    }
    Some(cluster)
}

fn compare_all(
    cluster: &TestCluster,
    file: &str,
    seen: &BTreeMap<String, Transcript>,
    is_known: impl Fn(&str) -> bool,
) {
    let path = path(file);
    if std::env::var("MILENA_TEST_RECORD").is_ok() {
        assert!(cluster.is_real(), "only Kafka is recorded: MILENA_TEST_CLUSTER=real");
        let mut all = if path.exists() { parse(&fs::read_to_string(&path).expect("read")) } else { BTreeMap::new() };
        all.extend(seen.clone());
        all.retain(|name, _| is_known(name));
        fs::write(&path, print(&all)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let recorded = parse(&text);
    let mut failures = Vec::new();
    for (name, transcript) in seen {
        let differs = recorded.get(name) != Some(transcript);
        let excused = !cluster.is_real() && DIFFERENCES.iter().any(|(probe, _)| probe == name);
        if excused && !differs {
            failures.push(format!("{name} is the same now: take it off the list of differences"));
        }
        if differs && !excused {
            failures.push(compare(name, recorded.get(name), transcript));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} differ from Kafka 4.4\n\n{}",
        failures.len(),
        seen.len(),
        failures.join("\n")
    );
}

async fn run(cluster: &TestCluster, probe: &Probe, topics: &[(&str, String)]) -> (String, Transcript) {
    let script = Script::new(cluster);
    for (label, topic) in topics {
        script.call(topic, label);
    }
    let ended = AssertUnwindSafe((probe.run)(&script)).catch_unwind().await;
    let mut transcript = script.transcript();
    if let Err(panic) = ended {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        transcript.push(format!("{PANICKED}{}", words.unwrap_or_default()));
    }
    (probe.name.to_owned(), transcript)
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/differential").join(format!("{file}.txt"))
}

fn print(transcripts: &BTreeMap<String, Transcript>) -> String {
    let sections = transcripts.iter().map(|(name, lines)| format!("== {name}\n{}\n", lines.join("\n")));
    sections.collect::<Vec<_>>().join("\n")
}

fn parse(text: &str) -> BTreeMap<String, Transcript> {
    let mut transcripts: BTreeMap<String, Transcript> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("== ") {
            Some(name) => name.clone_into(&mut current),
            None => transcripts.entry(current.clone()).or_default().push(line.to_owned()),
        }
    }
    transcripts
}

/// The lines that differ.
fn compare(name: &str, recorded: Option<&Transcript>, seen: &Transcript) -> String {
    let Some(recorded) = recorded else {
        return format!("== {name}: nothing is recorded\n{}\n", seen.join("\n"));
    };
    let mut words = format!("== {name}\n");
    for index in 0..recorded.len().max(seen.len()) {
        let (was, is) = (recorded.get(index), seen.get(index));
        if was != is {
            let line = |line: Option<&String>| line.cloned().unwrap_or_else(|| "(nothing)".to_owned());
            let (was, is) = (line(was), line(is));
            let same = was.chars().zip(is.chars()).take_while(|(was, is)| was == is).count();
            // Only what surrounds the first difference, of lines that are longer than a screen is wide.
            let around = |line: &str| -> String {
                let start = if line.len() < 300 { 0 } else { same.saturating_sub(120) };
                line.chars().skip(start).take(400).collect()
            };
            let step: String = is.chars().take_while(|letter| *letter != ':').collect();
            words += &format!("{step}\n  Kafka 4.4: {}\n       here: {}\n", around(&was), around(&is));
        }
    }
    words
}
