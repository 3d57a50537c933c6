//! The order of the timeline entries of an app, and the position of a reader. Pure, so that tests can try
//! every interruption and resumption. Must not know the content of entries, nor where they are stored.

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The number of marks that a position stores one by one. They identify entries that become known late.
const RECENT: usize = 24;

/// The place of an entry in the timeline. An entry read from the cluster gets the same mark in every
/// `gantryd`, each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// When it happened.
    pub time: Timestamp,
    /// The digest of its key.
    pub id: u64,
}

/// The position of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Identifies the process that counted `sequence`.
    pub epoch: u64,
    /// Entries that became known up to this number were sent, or belong to the past that is being sent.
    pub sequence: u64,
    /// Whether the past is still being sent.
    pub in_past: bool,
    /// The time of the latest entry that was sent.
    pub last: Timestamp,
    /// Of the entries stored in the cluster, all up to this mark were sent,
    floor: Mark,
    /// and these after it.
    recent: BTreeSet<Mark>,
}

// === impl Mark ===

impl Mark {
    /// Creates the mark of the entry with this key.
    pub fn new(time: Timestamp, key: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let id = digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
        Self { time, id }
    }
}

// === impl Position ===

impl Position {
    /// A position before the first entry after this time.
    pub const fn new(epoch: u64, sequence: u64, after: Timestamp) -> Self {
        let floor = Mark { time: after, id: u64::MAX };
        Self { epoch, sequence, in_past: true, last: after, floor, recent: BTreeSet::new() }
    }

    /// Returns whether an entry of the past was sent.
    pub fn has(&self, mark: &Mark) -> bool {
        *mark <= self.floor || self.recent.iter().any(|known| known.id == mark.id)
    }

    /// Records that an entry of the past is sent. These entries come in the order of their marks.
    pub fn pass(&mut self, mark: Mark) {
        self.last = self.last.max(mark.time);
        if mark > self.floor {
            self.recent.insert(mark);
            if self.recent.len() > RECENT {
                self.floor = self.recent.pop_first().map_or(self.floor, |oldest| self.floor.max(oldest));
            }
        }
    }

    /// Records that a new entry is sent. Only an entry that the cluster stores (`keeps`) can come again after
    /// a restart.
    pub fn tell(&mut self, mark: Mark, sequence: u64, keeps: bool) {
        self.sequence = sequence;
        if keeps {
            self.pass(mark);
        } else {
            self.last = self.last.max(mark.time);
        }
    }

    /// Continues in another process, or after the process dropped entries. All present entries are then the
    /// past.
    pub fn begin_again(&mut self, epoch: u64, sequence: u64) {
        (self.epoch, self.sequence, self.in_past) = (epoch, sequence, true);
    }

