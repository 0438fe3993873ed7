//! One broker: a JVM under a guardian that does not let it outlive the test process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Error, probe, shell, until, write_file};

/// `sh -c` script of the guardian, with a folder and the JVM's command line as arguments, and what to run in `$MAIN`.
///
/// With a `$CLUSTER_ID` it formats the data folder on the first start, starts the JVM and tells its process id on standard output. The
/// watcher kills the JVM when standard input closes; that is when the test process drops its end or dies. When the JVM
/// is gone the watcher is ended first, so that nobody is killed under a process id that has been given away again.
const GUARDIAN: &str = r#"
    exec 3<&0
    cd "$1" && shift || exit
    exec 2>>broker.log                   # where the shell says "Killed"
    if [ -n "$CLUSTER_ID" ] && [ ! -e data ]; then
        "$@" kafka.tools.StorageTool format -t "$CLUSTER_ID" -c broker.properties </dev/null >&2 || exit
    fi
    "$@" $MAIN </dev/null >&2 3<&- &
    jvm=$!
    (cat <&3 >/dev/null; kill -9 $jvm) >/dev/null &
    watcher=$!
    echo $jvm
    wait $jvm
    status=$?
    kill $watcher
    exit $status"#;

/// In log4j's own format: for YAML older Kafkas lack a parser.
const LOGGING: (&str, &str) = (
    "log4j2.properties",
    "appender.log.type=Console
appender.log.name=log
appender.log.layout.type=PatternLayout
appender.log.layout.pattern=%d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
rootLogger.level=${env:MILENA_TEST_KAFKA_LOG:-WARN}
rootLogger.appenderRef.log.ref=log
",
);

/// The command that runs a class of Kafka or ZooKeeper in a folder under a guardian, which its standard input keeps alive.
fn guarded(folder: &Path, libs: &Path, main: &str) -> Command {
    let mut command = shell(GUARDIAN);
    command.arg(folder).args(["java", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(["-Xshare:auto", "-XX:-UsePerfData", "-Dlog4j2.configurationFile=log4j2.properties"]);
    command.arg("-cp").arg(libs.join("*")).env("MAIN", main);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The ZooKeeper that brokers before KRaft keep their metadata in.
#[derive(Debug)]
pub(super) struct ZooKeeper(Child);

impl ZooKeeper {
    /// Starts it and does not wait: brokers try again until it serves.
    pub(super) fn start(folder: &Path, libs: &Path, port: u16) -> Result<Self, Error> {
        // Sessions are between 2 and 20 ticks long.
        let properties = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=500\nmaxClientCnxns=0\n\
             admin.enableServer=false\n",
            folder.join("data").display()
        );
        write_file(&folder.join("zookeeper.properties"), &properties)?;
        write_file(&folder.join(LOGGING.0), LOGGING.1)?;
        let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain zookeeper.properties";
        Ok(Self(guarded(folder, libs, main).env("CLUSTER_ID", "").spawn()?))
    }

    /// Kills it and waits for its end.
    pub(super) fn end(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("waiting for the end of ZooKeeper: {error}");
        }
    }
}

/// What the `kill` command can tell a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Kill,
    Terminate,
    Freeze,
    Thaw,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::Freeze => "STOP",
            Self::Thaw => "CONT",
        }
    }
}

#[derive(Debug)]
pub(super) struct Broker {
    id: i32,
    port: u16,
    folder: PathBuf,
    libs: PathBuf,
    /// None with ZooKeeper, which makes one up itself.
    cluster_id: Option<String>,
    state: State,
}

/// ```text
/// Down ──launch──► Running ──freeze──► Frozen
///  ▲                 │  ▲──────thaw──────│
///  └──────end────────┴────────end────────┘
/// ```
#[derive(Debug)]
enum State {
    Down,
    Running { guardian: Child, jvm: u32 },
    Frozen { guardian: Child, jvm: u32 },
}

impl Broker {
    /// Writes the broker's files; nothing runs yet.
    pub(super) fn new(
        id: i32,
        port: u16,
        folder: PathBuf,
        libs: PathBuf,
        cluster_id: Option<&str>,
        properties: &[(String, String)],
    ) -> Result<Self, Error> {
        let lines: String = properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        write_file(&folder.join("broker.properties"), &lines)?;
        write_file(&folder.join(LOGGING.0), LOGGING.1)?;
        Ok(Self { id, port, folder, libs, cluster_id: cluster_id.map(str::to_owned), state: State::Down })
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        match &self.state {
            State::Down => None,
            State::Running { jvm, .. } | State::Frozen { jvm, .. } => Some(*jvm),
        }
    }

