//! The same questions, put to the mock cluster and to Kafka: the answers must be equal once ids, times and addresses have
//! got names. Each probe states a rule in its name; what Kafka 4.4 answered is in `tests/golden/differential`.
#![allow(clippy::disallowed_methods, reason = "real clocks, threads and sockets")]
#![allow(unreachable_pub, reason = "one program of several files")]

mod debug_tree;
mod differences;
mod golden;
mod names;
mod script;

mod administration;
mod clients;
mod connection;
mod fetch;
mod fetch_sessions;
mod groups;
mod list_offsets;
mod metadata;
mod offsets;
mod outages;
mod produce;
mod producers;
mod topics;
mod transactions;

use golden::{check, check_first, check_outages};

/// One test for each file of probes.
macro_rules! files {
    ($($file:ident: $($module:ident)::+)*) => {$(
        #[tokio::test]
        async fn $file() {
            check(stringify!($file), $($module)::+::PROBES).await;
        }

    )*

        #[test]
        fn there_are_enough_probes() {
            let counts = [$($($module)::+::PROBES.len()),*];
            assert!(counts.iter().sum::<usize>() >= 120, "{counts:?}");
        }
    };
}

#[tokio::test]
async fn outages() {
    check_outages("outages").await;
}

#[tokio::test]
async fn first() {
    check_first("first").await;
}

files! {
    administration: administration
    clients: clients
    connection: connection
    deletion: groups::deletion
    fetch: fetch
    fetch_sessions: fetch_sessions
    joining: groups::joining
    members: groups::members
    list_offsets: list_offsets
    metadata: metadata
    offsets: offsets
    produce: produce
    producers: producers
    statics: groups::statics
    topics: topics
    transactions: transactions
    transaction_contents: transactions::contents
    transaction_versions: transactions::versions
}
