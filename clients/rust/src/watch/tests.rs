//! Streams that break off, fall silent or end, on a paused clock.

use std::{cell::RefCell, collections::VecDeque, pin::Pin};

use super::*;

#[derive(Debug, PartialEq)]
struct Tick(u32, bool);

impl Event for Tick {
    fn resume_token(&self) -> &str {
        ["", "one", "two", "three"][self.0 as usize]
    }
    fn is_last(&self) -> bool {
        self.1
    }
}

type Ticks = Pin<Box<dyn Stream<Item = Result<Tick, Status>>>>;

fn mk_stream(items: Vec<Result<Tick, Status>>, then_hangs: bool) -> Ticks {
    let items = stream::iter(items);
    if then_hangs { Box::pin(items.chain(stream::pending())) } else { Box::pin(items) }
}

/// Runs a watch over the given streams, one per connection. Returns the tokens it sent and the items it gave.
async fn run(connections: Vec<Result<Ticks, Status>>) -> (Vec<String>, Vec<String>) {
    let (tokens, left) = (RefCell::new(Vec::new()), RefCell::new(VecDeque::from(connections)));
    let seen = watch(|token| {
        tokens.borrow_mut().push(token);
        let next =
            left.borrow_mut().pop_front().unwrap_or_else(|| Err(Status::internal("no connection left")));
        async move { next }
    })
    .map(|item| match item {
        Ok(Update::Message(Tick(n, _))) => n.to_string(),
        Ok(Update::Interrupted { error, .. }) => format!("again: {error}"),
        Err(error) => format!("error: {error}"),
    })
    .collect()
    .await;
    (tokens.into_inner(), seen)
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_goes_on_from_its_last_token() {
    let first = mk_stream(
        vec![Ok(Tick(1, false)), Ok(Tick(0, false)), Err(Status::unavailable("shutting down"))],
        false,
    );
    let second = mk_stream(vec![Ok(Tick(2, false))], false);
    let third = mk_stream(vec![Ok(Tick(3, true)), Ok(Tick(1, false))], true);
    let (tokens, seen) = run(vec![Ok(first), Ok(second), Ok(third)]).await;
    assert_eq!(tokens, ["", "one", "two"]);
    assert_eq!(seen, ["1", "0", "again: shutting down", "2", "again: the server ended the stream", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_opened_again() {
    let began = time::Instant::now();
    let (tokens, seen) = run(vec![
        Ok(mk_stream(vec![Ok(Tick(1, false))], true)),
        Ok(mk_stream(vec![Ok(Tick(2, true))], false)),
    ])
    .await;
    assert_eq!(tokens, ["", "one"]);
    assert_eq!(seen, ["1", "again: the server sent nothing for 45 s", "2"]);
    assert!((SILENCE..SILENCE + Duration::from_secs(1)).contains(&began.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let (tokens, seen) = run((0..9).map(|_| Err(Status::unavailable("warming up"))).collect()).await;
    assert_eq!(tokens.len(), FIRST_TRIES as usize);
    assert_eq!(seen.last().map(String::as_str), Some("error: warming up"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_answered_is_waited_for() {
    let mut connections = vec![Ok(mk_stream(vec![Ok(Tick(1, false))], false))];
    connections.extend((0..50).map(|_| Err(Status::unavailable("away"))));
    connections.push(Ok(mk_stream(vec![Ok(Tick(2, true))], false)));
    let (tokens, seen) = run(connections).await;
    assert_eq!((tokens.len(), seen.last().map(String::as_str)), (52, Some("2")));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_stays_ends_it() {
    let (tokens, seen) = run(vec![Err(Status::not_found("no such app"))]).await;
    assert_eq!((tokens.len(), seen), (1, vec!["error: no such app".to_owned()]));
}
