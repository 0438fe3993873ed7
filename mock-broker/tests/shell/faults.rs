//! Each kind of fault, seen by a client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use milena_mock_broker::{ApiKey, ErrorCode, Fault};
use milena_protocol::messages::produce::ProduceRequest;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::raw::{Client, METADATA_VERSION, Over, PRODUCE_VERSION, about, in_memory, now, record};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_error_is_answered_and_nothing_applied() {
    let cluster = in_memory();
    let fault = cluster.fault(Fault::on(ApiKey::PRODUCE).topic("orders").error(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let answer = client.produce("orders", "a").await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(fault.hits(), 1);
    assert!(cluster.partition("orders", 0).values().is_empty());
    let answer = client.produce("orders", "b").await.unwrap();
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, 0));
    assert_eq!(cluster.partition("orders", 0).values(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_and_a_lost_answer() {
    let cluster = in_memory();
    let lost_request = cluster.fault(Fault::on(ApiKey::PRODUCE).disconnect());
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    assert!(client.produce("orders", "a").await.is_err());
    assert!(cluster.partition("orders", 0).values().is_empty());

    let lost_answer = cluster.fault(Fault::on(ApiKey::PRODUCE).apply_then_disconnect());
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    assert!(client.produce("orders", "b").await.is_err());
    assert_eq!(cluster.partition("orders", 0).values(), ["b"]);
    assert_eq!((lost_request.hits(), lost_answer.hits()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_delay_holds_the_request_and_a_late_answer_holds_the_answer() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let mut neighbour = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();

    let _held = cluster.fault(Fault::on(ApiKey::PRODUCE).delay(10 * SECOND));
    let start = now();
    client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
    assert!(timeout(9 * SECOND, client.stream.read_u8()).await.is_err());
    assert!(cluster.partition("orders", 0).values().is_empty());
    neighbour.metadata("orders").await.unwrap();
    client.receive::<ProduceRequest>(PRODUCE_VERSION).await.unwrap();
    assert_eq!(start.elapsed(), 10 * SECOND);

    let _late = cluster.fault(Fault::on(ApiKey::PRODUCE).apply_then_delay(10 * SECOND));
    let start = now();
    client.send(PRODUCE_VERSION, &record("orders", "b")).await.unwrap();
    assert!(timeout(9 * SECOND, client.stream.read_u8()).await.is_err());
    assert_eq!(cluster.partition("orders", 0).values(), ["a", "b"]);
    client.receive::<ProduceRequest>(PRODUCE_VERSION).await.unwrap();
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_is_applied_though_its_client_gave_up() {
    let cluster = in_memory();
    let held = cluster.fault(Fault::on(ApiKey::PRODUCE).delay(10 * SECOND));
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.send(PRODUCE_VERSION, &record("orders", "late")).await.unwrap();
    held.hit().await;
    drop(client);
    cluster.until("the late record", |state| state.log_end("orders", 0) == 1).await;
    cluster.until("no open connections", |state| state.open_connections() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_answered_keeps_its_connection_until_the_client_leaves() {
    let cluster = in_memory();
    let fault = cluster.fault(Fault::on(ApiKey::PRODUCE).never_answer());
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
    fault.hit().await;
    assert!(timeout(3600 * SECOND, client.stream.read_u8()).await.is_err());
    assert!(cluster.partition("orders", 0).values().is_empty());
    assert_eq!(cluster.with(|state| state.open_connections()), 1);
    // More than is read ahead of a request.
    for _ in 0..10 {
        client.send(PRODUCE_VERSION, &record("orders", &"b".repeat(10_000))).await.unwrap();
    }
    drop(client);
    cluster.until("no open connections", |state| state.open_connections() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_cut() {
    let cluster = in_memory();
    for (sent, length) in [3, 4, 9].into_iter().enumerate() {
        let fault = cluster.fault(Fault::on(ApiKey::PRODUCE).cut_response_at(length));
        let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
        client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
        let mut received = Vec::new();
        client.stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), length);
        assert_eq!(fault.hits(), 1);
        assert_eq!(cluster.partition("orders", 0).values().len(), sent + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn rules_are_removed_with_their_handles() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let always = cluster.fault(Fault::on(ApiKey::METADATA).always().error(ErrorCode::UNKNOWN_SERVER_ERROR));
    for _ in 0..3 {
        let topic = client.metadata("orders").await.unwrap().topics.remove(0);
        assert_eq!(topic.error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    assert_eq!(always.hits(), 3);
    drop(always);
    assert_eq!(client.metadata("orders").await.unwrap().topics[0].error_code, ErrorCode::NONE);
}

#[tokio::test]
#[should_panic(expected = "a fault fired 0 times instead of 1: PRODUCE, topic orders: disconnect (added at")]
async fn a_rule_that_never_fired_fails_the_test() {
    let cluster = in_memory();
    let _fault = cluster.fault(Fault::on(ApiKey::PRODUCE).topic("orders").disconnect());
}

#[tokio::test]
#[should_panic(expected = "fired 1 times instead of 2")]
async fn a_rule_that_fired_too_seldom_fails_the_test() {
    let cluster = in_memory();
    let _fault = cluster.fault(Fault::on(ApiKey::METADATA).times(2).error(ErrorCode::UNKNOWN_SERVER_ERROR));
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.metadata("orders").await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "the test's own failure")]
async fn a_rule_does_not_panic_while_another_panic_is_under_way() {
    let cluster = in_memory();
    let _fault = cluster.fault(Fault::on(ApiKey::PRODUCE).disconnect());
    panic!("the test's own failure");
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "waited 60 s in vain for a fault to fire (0 of 1): any request, broker 1, always: delay by 1s (added at"
)]
async fn waiting_for_a_hit_gives_up_and_names_the_rule() {
    let cluster = in_memory();
    let fault = cluster.fault(Fault::any().broker(1).always().delay(SECOND));
    fault.hit().await;
}

#[tokio::test]
async fn an_optional_rule_may_never_fire() {
    let cluster = in_memory();
    let _fault = cluster.fault(Fault::any().disconnect()).optional();
}

#[tokio::test]
async fn looking_at_the_state_may_panic_without_breaking_the_cluster() {
    let cluster = in_memory();
    let looked = catch_unwind(AssertUnwindSafe(|| cluster.with(|_| panic!("an assertion of the test"))));
    assert!(looked.is_err());
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.send(METADATA_VERSION, &about("orders")).await.unwrap();
    assert!(client.receive_frame().await.is_ok());
}

#[tokio::test]
async fn a_handle_that_a_looking_closure_drops_checks_nothing() {
    let cluster = in_memory();
    let rule = cluster.fault(Fault::on(ApiKey::PRODUCE).disconnect());
    let look = std::panic::AssertUnwindSafe(|| cluster.with(move |_| rule.hits()));
    let panic = std::panic::catch_unwind(look).unwrap_err();
    let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(text.contains("a closure that looks at the mock cluster calls it"), "{text}");
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    assert!(client.produce("orders", "a").await.is_err(), "the rule stays");
}
