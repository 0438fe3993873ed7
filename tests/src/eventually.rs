//! Waiting for a condition with a deadline: what tests do instead of sleeping.

use std::time::Duration;

/// Asks every 10 ms until there is an answer, and returns it. The deadline is generous on purpose: it ends a test that
/// hangs, it measures nothing.
///
/// # Panics
/// There was no answer within 60 s; the message says what was waited for.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_or(ask, || what.to_owned()).await
}

/// Like [`eventually`], with what was waited for as it looks in the end.
///
/// # Panics
/// There was no answer within 60 s.
pub async fn eventually_or<T>(mut ask: impl AsyncFnMut() -> Option<T>, what: impl FnOnce() -> String) -> T {
    const WITHIN: Duration = Duration::from_secs(60);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let answered = tokio::time::timeout(WITHIN, async {
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    });
    answered.await.unwrap_or_else(|_| panic!("waited {} s in vain for {}", WITHIN.as_secs(), what()))
}

#[cfg(test)]
mod tests {
    use super::eventually;

    #[tokio::test(start_paused = true)]
    async fn it_asks_until_there_is_an_answer() {
        let mut asked = 0;
        let answer = eventually("the third time", async || {
            asked += 1;
            (asked == 3).then_some("yes")
        });
        assert_eq!(answer.await, "yes");
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 60 s in vain for Godot")]
    async fn it_gives_up() {
        eventually("Godot", async || None::<()>).await;
    }
}
