//! Retries when an object was changed between the read and the write. The name of the function is that of
//! client-go.

use crate::domain::Error;

/// Runs `attempt`, which reads, decides and writes, until it ends in something other than
/// [`Error::WriteConflict`], at most `attempts` times. After that it returns the conflict to the caller.
/// There is no pause between attempts, because the write that won is already done.
pub(super) async fn retry_on_conflict<T, F>(attempts: u32, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 1..attempts {
        match attempt().await {
            Err(Error::WriteConflict { .. }) => {}
            answer => return answer,
        }
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn it_goes_on_after_conflicts_alone_and_not_for_ever() {
        let conflict = || Err(Error::WriteConflict { object: "deployment.apps/shop".to_owned() });
        let count = Cell::new(0);
        let run = async |answers: &[Result<u32, Error>]| {
            count.set(0);
            retry_on_conflict(3, || {
                let answer = answers[count.replace(count.get() + 1)].clone();
                async { answer }
            })
            .await
        };
        assert_eq!(run(&[conflict(), Ok(7)]).await, Ok(7));
        assert_eq!(run(&[conflict(), conflict(), conflict(), Ok(7)]).await, conflict());
        assert_eq!(count.get(), 3);
        assert_eq!(run(&[Err(Error::WarmingUp), Ok(7)]).await, Err(Error::WarmingUp));
    }
}
