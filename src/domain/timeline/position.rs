//! The position of a reader in a timeline, and its text, which is sent with every message and must be short.
//!
//! A process counts the entries that become known, so in the same process one number says what was sent.
//! Another process does not know that number. For it, the position has a time up to which every entry of the
//! cluster counts as sent, and short digests of the latest entries after that time. While the past is being
//! sent, the position also has the entry that was sent last.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Mark;

/// The number of entries that a position names one by one. They are those that other entries, which become
/// known late, may still precede.
const RECENT: usize = 7;

/// Seconds after which no entry is expected to become known any more. With this bound, the second of each
/// entry that is named takes one byte.
const LATE: i64 = 63;

/// Seconds by which two processes may see the end of one rollout apart.
const APART: u64 = 2;

/// The first byte of a text, without the flags. Earlier forms were not base64.
const FORM: u8 = 0x20;
const IN_PAST: u8 = 1;
/// The floor is not the end of a second, but has nanoseconds.
const FINE_FLOOR: u8 = 2;
const HAS_LAST_SENT: u8 = 4;

/// Nanoseconds of the last moment of a second.
const LAST_MOMENT: i32 = 999_999_999;

/// Bytes of the checksum. It also covers the name of the app, so that the position of another app is refused.
const CHECKSUM: usize = 2;

/// The position of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Identifies the process that counted `sequence`.
    pub epoch: u64,
    /// Entries that became known up to this number were sent, or belong to the past that is being sent.
    pub sequence: u64,
    /// Whether the past is still being sent.
    pub in_past: bool,
    /// The second of the latest entry that was sent.
    last: i64,
    /// All entries that the cluster stores were sent up to this time,
    floor: Timestamp,
    /// and these after it.
    recent: Vec<Short>,
    /// The entry of the past that was sent last.
    last_sent: Option<Short>,
}

/// What a reader knows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Identifies it.
    pub mark: Mark,
    /// The order in which it became known: a number that grows, or 0 for what happened before this process
    /// began.
    pub sequence: u64,
    /// Whether the cluster stores it, so that another process knows it too.
    pub kept: bool,
}

/// Names an entry among those of the same second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Short {
    second: i64,
    digest: [u8; 3],
}

// === impl Short ===

impl Short {
    fn of(mark: &Mark) -> Self {
        let [a, b, c, ..] = mark.id.to_be_bytes();
        Self { second: mark.time.as_second(), digest: [a, b, c] }
    }
}

// === impl Position ===

impl Position {
    /// A position before the first entry after this time.
    pub fn new(epoch: u64, sequence: u64, after: Timestamp) -> Self {
        Self {
            epoch,
            sequence,
            in_past: true,
            last: after.as_second(),
            floor: after,
            recent: Vec::new(),
            last_sent: None,
        }
    }

    /// Returns a time since which entries may not have been sent.
    pub fn last(&self) -> Timestamp {
        Timestamp::from_second(self.last).unwrap_or_default()
    }

    /// Returns the entries of the past that were not sent. `past` has the order in which entries are sent.
    pub fn unsent<T>(&self, mut past: Vec<T>, place: impl Fn(&T) -> Place) -> Vec<T> {
        past.retain(|entry| place(entry).sequence <= self.sequence);
        let mut index = 0;
        let sent = self.last_sent.map_or(0, |last| self.sent_of(&past, last, &place));
        past.retain(|entry| {
            index += 1;
            let place = place(entry);
            // Entries that the cluster stores are named, or the floor covers them, except some of the last
            // second. What another process learned of since then was not sent.
            let unnamed =
                |last: Short| last.second == place.mark.time.as_second() && !self.names_all(last.second);
            let passed = index <= sent && (!place.kept || self.last_sent.is_some_and(unnamed));
            !passed && !self.has(&place.mark)
        });
        past
    }

    /// Returns how many entries were sent, if this is the entry that was sent last.
    fn sent_of<T>(&self, past: &[T], last: Short, place: impl Fn(&T) -> Place) -> usize {
        let short = |entry: &T| Short::of(&place(entry).mark);
        let found = past.iter().rposition(|entry| short(entry) == last);
        // If Kubernetes no longer has it, the one before it serves as well.
        let near = || {
            let known = |known: &Short| known.second == last.second && self.recent.contains(known);
            past.iter().rposition(|entry| known(&short(entry))).filter(|_| self.names_all(last.second))
        };
        // Rather none of its second than one twice.
        let second = || past.iter().rposition(|entry| short(entry).second <= last.second);
        found.or_else(near).or_else(second).map_or(0, |at| at + 1)
    }

    fn has(&self, mark: &Mark) -> bool {
        let short = Short::of(mark);
        let is_it =
            |known: &Short| known.digest == short.digest && known.second.abs_diff(short.second) <= APART;
        mark.time <= self.floor || self.recent.iter().any(is_it)
    }

