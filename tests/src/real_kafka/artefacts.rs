//! Kafka's jars: fetched once from Maven's repository into the target folder, then shared by every run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::{Error, write_file};

/// Kafka names no logging back end among its dependencies; this one reads `log4j2.properties`.
const LOGGING: (&str, &str) = ("log4j-slf4j-impl", "2.25.5");

/// Older ones do not come up on Java 17.
const OLDEST: (u32, u32) = (2, 8);

/// `kafka/` in Cargo's target folder: the jars of each version, and the scratch folders of running clusters.
pub(super) fn folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    workspace.join(target).join("kafka") // an absolute CARGO_TARGET_DIR replaces the workspace
}

/// The folder with all jars of a version, fetched if it is not there yet.
pub(super) fn fetch(version: &str) -> Result<PathBuf, Error> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

    numbers(version)?;
    require("java", "-version", "default-jdk-headless")?;
    let ready = folder().join(version);
    if !ready.join("libs").is_dir() {
        require("mvn", "-version", "maven")?;
        download(version, &ready)?;
    }
    Ok(ready.join("libs"))
}

/// The version as numbers; it also becomes part of a path and of an XML file.
pub(super) fn numbers(version: &str) -> Result<[u32; 3], Error> {
    let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[major, minor, patch]) if (major, minor) >= OLDEST => Ok([major, minor, patch]),
        Some([_, _, _]) => {
            Err(format!("Kafka {version} is too old: set MILENA_TEST_KAFKA to {}.{}.0 or newer", OLDEST.0, OLDEST.1)
                .into())
        }
        _ => Err(format!("MILENA_TEST_KAFKA={version} is not a version such as 4.4.0").into()),
    }
}

fn require(program: &str, argument: &str, package: &str) -> Result<(), Error> {
    let outcome = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    match outcome {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} {argument} failed: {}", String::from_utf8_lossy(&output.stderr)).into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!(
            "the tests start a real Kafka and found no {program}: install it (Debian: apt-get install {package}), or \
             unset MILENA_TEST_CLUSTER to use the mock cluster"
        )
        .into()),
        Err(error) => Err(format!("start {program}: {error}").into()),
    }
}

/// Downloads beside the final place and renames at the end, so that another process sees all of the jars or none.
fn download(version: &str, ready: &Path) -> Result<(), Error> {
    let partial = folder().join(format!("{version}.{}", std::process::id()));
    fs::create_dir_all(&partial).map_err(|error| format!("create {}: {error}", partial.display()))?;
    let outcome = copy_dependencies(version, &partial).and_then(|()| match fs::rename(&partial, ready) {
        Err(_) if ready.join("libs").is_dir() => Ok(()), // another process was faster
        outcome => outcome.map_err(|error| format!("move the jars to {}: {error}", ready.display()).into()),
    });
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    outcome
}

fn copy_dependencies(version: &str, partial: &Path) -> Result<(), Error> {
    let (logging, logging_version) = LOGGING;
    let pom = format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>milena</groupId><artifactId>broker-under-test</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>{logging}</artifactId><version>{logging_version}</version></dependency>
  </dependencies>
</project>
"#
    );
    write_file(&partial.join("pom.xml"), &pom)?;
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "-DoutputDirectory=libs"])
        .current_dir(partial)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).take(3).collect();
    Err(format!("fetch Kafka {version} with Maven failed ({}): {}", output.status, said.join(" ")).into())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn a_version_is_three_numbers_from_2_8_on() {
        assert_eq!(numbers("4.4.0").unwrap(), [4, 4, 0]);
        assert_eq!(numbers("2.8.2").unwrap(), [2, 8, 2]);
        assert!(numbers("2.7.2").unwrap_err().to_string().contains("too old"));
        for bad in ["", "4.4", "latest", "../../etc", "4.4.0</version>"] {
            assert!(numbers(bad).unwrap_err().to_string().contains("is not a version"), "{bad}");
        }
    }
}