    /// Parses the output of [`ToString`]. For callers it is opaque.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("t1.")?.split('.');
        let mut next = || parts.next();
        let epoch = next()?.parse().ok()?;
        let sequence = next()?.parse().ok()?;
        let in_past = match next()? {
            "p" => true,
            "l" => false,
            _ => return None,
        };
        let last = Timestamp::from_nanosecond(next()?.parse().ok()?).ok()?;
        let floor = parse_mark(next()?)?;
        let recent = next()?.split('-').filter(|mark| !mark.is_empty());
        let recent: BTreeSet<Mark> = recent.map(parse_mark).collect::<Option<_>>()?;
        (parts.next().is_none() && recent.len() <= RECENT).then_some(Self {
            epoch,
            sequence,
            in_past,
            last,
            floor,
            recent,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = if self.in_past { 'p' } else { 'l' };
        let last = self.last.as_nanosecond();
        write!(f, "t1.{}.{}.{phase}.{last}.{}.", self.epoch, self.sequence, text(&self.floor))?;
        let recent: Vec<_> = self.recent.iter().map(text).collect();
        f.write_str(&recent.join("-"))
    }
}

fn text(mark: &Mark) -> String {
    format!("{}_{:x}", mark.time.as_nanosecond(), mark.id)
}

fn parse_mark(text: &str) -> Option<Mark> {
    let (time, id) = text.split_once('_')?;
    let time = Timestamp::from_nanosecond(time.parse().ok()?).ok()?;
    Some(Mark { time, id: u64::from_str_radix(id, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An entry in a process: sequence, mark, and whether the cluster stores it.
    type Entry = (u64, Mark, bool);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A process with entries read from the cluster, and entries seen since it started.
    struct Server {
        epoch: u64,
        kept: Vec<Mark>,
        ring: Vec<Entry>,
    }

    impl Server {
        fn sequence(&self) -> u64 {
            self.ring.last().map_or(0, |entry| entry.0)
        }

        /// Reads at most `most` entries from a position on, as the stream does.
        fn read(&self, position: &mut Position, most: usize) -> Vec<Mark> {
            if position.epoch != self.epoch {
                position.begin_again(self.epoch, self.sequence());
            }
            let mut got = Vec::new();
            if position.in_past {
                let later: BTreeSet<u64> =
                    self.ring.iter().filter(|e| e.0 > position.sequence).map(|e| e.1.id).collect();
                let known = self.ring.iter().filter(|e| e.0 <= position.sequence).map(|e| e.1);
                let mut past: BTreeSet<Mark> =
                    self.kept.iter().copied().filter(|m| !later.contains(&m.id)).collect();
                past.extend(known);
                for mark in past.into_iter().filter(|mark| !position.has(mark)).collect::<Vec<_>>() {
                    if got.len() == most {
                        return got;
                    }
                    position.pass(mark);
                    got.push(mark);
                }
                position.in_past = false;
            }
            for (sequence, mark, keeps) in
                self.ring.iter().filter(|e| e.0 > position.sequence).copied().collect::<Vec<_>>()
            {
                if got.len() == most {
                    return got;
                }
                position.tell(mark, sequence, keeps);
                got.push(mark);
            }
            got
        }
    }

    proptest! {
        #[test]
        fn any_cut_and_resume_gives_each_entry_once(
            old in prop::collection::vec(1_i64..50, 0..20),
            new in prop::collection::vec((40_i64..100, any::<bool>()), 0..20),
            reads in prop::collection::vec((0_usize..8, 0_usize..25), 0..8),
        ) {
            let kept: Vec<_> = old.iter().enumerate().map(|(i, t)| Mark::new(at(*t), &format!("old {i}"))).collect();
            let mut server = Server { epoch: 1, kept, ring: Vec::new() };
            let mut position = Position::new(1, 0, at(0));
            let mut got = Vec::new();
            let mut coming = new.iter().enumerate();
            for (most, news) in reads.into_iter().chain([(usize::MAX, usize::MAX)]) {
                for (i, (time, keeps)) in coming.by_ref().take(news) {
                    let mark = Mark::new(at(*time), &format!("new {i}"));
                    server.ring.push((i as u64 + 1, mark, *keeps));
                    if *keeps {
                        server.kept.push(mark);
                    }
                }
                got.extend(server.read(&mut position, most));
                position = Position::parse(&position.to_string()).unwrap();
            }
            let mut all: Vec<_> = server.kept.iter().copied().chain(server.ring.iter().map(|e| e.1)).collect();
            all.sort_unstable();
            all.dedup();
            got.sort_unstable();
            prop_assert_eq!(got, all);
        }

        #[test]
        fn after_a_restart_nothing_is_repeated_and_what_the_cluster_keeps_comes(
            old in prop::collection::vec(1_i64..50, 0..10),
            new in prop::collection::vec((40_i64..60, any::<bool>()), 0..13),
            most in 0_usize..25,
            meanwhile in prop::collection::vec(45_i64..90, 0..10),
        ) {
            let kept: Vec<_> = old.iter().enumerate().map(|(i, t)| Mark::new(at(*t), &format!("old {i}"))).collect();
            let mut server = Server { epoch: 1, kept, ring: Vec::new() };
            let mut position = Position::new(1, 0, at(0));
            let mut got = server.read(&mut position, most);
            for (i, (time, keeps)) in new.iter().enumerate() {
                let mark = Mark::new(at(*time), &format!("new {i}"));
                server.ring.push((i as u64 + 1, mark, *keeps));
                if *keeps {
                    server.kept.push(mark);
                }
            }
            got.extend(server.read(&mut position, most));
            let mut kept = server.kept.clone();
            kept.extend(meanwhile.iter().enumerate().map(|(i, t)| Mark::new(at(*t), &format!("meanwhile {i}"))));
            let after = Server { epoch: 2, kept: kept.clone(), ring: Vec::new() };
            let mut position = Position::parse(&position.to_string()).unwrap();
            got.extend(after.read(&mut position, usize::MAX));
            let mut once = got.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), got.len(), "nothing twice");
            // At most RECENT entries are new here, so no entry that the cluster stores is missing.
            prop_assert!(kept.iter().all(|mark| got.contains(mark)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(t1\\.)?[0-9a-z._-]{0,60}") {
            let _ = Position::parse(&text);
        }
    }

    #[test]
    fn a_token_is_short_however_much_was_told() {
        let mut position = Position::new(1, 0, at(0));
        for n in 1..1000 {
            position.tell(Mark::new(at(n), &n.to_string()), n.unsigned_abs(), true);
        }
        assert!(position.to_string().len() < 1200, "{}", position.to_string().len());
        assert!(position.has(&Mark::new(at(500), "500")) && !position.has(&Mark::new(at(1001), "x")));
    }
}