    /// Records that an entry is sent. Those of the past come second by second.
    pub fn pass(&mut self, place: &Place) {
        let short = Short::of(&place.mark);
        if self.in_past {
            self.leave_second(short.second);
            self.last_sent = Some(short);
        } else {
            self.sequence = place.sequence;
        }
        self.last = self.last.max(short.second);
        self.raise_floor(self.last - LATE);
        // Only an entry that the cluster stores can come again from another process.
        if !place.kept || self.has(&place.mark) {
            return;
        }
        self.recent.push(short);
        if self.recent.len() <= RECENT {
            return;
        }
        let earliest = self.earliest().unwrap_or(short.second);
        if self.in_past && earliest == short.second {
            // `last_sent` stands for it, and for what is sent before it.
            self.recent.pop();
        } else {
            self.raise_floor(earliest);
        }
    }

    /// Records that all of the past is sent.
    pub fn end_past(&mut self) {
        self.leave_second(i64::MAX);
        (self.in_past, self.last_sent) = (false, None);
    }

    /// Ends the second of the entry that was sent last. If it may have more entries than are named, all of it
    /// counts as sent from now on.
    fn leave_second(&mut self, next: i64) {
        let left = self.last_sent.map(|last| last.second).filter(|second| *second < next);
        if let Some(second) = left.filter(|second| !self.names_all(*second)) {
            self.raise_floor(second);
        }
    }

    /// Whether every entry of this second, which is the last of the past so far, is certainly named.
    fn names_all(&self, second: i64) -> bool {
        self.recent.len() < RECENT || self.earliest().is_some_and(|earliest| earliest < second)
    }

    /// The second of the earliest entry that is named.
    fn earliest(&self) -> Option<i64> {
        self.recent.iter().map(|known| known.second).min()
    }

    /// Counts everything up to the end of a second as sent.
    fn raise_floor(&mut self, second: i64) {
        self.floor = Timestamp::new(second, LAST_MOMENT).map_or(self.floor, |end| self.floor.max(end));
        let floor = self.floor.as_second();
        if self.floor.subsec_nanosecond() == LAST_MOMENT {
            self.recent.retain(|known| known.second > floor);
        }
    }

    /// Continues in another process, or after the process dropped entries. All present entries are then the
    /// past.
    pub fn begin_again(&mut self, epoch: u64, sequence: u64) {
        (self.epoch, self.sequence, self.in_past) = (epoch, sequence, true);
    }

    /// Returns the text of the position in the timeline of this app. For callers it is opaque.
    pub fn to_token(&self, app: &str) -> String {
        let floor = self.floor;
        let fine = floor.subsec_nanosecond() != LAST_MOMENT;
        let mut flags = if self.in_past { IN_PAST } else { 0 };
        flags |= if fine { FINE_FLOOR } else { 0 };
        flags |= if self.last_sent.is_some() { HAS_LAST_SENT } else { 0 };
        let mut bytes = vec![FORM | flags];
        push(&mut bytes, self.epoch);
        push(&mut bytes, self.sequence);
        push_signed(&mut bytes, self.last);
        push_signed(&mut bytes, self.last - floor.as_second());
        if fine {
            push_signed(&mut bytes, floor.subsec_nanosecond().into());
        }
        for short in self.last_sent.iter().chain(&self.recent) {
            push_signed(&mut bytes, self.last - short.second);
            bytes.extend(short.digest);
        }
        let sum = checksum(app, &bytes);
        bytes.extend(sum);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Parses the output of [`Self::to_token`] for the same app.
    pub fn parse(app: &str, token: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        if checksum(app, bytes) != *sum {
            return None;
        }
        let (first, mut rest) = bytes.split_first()?;
        let has = |flag| first & flag != 0;
        if first & !(IN_PAST | FINE_FLOOR | HAS_LAST_SENT) != FORM {
            return None;
        }
        let rest = &mut rest;
        let (epoch, sequence) = (pull(rest)?, pull(rest)?);
        let last = Timestamp::from_second(pull_signed(rest)?).ok()?.as_second();
        let floor = last.checked_sub(pull_signed(rest)?)?;
        let nanos = if has(FINE_FLOOR) { i32::try_from(pull_signed(rest)?).ok()? } else { LAST_MOMENT };
        let floor = Timestamp::new(floor, nanos).ok()?;
        let last_sent = if has(HAS_LAST_SENT) { Some(pull_short(rest, last)?) } else { None };
        let mut recent = Vec::new();
        while !rest.is_empty() && recent.len() < RECENT {
            recent.push(pull_short(rest, last)?);
        }
        let all = rest.is_empty();
        all.then_some(Self { epoch, sequence, in_past: has(IN_PAST), last, floor, recent, last_sent })
    }
}

fn checksum(app: &str, bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::new().chain_update(app).chain_update([0]).chain_update(bytes).finalize();
    std::array::from_fn(|n| digest[n])
}

/// Appends a number, seven bits to a byte.
fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Appends a number near zero in few bytes, whatever its sign.
fn push_signed(bytes: &mut Vec<u8>, number: i64) {
    push(bytes, (number << 1 ^ number >> 63).cast_unsigned());
}

fn pull(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn pull_signed(bytes: &mut &[u8]) -> Option<i64> {
    let number = pull(bytes)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

fn pull_short(bytes: &mut &[u8], last: i64) -> Option<Short> {
    let second = Timestamp::from_second(last.checked_sub(pull_signed(bytes)?)?).ok()?.as_second();
    let (digest, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(Short { second, digest: *digest })
}

#[cfg(test)]
mod tests;
