//! The consumer's figures as a recorder of the crate `metrics` gets them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use milena::{Client, CommitPolicy, Record, Result};
use milena_mock_broker::MockCluster;
use milena_tests::eventually::eventually;

type Values = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

/// Keeps every value by name and labels: the sum of a counter, the last of a gauge, all of a histogram.
#[derive(Clone, Default)]
struct Keeping {
    values: Values,
    described: Arc<Mutex<Vec<String>>>,
}

struct Slot {
    values: Values,
    key: String,
}

impl Slot {
    fn change(&self, change: impl FnOnce(&mut Vec<f64>)) {
        change(self.values.lock().unwrap().entry(self.key.clone()).or_default());
    }

    fn set_to(&self, value: impl FnOnce(f64) -> f64) {
        self.change(|values| *values = vec![value(values.last().copied().unwrap_or(0.0))]);
    }
}

impl CounterFn for Slot {
    fn increment(&self, value: u64) {
        self.set_to(|before| before + value as f64);
    }
    fn absolute(&self, value: u64) {
        self.set_to(|_| value as f64);
    }
}

impl GaugeFn for Slot {
    fn increment(&self, value: f64) {
        self.set_to(|before| before + value);
    }
    fn decrement(&self, value: f64) {
        self.set_to(|before| before - value);
    }
    fn set(&self, value: f64) {
        self.set_to(|_| value);
    }
}

impl HistogramFn for Slot {
    fn record(&self, value: f64) {
        self.change(|values| values.push(value));
    }
}

impl Keeping {
    fn slot(&self, key: &Key) -> Arc<Slot> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let key = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(Slot { values: self.values.clone(), key })
    }

    fn all(&self, name: &str, labels: &str) -> Vec<f64> {
        let key = format!("kafka_consumer_{name}{{client_id=app,group=billing{labels}}}");
        self.values.lock().unwrap().get(&key).cloned().unwrap_or_default()
    }

    async fn until(&self, name: &str, labels: &str, value: f64) {
        eventually(&format!("{name} {value}"), async || (self.all(name, labels) == [value]).then_some(())).await;
    }
}

impl Recorder for Keeping {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push(key.as_str().to_owned());
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.slot(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.slot(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.slot(key))
    }
}

async fn scenario(recorder: &Keeping) -> Result<()> {
    let cluster = MockCluster::builder().brokers(1).topic("orders", 1).start().await.unwrap();
    let client = Client::builder().bootstrap([cluster.bootstrap()]).client_id("app").connect().await?;
    let producer = client.producer().build().await?;
    for _ in 0..3 {
        producer.send(Record::to("orders").partition(0).value("v")).await?;
    }
    let group = client.consumer("billing").subscribe(["orders"]).commit_policy(CommitPolicy::Manual);
    let mut consumer = group.build().await?;
    let record = consumer.next().await?.unwrap();
    consumer.commit(&record).await?;
    let of_partition = ",topic=orders,partition=0";
    recorder.until("records_lag", of_partition, 2.0).await;
    recorder.until("records_held", "", 1.0).await;
    recorder.until("commit_total", "", 1.0).await;
    let metrics = consumer.control().metrics();
    for (name, labels, value) in [
        ("rebalance_latency_seconds", ",reason=Joined", metrics.rebalance_time.last.as_secs_f64()),
        ("rebalance_total", ",reason=Joined", 1.0),
        ("commit_latency_seconds", "", metrics.commits.last.as_secs_f64()),
        ("records_consumed_total", "", 1.0),
        ("fetched_bytes_total", "", metrics.fetched_bytes as f64),
        ("assigned_partitions", "", 1.0),
        ("failed_commit_total", "", 0.0),
    ] {
        assert_eq!(recorder.all(name, labels), [value], "{name}");
    }

    // Counters of a second one with the same names add up, and at the end nothing seems to lag any more.
    drop(record);
    consumer.close(std::time::Duration::from_secs(10)).await?;
    recorder.until("records_lag", of_partition, 0.0).await;
    let mut second = client.consumer("billing").subscribe(["orders"]).build().await?;
    let record = second.next().await?.unwrap();
    assert_eq!(record.offset(), 1);
    recorder.until("rebalance_total", ",reason=Joined", 2.0).await;
    recorder.until("records_consumed_total", "", 2.0).await;
    assert_eq!(recorder.all("rebalance_latency_seconds", ",reason=Joined").len(), 2);
    Ok(())
}

#[test]
fn a_recorder_gets_what_the_snapshot_says_under_the_names_that_are_documented() -> Result<()> {
    let recorder = Keeping::default();
    // One thread: the recorder is this thread's own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(scenario(&recorder)))?;

    let documented: Vec<_> = include_str!("../../client/src/consumer/metrics.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut described = recorder.described.lock().unwrap().clone();
    described.truncate(documented.len());
    described.sort();
    let mut expected = documented;
    expected.sort();
    assert_eq!(described, expected);
    let mut told: Vec<_> = recorder.values.lock().unwrap().keys().cloned().collect();
    told.retain(|key| !expected.iter().any(|name| key.starts_with(&format!("{name}{{"))));
    assert!(told.is_empty(), "without documentation: {told:?}");
    Ok(())
}
