//! A real three-broker Apache Kafka, fetched, started and stopped by the tests themselves.
//!
//! Every broker is a JVM of its own on free loopback ports, so that it can be killed with `kill -9`, stopped, frozen and
//! started again like one on another machine. Nothing outlives the process that started it: each JVM has a guardian that
//! kills it when a pipe from that process closes, whatever the reason.

mod artefacts;
mod broker;
pub(crate) mod ports;
pub(crate) mod probe;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::broker::{Broker, Signal, ZooKeeper};

/// What went wrong while a real Kafka was fetched, started or told something: a sentence for the person who runs the tests.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long the cluster, or one broker of it, may take to serve; a start needs about 4 s on two idle cores.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How long a broker may take for a clean shutdown.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// The Kafka version under test: `MILENA_TEST_KAFKA`, or 4.4.0.
pub fn version() -> String {
    std::env::var("MILENA_TEST_KAFKA").ok().filter(|v| !v.is_empty()).unwrap_or_else(|| "4.4.0".to_owned())
}

/// Major and minor number of the Kafka version under test.
///
/// # Errors
/// `MILENA_TEST_KAFKA` is no version, or too old.
pub fn release() -> Result<(u32, u32), Error> {
    let [major, minor, _] = artefacts::numbers(&version())?;
    Ok((major, minor))
}

/// The first release whose brokers need no ZooKeeper in production.
const KRAFT: (u32, u32) = (3, 3);

/// What to change about the cluster before it starts.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) first_port: Option<u16>,
}

impl Settings {
    /// Sets a broker property on all three brokers, over the harness's own.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts the brokers on this port and the two after it. Default: three free ones.
    #[must_use]
    pub fn first_port(mut self, port: u16) -> Self {
        self.first_port = Some(port);
        self
    }
}

/// A running three-broker cluster with the broker ids 1, 2 and 3 on the racks `r1`, `r2` and `r3`.
///
/// Usable from several tokio runtimes. Dropping it kills the brokers and removes their files; `MILENA_TEST_KEEP=1` in the
/// environment keeps the files (properties, logs, data) and prints where they are.
#[derive(Debug)]
pub struct RealKafka {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    brokers: Vec<Mutex<Broker>>,
    zookeeper: Option<Mutex<ZooKeeper>>,
    janitor: Mutex<Child>,
    scratch: PathBuf,
}

impl RealKafka {
    /// Fetches Kafka if it is not here yet, starts three brokers, and returns when each of them serves and sees the others.
    ///
    /// # Errors
    /// Java or Maven is missing, the version cannot be fetched, or a broker did not come up; the error
    /// then ends with the last lines of its log.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        blocking(move || Self::start_blocking(&settings)).await
    }

    fn start_blocking(settings: &Settings) -> Result<Self, Error> {
        let libs = artefacts::fetch(&version())?;
        let scratch = new_scratch_folder()?;
        let janitor = start_janitor(&scratch)?;
        let mut cluster = Inner { brokers: Vec::new(), zookeeper: None, janitor: Mutex::new(janitor), scratch };

        let ports = ports::choose(settings.first_port)?;
        let cluster_id = if release()? >= KRAFT { Some(random_uuid()?) } else { None };
        if cluster_id.is_none() {
            let folder = cluster.scratch.join("zookeeper");
            fs::create_dir_all(&folder)?;
            cluster.zookeeper = Some(Mutex::new(ZooKeeper::start(&folder, &libs, ports.zookeeper())?));
        }
        for id in 1..=3 {
            let folder = cluster.scratch.join(id.to_string());
            fs::create_dir_all(&folder)?;
            let data = folder.join("data");
            let mut properties = match cluster_id {
                Some(_) => ports.properties(id, &data),
                None => ports.properties_with_zookeeper(id, &data),
            };
            properties.extend(settings.properties.iter().cloned());
            let port = ports.client(id);
            let broker = Broker::new(id, port, folder, libs.clone(), cluster_id.as_deref(), &properties)?;
            cluster.brokers.push(Mutex::new(broker));
        }
        for broker in &cluster.brokers {
            lock(broker).launch()?;
        }
        for broker in &cluster.brokers {
            lock(broker).until_it_serves(3, READY_WITHIN)?;
        }
        Ok(Self { inner: Arc::new(cluster) })
    }

    /// The addresses of all three brokers as `host:port,host:port,host:port`, whether they run or not.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.inner.brokers.iter().map(|broker| lock(broker).address()).collect();
        addresses.join(",")
    }

    /// The folder with each broker's properties, log and data.
    pub fn scratch(&self) -> &Path {
        &self.inner.scratch
    }

    /// The process id of a broker's JVM, or none while it is down.
    ///
    /// # Errors
    /// There is no such broker.
    pub fn process_id(&self, id: i32) -> Result<Option<u32>, Error> {
        Ok(lock(self.inner.broker(id)?).process_id())
    }

    /// Kills a broker with `kill -9` and returns when the process is gone. Does nothing if it is down already.
    ///
    /// # Errors
    /// There is no such broker, or it could not be killed.
    pub async fn crash(&self, id: i32) -> Result<(), Error> {
        self.with_broker(id, |broker| broker.end(Signal::Kill, STOPPED_WITHIN)).await
    }

    /// Shuts a broker down cleanly (`kill -TERM`: leaders move away first) and returns when the process is gone.
    ///
    /// # Errors
    /// There is no such broker, or it did not end within a minute (a frozen one does not).
    pub async fn stop(&self, id: i32) -> Result<(), Error> {
        self.with_broker(id, |broker| broker.end(Signal::Terminate, STOPPED_WITHIN)).await
    }

    /// Starts a broker that was crashed or stopped, on its old data and port, and returns when it serves and sees every
    /// broker that is meant to run. Its replicas may still be catching up. Does nothing if it runs already.
    ///
    /// # Errors
    /// There is no such broker, or it did not come up.
    pub async fn restart(&self, id: i32) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            lock(inner.broker(id)?).launch()?;
            let running = inner.brokers.iter().filter(|broker| lock(broker).is_awake()).count();
            lock(inner.broker(id)?).until_it_serves(running, READY_WITHIN)
        })
        .await
    }

    /// Stops a broker in its tracks (`kill -STOP`): its sockets stay open and nobody answers.
    ///
    /// # Errors
    /// There is no such broker, or it is down.
    pub async fn freeze(&self, id: i32) -> Result<(), Error> {
        self.with_broker(id, |broker| broker.signal(Signal::Freeze)).await
    }

    /// Lets a frozen broker go on (`kill -CONT`), not knowing that time has passed.
    ///
    /// # Errors
    /// There is no such broker, or it is down.
    pub async fn thaw(&self, id: i32) -> Result<(), Error> {
        self.with_broker(id, |broker| broker.signal(Signal::Thaw)).await
    }

    /// Lets every broker run again: thaws the frozen ones, starts those that are down, and returns when each serves and sees
    /// the others.
    ///
    /// # Errors
    /// A broker did not come up.
    pub async fn heal(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            for broker in &inner.brokers {
                lock(broker).revive()?;
            }
            for broker in &inner.brokers {
                lock(broker).until_it_serves(inner.brokers.len(), READY_WITHIN)?;
            }
            Ok(())
        })
        .await
    }

    async fn with_broker(
        &self,
        id: i32,
        act: impl FnOnce(&mut Broker) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || act(&mut lock(inner.broker(id)?))).await
    }
}

