//! The wire format against those who know it: another crate, Kafka's Java client, a real broker. And against bytes that nobody
//! should send.

#[path = "wire/apis.rs"]
mod apis;
#[path = "wire/blobs.rs"]
mod blobs;
#[path = "wire/choice.rs"]
mod choice;
#[path = "wire/frames.rs"]
mod frames;
#[path = "wire/hex.rs"]
mod hex;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/messages.rs"]
mod messages;
#[path = "wire/oracle.rs"]
mod oracle;
#[path = "wire/oracle_batches.rs"]
mod oracle_batches;