    pub(super) fn is_awake(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Starts the guardian, which starts the JVM; does nothing if the broker runs. It does not serve yet.
    pub(super) fn launch(&mut self) -> Result<(), Error> {
        if !matches!(self.state, State::Down) {
            return Ok(());
        }
        let guardian = guarded(&self.folder, &self.libs, "kafka.Kafka broker.properties")
            .env("CLUSTER_ID", self.cluster_id.as_deref().unwrap_or_default())
            .spawn()?;
        self.state = State::Running { guardian, jvm: 0 };
        Ok(())
    }

    /// Thaws it if it is frozen, launches it if it is down.
    pub(super) fn revive(&mut self) -> Result<(), Error> {
        match self.state {
            State::Frozen { .. } => self.signal(Signal::Thaw),
            State::Down | State::Running { .. } => self.launch(),
        }
    }

    /// Waits until the JVM runs and answers a Metadata request that lists this many brokers, itself among them.
    pub(super) fn until_it_serves(&mut self, brokers: usize, within: Duration) -> Result<(), Error> {
        self.learn_process_id()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut saw = String::from("nothing listens yet");
        // ZooKeeper remembers a broker that crashed for as long as its session lasts, and turns it away; on a machine under load
        // sessions end early.
        let mut relaunches = if self.cluster_id.is_none() { 3 } else { 0 };
        let served = until(within, || {
            match probe::brokers(address) {
                Ok(ids) if ids.len() >= brokers && ids.contains(&self.id) => return Ok(Some(())),
                Ok(ids) => saw = format!("it lists the brokers {ids:?}"),
                Err(error) => saw = error.to_string(),
            }
            match &mut self.state {
                State::Running { guardian, .. } => match guardian.try_wait()? {
                    None => Ok(None),
                    Some(_) if relaunches > 0 => {
                        relaunches -= 1;
                        self.state = State::Down;
                        self.launch()?;
                        self.learn_process_id()?;
                        Ok(None)
                    }
                    Some(status) => Err(format!("the process ended: {status}").into()),
                },
                State::Down | State::Frozen { .. } => Err("the broker was stopped meanwhile".into()),
            }
        });
        let trouble = match served {
            Ok(Some(())) => return Ok(()),
            Ok(None) => format!("not ready after {} s, {saw}", within.as_secs()),
            Err(error) => error.to_string(),
        };
        Err(format!("start broker {} on port {}: {trouble}{}", self.id, self.port, self.end_of_log()).into())
    }

    /// The guardian's first line is the process id of the JVM; the line never comes if the data folder cannot be formatted.
    fn learn_process_id(&mut self) -> Result<(), Error> {
        let trouble = match &mut self.state {
            State::Running { guardian, jvm } if *jvm == 0 => {
                let mut line = String::new();
                if let Some(stdout) = guardian.stdout.take() {
                    BufReader::new(stdout).read_line(&mut line)?;
                }
                *jvm = line.trim().parse().unwrap_or(0);
                if *jvm != 0 {
                    return Ok(());
                }
                guardian.wait()?
            }
            State::Down | State::Running { .. } | State::Frozen { .. } => return Ok(()),
        };
        self.state = State::Down;
        Err(format!("format the data folder of broker {}: {trouble}{}", self.id, self.end_of_log()).into())
    }

    /// Ends the broker with a signal and returns when the process is gone; does nothing if it is down.
    pub(super) fn end(&mut self, signal: Signal, within: Duration) -> Result<(), Error> {
        if matches!(self.state, State::Down) {
            return Ok(());
        }
        self.signal(signal)?;
        let gone = until(within, || match &mut self.state {
            State::Running { guardian, .. } | State::Frozen { guardian, .. } => Ok(guardian.try_wait()?),
            State::Down => Ok(None),
        })?;
        if gone.is_none() {
            let waited = within.as_secs();
            return Err(
                format!("broker {} still runs {waited} s after {signal:?}{}", self.id, self.end_of_log()).into()
            );
        }
        self.state = State::Down;
        Ok(())
    }

    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let Some(jvm) = self.process_id().filter(|jvm| *jvm != 0) else {
            return Err(format!("broker {} is down: restart it first", self.id).into());
        };
        let status = shell(r#"kill -"$1" "$2""#).arg(signal.name()).arg(jvm.to_string()).status()?;
        if !status.success() {
            return Err(format!("kill -{} {jvm} (broker {}): {status}", signal.name(), self.id).into());
        }
        let state = std::mem::replace(&mut self.state, State::Down);
        self.state = match (state, signal) {
            (State::Running { guardian, jvm }, Signal::Freeze) => State::Frozen { guardian, jvm },
            (State::Frozen { guardian, jvm }, Signal::Thaw) => State::Running { guardian, jvm },
            (state, Signal::Kill | Signal::Terminate | Signal::Freeze | Signal::Thaw) => state,
        };
        Ok(())
    }

    /// Closes the guardian's pipe, which kills the JVM, without waiting.
    pub(super) fn release(&mut self) {
        match &mut self.state {
            State::Running { guardian, .. } | State::Frozen { guardian, .. } => drop(guardian.stdin.take()),
            State::Down => {}
        }
    }

    /// Waits for the end of a guardian whose pipe was closed.
    pub(super) fn reap(&mut self) {
        match &mut self.state {
            State::Running { guardian, .. } | State::Frozen { guardian, .. } => {
                if let Err(error) = guardian.wait() {
                    eprintln!("waiting for the end of broker {}: {error}", self.id);
                }
            }
            State::Down => {}
        }
        self.state = State::Down;
    }

    fn end_of_log(&self) -> String {
        let path = self.folder.join("broker.log");
        let log = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(15)..];
        format!("; the last lines of {}:\n{}", path.display(), last.join("\n"))
    }
}
