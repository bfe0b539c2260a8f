//! Waits that people are told of when they take long: of one that hangs the log would say nothing else.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout};

/// After how long they are told first; each further time comes after twice the time of the last.
const QUIET: Duration = Duration::from_secs(5);

/// Waits for something, and tells now and then for how long that has been.
pub async fn telling<T>(what: impl Future<Output = T>, mut tell: impl FnMut(Duration)) -> T {
    let mut what = pin!(what);
    let (begun, mut pause) = (Instant::now(), QUIET);
    loop {
        if let Ok(result) = timeout(pause, what.as_mut()).await {
            return result;
        }
        tell(begun.elapsed());
        pause = pause.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn people_are_told_of_long_waits_and_ever_more_rarely() {
        let mut told = Vec::new();
        telling(sleep(QUIET * 8), |waited| told.push(waited.as_secs())).await;
        assert_eq!(told, [5, 15, 35]);
        told.clear();
        assert_eq!(telling(async { 7 }, |waited| told.push(waited.as_secs())).await, 7);
        assert!(told.is_empty());
    }
}
