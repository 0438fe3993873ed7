//! A group of this client and librdkafka (kcat): each leads once, and every partition has one reader.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use milena::Result;
use milena_tests::cluster::skipped;
use milena_tests::eventually::eventually;

use super::{Group, Reading};

/// A kcat that reads as a member. Killed when it is dropped, if it did not end.
struct Kcat {
    process: Child,
    /// Partitions and offsets.
    seen: Arc<Mutex<BTreeSet<(i32, i64)>>>,
}

impl Kcat {
    /// `None` if there is no kcat here.
    fn start(group: &Group, assignor: &str) -> Option<Self> {
        let settings = [
            format!("partition.assignment.strategy={assignor}"),
            "session.timeout.ms=6000".to_owned(),
            "heartbeat.interval.ms=200".to_owned(),
            "auto.offset.reset=earliest".to_owned(),
        ];
        let mut command = Command::new("kcat");
        command.args(["-b", &group.cluster.bootstrap(), "-G", &group.name, "-u", "-q", "-f", "%p %o\n"]);
        command.args(settings.iter().flat_map(|setting| ["-X", setting.as_str()])).arg(&group.topic);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let (seen, output) = (Arc::<Mutex<BTreeSet<(i32, i64)>>>::default(), process.stdout.take()?);
        let noted = seen.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                let numbers = line.split_once(' ');
                let numbers =
                    numbers.and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
                noted.lock().unwrap().extend(numbers);
            }
        });
        Some(Self { process, seen })
    }

    /// The partitions of which it has read this offset.
    fn with(&self, offset: i64) -> BTreeSet<i32> {
        self.seen.lock().unwrap().iter().filter(|(_, seen)| *seen == offset).map(|(partition, _)| *partition).collect()
    }

    /// It leaves the group.
    async fn stop(&mut self) {
        Command::new("kill").arg(self.process.id().to_string()).status().expect("kill runs");
        eventually("the end of kcat", async || self.process.try_wait().expect("it is a child")).await;
    }
}

impl Drop for Kcat {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn with(reading: &Reading, offset: i64) -> BTreeSet<i32> {
    reading.seen().into_iter().filter(|(_, seen)| seen.contains(&offset)).map(|(partition, _)| partition).collect()
}

/// Waits until each of four partitions was read at this offset, by one of both.
async fn until_all(ours: &Reading, theirs: &Kcat, offset: i64) {
    eventually(&format!("offset {offset} of every partition"), async || {
        (with(ours, offset).union(&theirs.with(offset)).count() == 4).then_some(())
    })
    .await;
}

async fn one_group(assignor: &str) -> Result<()> {
    let group = Group::new(4).await;
    let first = Reading::start(group.member().assignors([assignor]).build().await?);
    group.until_shared(&[&first.control], &[4]).await;
    let Some(mut kcat) = Kcat::start(&group, assignor) else {
        skipped("a group with librdkafka", "there is no kcat");
        return Ok(());
    };
    // We lead.
    eventually("half of it", async || (first.control.assignment().len() == 2).then_some(())).await;
    group.write(1).await;
    until_all(&first, &kcat, 0).await;
    assert_eq!((with(&first, 0).len(), kcat.with(0).len()), (2, 2), "each has one reader");

    first.close().await;
    group.write(1).await;
    eventually("all of it", async || (kcat.with(1).len() == 4).then_some(())).await;
    // They lead.
    let second = Reading::start(group.member().assignors([assignor]).build().await?);
    eventually("half of it", async || (second.control.assignment().len() == 2).then_some(())).await;
    group.write(1).await;
    until_all(&second, &kcat, 2).await;
    assert_eq!((with(&second, 2).len(), kcat.with(2).len()), (2, 2), "each has one reader");

    kcat.stop().await;
    group.until_shared(&[&second.control], &[4]).await;
    group.write(1).await;
    eventually("all of it", async || (with(&second, 3).len() == 4).then_some(())).await;
    second.close().await;
    assert_eq!(group.committed().await, [Some(4); 4]);
    Ok(())
}

#[tokio::test]
async fn librdkafka_and_this_client_share_by_range() -> Result<()> {
    one_group("range").await
}

#[tokio::test]
async fn librdkafka_and_this_client_share_by_roundrobin() -> Result<()> {
    one_group("roundrobin").await
}
