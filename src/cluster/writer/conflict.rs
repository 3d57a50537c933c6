//! What is done when others changed an object between the read and the write over it, under the name that client-go gives it.

use crate::domain::Error;

/// Reads, decides and writes until the write is not refused for a version that is no longer the newest, at most this often. After
/// that the caller is told so by [`Error::WriteConflict`]. Without a pause: whoever was faster is done.
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
