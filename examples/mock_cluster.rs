//! A mock cluster of three brokers with plugs to pull: clients of any language can connect, and a line of standard input
//! crashes a broker or starts it again. IO.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::io;

use milena_mock_broker::{BrokerControl, MockCluster, Topic};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> io::Result<()> {
    // acks=all waits for two brokers: what is acknowledged survives the loss of any one.
    let topic = Topic::new("lines").partitions(6).replication_factor(3).config("min.insync.replicas", "2");
    let cluster = MockCluster::builder().brokers(3).with_topic(topic).start().await?;
    println!("bootstrap: {}", cluster.bootstrap());
    println!("topic: lines, 6 partitions, 3 replicas, min.insync.replicas=2");
    println!("commands: crash N, restart N, quit");

    let mut commands = BufReader::new(stdin()).lines();
    while let Some(command) = commands.next_line().await? {
        let broker = |id: &str| cluster.brokers().into_iter().find(|broker| broker.id().to_string() == id);
        let done = match command.split_whitespace().collect::<Vec<_>>()[..] {
            ["crash", id] => broker(id).as_ref().map(BrokerControl::crash),
            ["restart", id] => broker(id).as_ref().map(BrokerControl::restart),
            ["quit"] => break,
            _ => None,
        };
        match done {
            Some(()) => println!("{command}: done"),
            None => eprintln!("{command}: not understood; say crash, restart with 1, 2 or 3, or quit"),
        }
    }
    cluster.stop().await;
    Ok(())
}
