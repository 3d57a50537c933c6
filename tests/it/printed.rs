//! Logs as a node keeps them: files of lines that can be opened from a second on, from the end, and followed; with connections that break
//! when told to. Must not know who reads.

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
    /// Grows with each break; connections of before end.
    breaks: u64,
    /// They end without an error, as with the container.
    ended: bool,
}

impl Printed {
    /// A pod prints a line, at this time.
    pub fn print(&self, pod: &str, time: &str, text: &str) {
        let line = Line { time: time.parse().unwrap(), text: text.to_owned() };
        self.change(pod, |file| file.lines.push(line));
    }

    /// A pod prints many lines at once.
    pub fn print_many(&self, pod: &str, texts: impl Iterator<Item = String>) {
        self.change(pod, |file| {
            file.lines.extend(texts.map(|text| Line { time: Timestamp::now(), text }));
        });
    }

    /// The connections to a log break.
    pub fn cut(&self, pod: &str) {
        self.change(pod, |file| file.breaks += 1);
    }

    /// The container ends.
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
