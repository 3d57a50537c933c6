//! Tests that a reader gets each entry once, wherever it is cut off and whichever process goes on.

use proptest::prelude::*;

use super::*;

const APP: &str = "namespaces/prod/apps/shop";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn mk_place(second: i64, key: &str, sequence: u64, kept: bool) -> Place {
    // The entries of a second have different times.
    let mark = Mark::new(at(second), key);
    let nanos = i64::try_from(mark.id % 1_000_000_000).unwrap();
    let time = mark.time.checked_add(jiff::SignedDuration::from_nanos(nanos)).unwrap();
    Place { mark: Mark { time, ..mark }, sequence, kept }
}

/// A process with entries read from the cluster, and entries seen since it started.
#[derive(Clone)]
struct Server {
    epoch: u64,
    kept: Vec<Place>,
    ring: Vec<Place>,
}

impl Server {
    fn mk(epoch: u64, old: &[i64]) -> Self {
        let place = |(n, second): (usize, &i64)| mk_place(*second, &format!("old {n}"), 0, true);
        Self { epoch, kept: old.iter().enumerate().map(place).collect(), ring: Vec::new() }
    }

    fn learn(&mut self, second: i64, key: &str, kept: bool) {
        let sequence = self.ring.len() as u64 + 1;
        self.ring.push(mk_place(second, key, sequence, kept));
    }

    /// What another process reads from the cluster.
    fn restarted(&self, epoch: u64, meanwhile: &[i64]) -> Self {
        let kept = self.kept.iter().chain(self.ring.iter().filter(|place| place.kept));
        let mut kept: Vec<_> = kept.map(|place| Place { sequence: 0, ..*place }).collect();
        let place = |(n, second): (usize, &i64)| mk_place(*second, &format!("meanwhile {n}"), 0, true);
        kept.extend(meanwhile.iter().enumerate().map(place));
        Self { epoch, kept, ring: Vec::new() }
    }

    fn all(&self) -> Vec<Place> {
        let mut all: Vec<_> = self.kept.iter().chain(&self.ring).copied().collect();
        // Within a second, any order that does not change.
        all.sort_by_key(|place| (place.mark.time.as_second(), place.mark.id.reverse_bits()));
        all
    }

    /// Reads at most `most` entries from a position on, as the stream does.
    fn read(&self, position: &mut Position, most: usize) -> Vec<Place> {
        let sequence = self.ring.len() as u64;
        if position.epoch != self.epoch {
            position.begin_again(self.epoch, sequence);
        }
        let mut got = Vec::new();
        if position.in_past {
            let past = position.unsent(self.all(), |place| *place);
            let rest = past.len().saturating_sub(most);
            for place in past.into_iter().take(most) {
                position.pass(&place);
                got.push(place);
            }
            if rest > 0 {
                return got;
            }
            position.end_past();
        }
        let news: Vec<_> = self.ring.iter().filter(|place| place.sequence > position.sequence).collect();
        for place in news.into_iter().take(most - got.len()) {
            position.pass(place);
            got.push(*place);
        }
        got
    }
}

fn through_a_caller(position: &Position) -> Position {
    let token = position.to_token(APP);
    assert!(token.len() < 80, "{token} has {} bytes", token.len());
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{token}");
    let parsed = Position::parse(APP, &token).unwrap();
    assert_eq!(&parsed, position);
    parsed
}

fn ids(places: &[Place]) -> Vec<u64> {
    let mut ids: Vec<_> = places.iter().map(|place| place.mark.id).collect();
    ids.sort_unstable();
    ids
}