impl Inner {
    fn broker(&self, id: i32) -> Result<&Mutex<Broker>, Error> {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        index
            .and_then(|index| self.brokers.get(index))
            .ok_or_else(|| format!("there is no broker {id}: the cluster has the brokers 1, 2 and 3").into())
    }
}

impl Drop for Inner {
    /// The brokers end first, all at once; then the janitor, whose pipe closes here, removes their files.
    fn drop(&mut self) {
        for broker in &self.brokers {
            lock(broker).release();
        }
        for broker in &self.brokers {
            lock(broker).reap();
        }
        if let Some(zookeeper) = &self.zookeeper {
            lock(zookeeper).end();
        }
        let mut janitor = lock(&self.janitor);
        drop(janitor.stdin.take());
        if let Err(error) = janitor.wait() {
            eprintln!("waiting for the removal of {}: {error}", self.scratch.display());
        }
    }
}

/// A test that panicked while it held a broker must not hide its own message behind a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?
}

fn new_scratch_folder() -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = artefacts::folder().join("scratch").join(format!("{}-{count}", std::process::id()));
    if folder.exists() {
        fs::remove_dir_all(&folder)?; // left by a machine that lost its power: the process id has come round
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Starts the process that removes the scratch folder when this process is gone or drops its end of the pipe.
fn start_janitor(scratch: &Path) -> Result<Child, Error> {
    const REMOVE: &str = r#"
        cat >/dev/null                # ends when the other side closes, however it ends
        if [ -n "$MILENA_TEST_KEEP" ]; then echo "kept: $1" >&2; exit; fi
        for attempt in 1 2 3 4 5; do  # a broker that is just being killed may still write
            rm -rf "$1" 2>/dev/null && [ ! -e "$1" ] && break
            sleep 0.2
        done
        rmdir "$(dirname "$1")" 2>/dev/null || true"#;
    shell(REMOVE).arg(scratch).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(Into::into)
}

/// `sh -c script` in a process group of its own: a Ctrl-C in the terminal is for the process that decides, not for these.
pub(crate) fn shell(script: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("sh").process_group(0);
    command
}

/// A cluster id as Kafka writes one: 16 random bytes in URL-safe base64 without padding.
pub(crate) fn random_uuid() -> Result<String, Error> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 16];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    bytes[0] &= 0x7f; // an id must not start with '-', which the format tool would take for an option
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for sextet in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(group >> (18 - 6 * sextet) & 63) as usize]));
        }
    }
    Ok(text)
}

/// Asks again, with a short pause, until there is an answer or the time is up.
fn until<T>(within: Duration, mut ask: impl FnMut() -> Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if started.elapsed() >= within {
            return Ok(None);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    let mut file = fs::File::create(path).map_err(|error| format!("create {}: {error}", path.display()))?;
    file.write_all(text.as_bytes()).map_err(|error| format!("write {}: {error}", path.display()).into())
}
