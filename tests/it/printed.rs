//! Logs as a node stores them: files of lines that can be read from a second on or from the end, and
//! followed. Their connections break when a test asks for it. Must not know who reads.

use std::{collections::HashMap, sync::Mutex};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use gantry::domain::{
    Error,
    logs::{Line, Lines, LogError, LogRequest, Logs},
};
use jiff::Timestamp;
use tokio::sync::watch;

/// All logs, by pod.
#[derive(Default)]
pub struct Printed {
    files: Mutex<HashMap<String, watch::Sender<File>>>,
    pub opened: Mutex<Vec<LogRequest>>,
    pub refuse: Mutex<Option<LogError>>,
}

#[derive(Default)]
struct File {
    lines: Vec<Line>,
    /// Counts the breaks. A break ends the connections that were open before.
    breaks: u64,
    /// Connections then end without an error, as they do when a container ends.
    ended: bool,
}

impl Printed {
    /// Adds a line of a pod, with this time.
    pub fn print(&self, pod: &str, time: &str, text: &str) {
        let line = Line { time: time.parse().unwrap(), text: text.to_owned() };
        self.change(pod, |file| file.lines.push(line));
    }

    /// Adds many lines of a pod at once.
    pub fn print_many(&self, pod: &str, texts: impl Iterator<Item = String>) {
        self.change(pod, |file| {
            file.lines.extend(texts.map(|text| Line { time: Timestamp::now(), text }));
        });
    }

    /// Breaks the connections to a log.
    pub fn cut(&self, pod: &str) {
        self.change(pod, |file| file.breaks += 1);
    }

    /// Ends the container.
    pub fn end(&self, pod: &str) {
        self.change(pod, |file| file.ended = true);
    }

    fn change(&self, pod: &str, change: impl FnOnce(&mut File)) {
        self.files.lock().unwrap().entry(pod.to_owned()).or_default().send_modify(change);
    }

    fn begin(&self, wanted: &LogRequest) -> Result<Lines, LogError> {
        self.opened.lock().unwrap().push(wanted.clone());
        if let Some(why) = self.refuse.lock().unwrap().clone() {
            return Err(why);
        }
        let files = self.files.lock().unwrap();
        let waits =
            || LogError::NotNow(format!("container \"app\" in pod \"{}\" is waiting to start", wanted.pod));
        let mut file = files.get(&*wanted.pod).ok_or_else(waits)?.subscribe();
        let (start, breaks) = {
            let now = file.borrow_and_update();
            let tail = wanted.tail.map_or(usize::MAX, |tail| usize::try_from(tail).unwrap());
            (now.lines.len().saturating_sub(tail), now.breaks)
        };
        let (since, follow) = (wanted.since, wanted.follow);
        let lines = stream::unfold((file, start, false), move |(mut file, mut at, over)| async move {
            loop {
                if over {
                    return None;
                }
                let next = {
                    let now = file.borrow_and_update();
                    let broken = now.breaks > breaks;
                    let next = now.lines.get(at).cloned().map(Ok);
                    let error = || Err(Error::Unreachable { message: "it broke off".to_owned() });
                    if next.is_none() && !broken && (now.ended || !follow) {
                        return None;
                    }
                    if broken { Some(error()) } else { next }
                };
                match next {
                    Some(Ok(line)) if since.is_some_and(|since| line.time < since) => at += 1,
                    Some(item) => {
                        let over = item.is_err();
                        return Some((item, (file, at + 1, over)));
                    }
                    None => file.changed().await.ok()?,
                }
            }
        });
        Ok(lines.boxed())
    }
}

impl Logs for Printed {
    fn open(&self, wanted: LogRequest) -> BoxFuture<'_, Result<Lines, LogError>> {
        async move { self.begin(&wanted) }.boxed()
    }
}
