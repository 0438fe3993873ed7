//! The program: its ready line, its end, and what it says when it cannot start.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use crate::raw::one_broker;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena-mock-broker"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends the program however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_tells_where_it_listens_and_ends_at_a_signal() {
    let arguments = ["--brokers", "2", "--port", "0", "--topic", "orders:6:2", "--auto-create"];
    let mut running = Running(program(&arguments).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let mut expected = Vec::new();
    for id in 1..=2 {
        let line = lines.next().unwrap().unwrap();
        let address = line.strip_prefix(&format!("broker {id} listens on ")).unwrap().to_owned();
        std::net::TcpStream::connect(&address).unwrap();
        expected.push(address);
    }
    let port = |address: &str| address.strip_prefix("127.0.0.1:").unwrap().to_owned();
    let json = format!(
        r#"{{"ready":true,"bootstrap":"{},{}","brokers":[{{"id":1,"host":"127.0.0.1","port":{}}},{{"id":2,"host":"127.0.0.1","port":{}}}]}}"#,
        expected[0],
        expected[1],
        port(&expected[0]),
        port(&expected[1])
    );
    assert_eq!(lines.next().unwrap().unwrap(), json);
    let signalled = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert!(running.0.wait().unwrap().success());
    assert!(lines.next().is_none(), "nothing follows the ready line");
    let mut log = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("stopping"), "{log}");
}

#[tokio::test]
async fn a_taken_port_is_named_in_one_line() {
    let cluster = one_broker().await;
    let port = cluster.broker(1).port().to_string();
    let Output { status, stdout, stderr } = program(&["--brokers", "1", "--port", &port]).output().unwrap();
    let (out, error) = (text(&stdout), text(&stderr));
    assert_eq!((status.code(), out.as_str()), (Some(1), ""));
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("another port"), "{error}");
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    for (arguments, named) in [
        (&["--brokr", "3"][..], "--brokr"),
        (&["--brokers", "many"], "--brokers many is not a number from 1 to 1000"),
        (
            &["--port", "0", "--topic", "orders:6:9"],
            "topic orders (6 partitions, 9 replicas) in a cluster of 3 brokers",
        ),
        (&["--port", "0", "--brokers", "0"], "0 brokers"),
        (&["--port", "0", "--host", "0.0.0.0"], "0.0.0.0"),
    ] {
        let Output { status, stdout, stderr } = program(arguments).output().unwrap();
        let (out, error) = (text(&stdout), text(&stderr));
        assert_eq!((status.code(), out.as_str()), (Some(2), ""), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("milena-mock-broker: ") && error.contains(named), "{error}");
        assert!(error.ends_with("; --help lists the options\n"), "{error}");
    }
}

#[test]
fn a_bad_log_level_is_named_in_one_line() {
    let Output { status, stderr, .. } = program(&["--port", "0"]).env("RUST_LOG", "milena=loud").output().unwrap();
    let error = text(&stderr);
    assert_eq!(status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("RUST_LOG=milena=loud"), "{error}");
}

#[test]
fn help_is_printed() {
    let output = program(&["--help"]).output().unwrap();
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("--topic NAME"));
}