proptest! {
    #[test]
    fn any_cut_and_resume_gives_each_entry_once(
        old in prop::collection::vec(1_i64..6, 0..40),
        new in prop::collection::vec((4_i64..9, any::<bool>()), 0..40),
        reads in prop::collection::vec((0_usize..12, 0_usize..25), 0..12),
    ) {
        let mut server = Server::mk(1, &old);
        let mut position = Position::new(1, 0, at(0));
        let mut got = Vec::new();
        let mut coming = new.iter().enumerate();
        for (most, news) in reads.into_iter().chain([(usize::MAX, usize::MAX)]) {
            for (n, (second, kept)) in coming.by_ref().take(news) {
                server.learn(*second, &format!("new {n}"), *kept);
            }
            got.extend(server.read(&mut position, most));
            position = through_a_caller(&position);
        }
        prop_assert_eq!(ids(&got), ids(&server.all()));
    }

    #[test]
    fn another_process_repeats_nothing_and_sends_what_the_cluster_stores(
        old in prop::collection::vec(1_i64..50, 0..30),
        new in prop::collection::vec((40_i64..60, any::<bool>()), 0..30),
        most in (0_usize..40, 0_usize..40, 0_usize..40),
        meanwhile in prop::collection::vec(1_i64..90, 0..30),
    ) {
        let mut server = Server::mk(1, &old);
        let mut position = Position::new(1, 0, at(0));
        let mut got = server.read(&mut position, most.0);
        for (n, (second, kept)) in new.iter().enumerate() {
            server.learn(*second, &format!("new {n}"), *kept);
        }
        got.extend(server.read(&mut position, most.1));
        let other = server.restarted(2, &meanwhile);
        let mut position = through_a_caller(&position);
        let sent: Vec<_> = got.iter().filter(|place| place.kept).map(|place| place.mark.time.as_second()).collect();
        // Also if that one is cut in between, and resumed by the same or by a third process.
        got.extend(other.read(&mut position, most.2));
        let mut again = through_a_caller(&position);
        let mut third = got.clone();
        got.extend(other.read(&mut again, usize::MAX));
        third.extend(other.restarted(3, &[]).read(&mut position, usize::MAX));
        for got in [got, third] {
            let ids = ids(&got);
            let twice = ids.windows(2).any(|pair| pair[0] == pair[1]);
            prop_assert!(!twice, "nothing twice");
            // Nothing is lost from the second on in which the position still names every entry.
            let named = |second: i64| sent.iter().filter(|sent| **sent >= second).count() < RECENT;
            for place in other.all().iter().filter(|place| named(place.mark.time.as_second())) {
                prop_assert!(ids.contains(&place.mark.id), "{:?} is missing", place);
            }
        }
    }

    #[test]
    fn no_text_is_a_position_of_another_app_or_makes_the_parser_panic(
        text in "[A-Za-z0-9_-]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        prop_assert_eq!(Position::parse(APP, &text), None);
        // With a right checksum, so that the rest is parsed.
        let sum = checksum(APP, &bytes);
        let token = BASE64_URL_SAFE_NO_PAD.encode([bytes, sum.to_vec()].concat());
        if let Some(mut position) = Position::parse(APP, &token) {
            prop_assert_eq!(Position::parse("namespaces/prod/apps/other", &token), None);
            for second in [0, 9] {
                position.pass(&mk_place(second, "x", 1, true));
            }
            let _ = position.to_token(APP);
        }
    }
}

/// The first verdict that is stored counts, and another process may have reached it a moment later.
#[test]
fn the_end_of_a_rollout_is_sent_once_though_its_time_differs() {
    let mut position = Position::new(1, 0, at(0));
    let place = |millis: i64| {
        let time = at(0) + jiff::SignedDuration::from_millis(millis);
        Place { mark: Mark::new(time, "rollout 1 end"), sequence: 0, kept: true }
    };
    position.pass(&place(5_999));
    position.end_past();
    position.begin_again(2, 0);
    assert_eq!(position.unsent(vec![place(6_001)], |place| *place), []);
    assert_eq!(position.unsent(vec![place(9_001)], |place| *place).len(), 1);
}

/// As the entries of a busy app are sent by a process that has run for long.
#[test]
fn a_token_is_short_whatever_was_sent() {
    let now = 1_796_111_513;
    let start = u64::try_from(now - 10_000_000).unwrap() * 1_000_000;
    for (step, nanos) in [(0, 1), (1, 1), (0, 999_999_998), (1, 999_999_998), (40, 1), (100_000, 1)] {
        let after = Timestamp::new(now, nanos).unwrap();
        let mut position = Position::new(start, 0, after);
        for n in 0..60_u32 {
            if n == 30 {
                position.end_past();
                position.sequence = 200_000_000;
            }
            let place = mk_place(now + i64::from(n) * step, &n.to_string(), position.sequence + 1, true);
            position.pass(&place);
            through_a_caller(&position);
        }
    }
}

#[test]
fn an_earlier_form_is_no_position() {
    for token in ["", "t1.1796111479453701.254.p.1796111515468522019.1796111513000000000_eb7e94b0.", "AAAA"] {
        assert_eq!(Position::parse(APP, token), None, "{token}");
    }
}
