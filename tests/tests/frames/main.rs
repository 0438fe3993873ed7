//! Random frames against the mock cluster: it neither panics nor hangs, and does not grow.
//!
//! Half of the frames are made from the message tables with fields that are mostly such as clients send, some are those with
//! something broken, some are raw bytes. They go over pipes, which is the cluster's core on a paused clock, and over sockets.
//!
//! `MILENA_TEST_FRAMES=200000 cargo test -p milena-tests --test frames -- --nocapture` sends so many each way;
//! `MILENA_TEST_FRAMES_SEED` makes them others.

#![allow(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "figures are printed; what may hang runs on a thread of its own"
)]

mod generator;
mod known;
mod run;

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use run::{Progress, over_pipes, over_sockets};

/// In CI.
const FRAMES: u64 = 5_000;
/// What the cluster may hold for clients it has not got rid of, it has by then. Fewer frames say nothing about growth.
const WARMED_UP: u64 = 20_000;
const MOST_GROWTH: u64 = 8 << 20;
/// Without any progress for so long, something hangs. The machine may be slow.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// Resident memory of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Runs elsewhere, so that what hangs can be told.
fn watched(name: &str, run: impl FnOnce(&Progress) + Send + 'static) {
    let progress = Progress::new(WARMED_UP);
    let (done, is_done) = sync_channel::<()>(1);
    let worker = std::thread::spawn({
        let progress = progress.clone();
        move || {
            let _done = done;
            run(&progress);
        }
    });
    let mut before = 0;
    while is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        let now = progress.frames();
        assert!(now > before, "{name}: nothing has happened for {PATIENCE:?} after {now} frames; {}", progress.last());
        before = now;
    }
    if let Err(panic) = worker.join() {
        eprintln!("{name}: {}", progress.last());
        std::panic::resume_unwind(panic);
    }
    let (first, last) = (progress.warm_bytes(), resident_bytes());
    eprintln!("{name}: {} frames; resident {first:?} bytes when warm, {last:?} at the end", progress.frames());
    eprintln!("{name}: requests that were granted: {:?}", progress.done());
    if let (Some(first), Some(last)) = (first, last) {
        assert!(last <= first + MOST_GROWTH, "{name}: resident memory grew from {first} to {last} bytes");
    }
}

/// What glibc keeps for itself between large and small pieces is not what the cluster holds. These have it give that back; it
/// reads them when a process starts, so this one starts anew.
fn have_freed_memory_given_back() {
    use std::os::unix::process::CommandExt;
    const SETTINGS: [&str; 2] = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];
    if SETTINGS.iter().any(|name| std::env::var_os(name).is_none()) {
        let mut command = std::process::Command::new(std::env::current_exe().expect("the path of this test"));
        command.args(std::env::args_os().skip(1)).envs(SETTINGS.map(|name| (name, "65536")));
        panic!("start this test anew: {}", command.exec());
    }
}

/// One test, as memory is the process's.
#[test]
fn no_frame_makes_the_cluster_panic_or_hang_or_grow() {
    have_freed_memory_given_back();
    let (frames, seed) = (setting("MILENA_TEST_FRAMES", FRAMES), setting("MILENA_TEST_FRAMES_SEED", 1));
    let panics = run::count_panics();
    watched("pipes", move |progress| over_pipes(seed, frames, progress));
    watched("sockets", move |progress| over_sockets(seed + 1, frames, progress));
    assert_eq!(panics.lock().unwrap().as_slice(), [""; 0], "the cluster's tasks have panicked");
}
