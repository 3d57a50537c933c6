//! Lets the changes of one app take turns, in the order in which they came, so that they do not compete for
//! the next revision. It covers this process only. Changes by other processes are found by the writer, which
//! begins again after a conflict.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turnstile, OwnedMutexGuard};

use crate::domain::{Error, name};

/// The largest number of changes of one app that are made or wait at the same time.
const MOST: usize = 256;

/// The queue of each app that is being changed.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<name::App, Queue>>>);

struct Queue {
    /// Its waiters are served in the order in which they came.
    turnstile: Arc<Turnstile<()>>,
    /// Changes that are made or wait.
    length: usize,
}

/// A place in the queue of an app. The last one to leave removes the queue.
struct Place {
    turns: Turns,
    app: name::App,
}

/// The right to change an app. Dropping it lets the next change begin.
pub(super) struct Turn {
    // The order of the fields is that in which they are dropped.
    _passed: OwnedMutexGuard<()>,
    _place: Place,
}

// === impl Turns ===

impl Turns {
    /// Waits until every earlier change of the app has ended. Dropping the future leaves the queue.
    pub(super) async fn wait(&self, app: &name::App) -> Result<Turn, Error> {
        let (place, turnstile) = self.join(app)?;
        Ok(Turn { _passed: turnstile.lock_owned().await, _place: place })
    }

    fn join(&self, app: &name::App) -> Result<(Place, Arc<Turnstile<()>>), Error> {
        let mut queues = self.0.lock();
        let queue = queues
            .entry(app.clone())
            .or_insert_with(|| Queue { turnstile: Arc::new(Turnstile::new(())), length: 0 });
        if queue.length >= MOST {
            return Err(Error::TooManyChanges { app: app.to_string(), waiting: MOST });
        }
        queue.length += 1;
        let turnstile = queue.turnstile.clone();
        drop(queues);
        Ok((Place { turns: self.clone(), app: app.clone() }, turnstile))
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.turns.0.lock();
        if let Some(queue) = queues.get_mut(&self.app) {
            queue.length -= 1;
            if queue.length == 0 {
                queues.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    fn app(name: &str) -> name::App {
        name::App::new("prod", name)
    }

    #[tokio::test]
    async fn changes_of_one_app_are_made_one_by_one_in_the_order_in_which_they_came() {
        let (turns, running, order) = (Turns::default(), Mutex::new(0), Mutex::new(Vec::new()));
        let changes = (0..30).map(|i| {
            let (turns, running, order) = (&turns, &running, &order);
            async move {
                let turn = turns.wait(&app("shop")).await.unwrap();
                *running.lock() += 1;
                tokio::task::yield_now().await;
                assert_eq!(*running.lock(), 1);
                order.lock().push(i);
                *running.lock() -= 1;
                drop(turn);
            }
        });
        join_all(changes).await;
        assert_eq!(*order.lock(), (0..30).collect::<Vec<_>>());
        assert!(turns.0.lock().is_empty(), "nothing is kept of an app that is not being changed");
    }

    #[tokio::test]
    async fn changes_of_another_app_do_not_wait() {
        let turns = Turns::default();
        let first = turns.wait(&app("shop")).await.unwrap();
        assert!(turns.wait(&app("web")).now_or_never().is_some());
        assert!(turns.wait(&app("shop")).now_or_never().is_none(), "and one that gives up leaves the queue");
        drop(first);
        assert!(turns.0.lock().is_empty());
        assert!(turns.wait(&app("shop")).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_queue_is_bounded() {
        let turns = Turns::default();
        let places: Vec<_> = (0..MOST).map(|_| turns.join(&app("shop")).unwrap()).collect();
        assert!(matches!(turns.wait(&app("shop")).await, Err(Error::TooManyChanges { .. })));
        assert!(turns.wait(&app("web")).await.is_ok());
        drop(places);
        assert!(turns.wait(&app("shop")).await.is_ok());
    }
}
