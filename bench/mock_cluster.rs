//! What the mock cluster costs: starting, waiting, being many, and holding records; and how fast librdkafka produces to it, beside
//! kfake. `bench/mock_cluster.sh` builds what this needs and runs it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "figures are printed")]
#![allow(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use milena_mock_broker::MockCluster;

const RUNS: usize = 20;
const CLUSTERS: usize = 100;
const RECORDS: &str = "1000000";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [broker, stripped, produce, kfake] = arguments.as_slice() else {
        return Err(io::Error::other("usage: mock-cluster BROKER STRIPPED_BROKER PRODUCE KFAKE (see mock_cluster.sh)"));
    };
    println!("median of {RUNS}, least and most in brackets");
    in_process()?;
    as_a_program(broker)?;
    println!("stripped program        {:.1} MB", fs::metadata(stripped)?.len() as f64 / 1e6);
    beside_kfake(broker, produce, kfake)
}

fn in_process() -> io::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let started = repeat(|| runtime.block_on(MockCluster::builder().brokers(3).start()).map(drop))?;
    println!("start of 3 brokers      {started}");
    let in_memory = repeat(|| {
        runtime.block_on(async { drop(MockCluster::builder().brokers(3).start_in_memory()) });
        Ok(())
    })?;
    println!("the same in memory      {in_memory}");

    let before = open_files()?;
    let parallel = repeat(|| {
        runtime.block_on(async {
            let starting = (0..CLUSTERS).map(|_| tokio::spawn(MockCluster::builder().brokers(3).start()));
            for started in futures_util::future::join_all(starting).await {
                started.map_err(io::Error::other)??.stop().await;
            }
            Ok(())
        })
    })?;
    runtime.block_on(async {
        let deadline = Instant::now() + Duration::from_secs(5);
        while runtime.metrics().num_alive_tasks() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let (tasks, files) = (runtime.metrics().num_alive_tasks(), open_files()?.saturating_sub(before));
    println!("{CLUSTERS} clusters in parallel {parallel}, start and stop; tasks left {tasks}, sockets left {files}");
    Ok(())
}

fn as_a_program(broker: &str) -> io::Result<()> {
    let mut idle = Vec::new();
    let first_reply = repeat(|| {
        let program = Program::start(broker, &["--port", "0"])?;
        program.first_reply()?;
        idle.push(program.resident()?);
        Ok(())
    })?;
    println!("program to first reply  {first_reply}, its end included");
    println!("idle resident           {} MB", Figures::of(idle));
    Ok(())
}

/// In turn, so that whatever else the machine does falls on both.
fn beside_kfake(broker: &str, produce: &str, kfake: &str) -> io::Result<()> {
    let (mut ours, mut theirs, mut holding) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_time, mut their_time, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let program = Program::start(broker, &["--port", "0", "--topic", "bench:6"])?;
        let our_rate = program.produce_with(produce)?;
        our_time.push(program.cpu_time()?);
        holding.push(program.resident()?);
        drop(program);
        let program = Program::start(kfake, &[])?;
        let their_rate = program.produce_with(produce)?;
        their_time.push(program.cpu_time()?);
        ours.push(our_rate);
        theirs.push(their_rate);
        ratios.push(our_rate / their_rate);
    }
    println!("after {RECORDS} records   {} MB resident", Figures::of(holding));
    println!("librdkafka, {RECORDS} records of 100 bytes: records/s, processor time of the broker");
    println!("  to milena-mock-broker {:.0}, {} s", Figures::of(ours), Figures::of(our_time));
    println!("  to kfake              {:.0}, {} s", Figures::of(theirs), Figures::of(their_time));
    println!("  ours to kfake's, each run with the one after it: {}", Figures::of(ratios));
    Ok(())
}

/// Of all runs: median, least, most. Shown with as many decimals as asked for, or two.
struct Figures(Vec<f64>);

impl Figures {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else { return f.write_str("nothing") };
        let decimals = f.precision().unwrap_or(2);
        write!(f, "{:.decimals$} [{least:.decimals$}, {most:.decimals$}]", self.0[self.0.len() / 2])
    }
}

/// How long it took, in milliseconds.
fn repeat(mut action: impl FnMut() -> io::Result<()>) -> io::Result<String> {
    let mut taken = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        action()?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(format!("{} ms", Figures::of(taken)))
}

fn open_files() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// A broker program, until it is dropped.
struct Program {
    child: Child,
    /// kfake ends with its input.
    _input: Option<ChildStdin>,
    bootstrap: String,
}

impl Program {
    fn start(program: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(Path::new(program));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        for line in BufReader::new(output).lines() {
            let line = line?;
            // Ours prints lines for people, and then one of JSON; kfake prints the addresses only.
            let bootstrap = match line.split_once("\"bootstrap\":\"") {
                Some((_, rest)) => rest.split('"').next(),
                None => Some(line.as_str()).filter(|line| line.starts_with("127.0.0.1:")),
            };
            if let Some(bootstrap) = bootstrap {
                let (input, bootstrap) = (child.stdin.take(), bootstrap.to_owned());
                return Ok(Self { child, _input: input, bootstrap });
            }
        }
        Err(io::Error::other(format!("{program} never said that it is ready")))
    }

    /// Asks for the API versions.
    fn first_reply(&self) -> io::Result<()> {
        let address = self.bootstrap.split(',').next().unwrap_or_default();
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255])?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)
    }

    /// Megabytes.
    fn resident(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
        kilobytes.map(|kilobytes: f64| kilobytes * 1024.0 / 1e6).ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// Seconds, of all its threads.
    fn cpu_time(&self) -> io::Result<f64> {
        const TICKS_A_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may have spaces: state, ten numbers, and the time in user and in kernel mode.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks: Option<Vec<f64>> = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse().ok()).collect();
        let ticks = ticks.filter(|ticks| ticks.len() == 2).ok_or_else(|| io::Error::other("no times in stat"))?;
        Ok(ticks.iter().sum::<f64>() / TICKS_A_SECOND)
    }

    /// Records a second.
    fn produce_with(&self, produce: &str) -> io::Result<f64> {
        let output = Command::new(produce).args([&self.bootstrap, "bench", RECORDS]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(io::Error::other(format!("{produce}: {}", String::from_utf8_lossy(&output.stderr))));
        }
        text.trim().parse().map_err(io::Error::other)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It is being ended anyway.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
