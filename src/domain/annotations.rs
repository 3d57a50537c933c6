//! How much room the annotations of a Deployment have. Kubernetes copies them to each ReplicaSet and adds its
//! own there, so those of the Deployment must stay below the limit of an object by that much. Otherwise no
//! ReplicaSet can be made. Must not know what the annotations mean.

use std::collections::BTreeMap;

/// The bytes that all annotations of an object may have, keys and values together
/// (`TotalAnnotationSizeLimitB` in Kubernetes).
const LIMIT: usize = 256 * 1024;

/// The bytes that the Deployment controller adds to a ReplicaSet at most: its revision (33 and 20), the
/// history of its revisions (41 and 2000), and two counts (41, 37 and 10 each).
const OF_REPLICA_SET: usize = 2304;

/// Annotations of a Deployment that are not copied.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

/// The annotations are too large for a Deployment or for its ReplicaSets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the annotations of {object} would have {bytes} bytes, and Kubernetes makes no ReplicaSet with more than {most}; the \
     largest is {largest} with {of_largest} bytes: remove it or make it shorter"
)]
pub struct Crowded {
    /// The Deployment, for example `deployment.apps/shop`.
    pub object: String,
    /// Bytes of all of them.
    pub bytes: usize,
    /// Bytes that they may have.
    pub most: usize,
    /// The key of the largest one.
    pub largest: String,
    /// The bytes of the largest one.
    pub of_largest: usize,
}

/// Returns how many more bytes the annotations may have.
pub fn find_room(annotations: &BTreeMap<String, String>) -> usize {
    let (all, copied) = sizes(annotations);
    LIMIT.saturating_sub(all).min((LIMIT - OF_REPLICA_SET).saturating_sub(copied))
}

/// Returns an error that names the largest annotation, if they become too large. Those that were too large
/// before may become smaller.
pub fn check_growth(
    object: &str,
    before: Option<&BTreeMap<String, String>>,
    after: &BTreeMap<String, String>,
) -> Result<(), Crowded> {
    let shrinks = before.is_some_and(|before| find_room(before) < find_room(after));
    if shrinks { Ok(()) } else { check_room(object, after) }
}

/// Returns an error that names the largest annotation, if they are too large.
fn check_room(object: &str, annotations: &BTreeMap<String, String>) -> Result<(), Crowded> {
    let (all, copied) = sizes(annotations);
    let (bytes, most) = match (all > LIMIT, copied > LIMIT - OF_REPLICA_SET) {
        (false, false) => return Ok(()),
        (_, true) => (copied, LIMIT - OF_REPLICA_SET),
        (true, false) => (all, LIMIT),
    };
    let counted = annotations.iter().filter(|(key, _)| bytes == all || is_copied(key));
    let largest = counted.max_by_key(|entry| size(*entry));
    Err(Crowded {
        object: object.to_owned(),
        bytes,
        most,
        largest: largest.map(|(key, _)| key.clone()).unwrap_or_default(),
        of_largest: largest.map(size).unwrap_or_default(),
    })
}

/// Returns the bytes of all, and of those that are copied.
fn sizes(annotations: &BTreeMap<String, String>) -> (usize, usize) {
    let copied = annotations.iter().filter(|(key, _)| is_copied(key));
    (annotations.iter().map(size).sum(), copied.map(size).sum())
}

fn size((key, value): (&String, &String)) -> usize {
    key.len().saturating_add(value.len())
}

fn is_copied(key: &str) -> bool {
    !NOT_COPIED.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_annotations(sizes: &[(&str, usize)]) -> BTreeMap<String, String> {
        sizes.iter().map(|(key, size)| ((*key).to_owned(), "x".repeat(size - key.len()))).collect()
    }

    #[test]
    fn what_kubernetes_adds_to_a_replica_set_has_room() {
        let most = LIMIT - OF_REPLICA_SET;
        let full = mk_annotations(&[("a", 100), ("b", most - 100)]);
        assert_eq!((check_room("x", &full), find_room(&full)), (Ok(()), 0));
        let more = mk_annotations(&[("a", 101), ("b", most - 100)]);
        let crowded = check_room("deployment.apps/shop", &more).unwrap_err();
        assert_eq!((crowded.bytes, crowded.most), (most + 1, most));
        assert_eq!((crowded.largest.as_str(), crowded.of_largest), ("b", most - 100));
        assert_eq!(find_room(&more), 0);
        assert_eq!(find_room(&BTreeMap::new()), most);
    }

    #[test]
    fn what_is_not_copied_counts_for_the_deployment_only() {
        let own = ("kubectl.kubernetes.io/last-applied-configuration", 200_000);
        let fits = mk_annotations(&[own, ("a", 60_000)]);
        assert_eq!((check_room("x", &fits), find_room(&fits)), (Ok(()), LIMIT - 260_000));
        let crowded = check_room("x", &mk_annotations(&[own, ("a", 62_145)])).unwrap_err();
        assert_eq!((crowded.bytes, crowded.most, crowded.largest.as_str()), (LIMIT + 1, LIMIT, own.0));
    }
}
