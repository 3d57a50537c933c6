//! The rule that decides whether Gantry manages a Deployment, and so may change and delete it.
//!
//! Labels are not enough, because they get copied: with a manifest to another name or namespace, from a
//! backup, or by a tool. So Gantry manages a Deployment if its labels say so for its own name, and a revision
//! in its namespace confirms it.

use std::collections::BTreeMap;

use super::labels::{APP_LABEL, MANAGED_BY_LABEL, MANAGER};

/// The claim of one revision on the Deployment of its app's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The number of the revision.
    pub number: u64,
    /// uid of the Deployment that owns the revision. `None` if it never had an owner, or lost it because the
    /// Deployment was deleted with `--cascade=orphan` or the revision was restored from a backup.
    pub owner: Option<&'a str>,
    /// Whether the revision was carried out.
    pub applied: bool,
}

/// The facts about a Deployment that the rule needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The number of the revision that its annotation names.
    pub revision: Option<u64>,
    /// Whether it is being deleted. Then its revisions may be deleted before it is.
    pub deleting: bool,
}

/// Returns whether the labels of an object say that Gantry made it for the app of this name.
pub fn is_labelled(name: &str, labels: &BTreeMap<String, String>) -> bool {
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    is(MANAGED_BY_LABEL, MANAGER) && is(APP_LABEL, name)
}

/// Returns whether Gantry manages the Deployment, given all revisions of the app of its name.
pub fn is_managed<'a>(subject: Subject<'_>, revisions: impl IntoIterator<Item = Claim<'a>>) -> bool {
    is_labelled(subject.name, subject.labels)
        && (subject.deleting || revisions.into_iter().any(|claim| confirms(subject, claim)))
}

/// Returns whether this revision confirms the labels of the Deployment.
fn confirms(subject: Subject<'_>, claim: Claim<'_>) -> bool {
    match claim.owner {
        Some(owner) => owner == subject.uid,
        // A restored Deployment continues with its history.
        None if claim.applied => true,
        // The revision is being carried out. The Deployment is applied first, and the revision gets its owner
        // last.
        None => subject.revision == Some(claim.number),
    }
}

/// The facts about a Service or PodDisruptionBudget of an app's name that the rule needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whether its labels say that Gantry made it for the app of its name. `kubectl expose` copies these
    /// labels from the Deployment.
    pub labelled: bool,
    /// Whether the Deployment of its name owns it, by uid.
    pub owned: bool,
    /// Whether Gantry's field manager owns some of its fields.
    pub applied: bool,
}

/// Returns whether Gantry made a Service or PodDisruptionBudget for its app: two of the three signs must
/// agree. After a restore from a backup only the labels are left. `restored` says that the Deployment was
/// restored too: Gantry's field manager owns none of its fields.
pub const fn is_part(part: Part, restored: bool) -> bool {
    let Part { labelled, owned, applied } = part;
    applied && (owned || labelled) || labelled && (owned || restored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_labels(manager: &str, app: &str) -> BTreeMap<String, String> {
        [(MANAGED_BY_LABEL.to_owned(), manager.to_owned()), (APP_LABEL.to_owned(), app.to_owned())].into()
    }

    #[test]
    fn two_signs_of_a_service_must_agree() {
        let is = |labelled, owned, applied, restored| is_part(Part { labelled, owned, applied }, restored);
        assert!(is(true, true, true, false));
        assert!(is(false, true, true, false), "its labels were taken away by hand");
        assert!(is(true, false, true, false), "its Deployment was deleted with --cascade=orphan");
        assert!(is(true, false, false, true), "a backup brought it back with its Deployment");
        assert!(!is(true, false, false, false), "made by `kubectl expose`, which copies labels");
        assert!(
            !is(false, true, false, false),
            "made by another tool, which gave it the Deployment as its owner"
        );
        assert!(!is(false, false, true, false) && !is(false, false, false, true));
    }

    #[test]
    fn labels_and_a_revision_must_agree() {
        let claim = |number, owner, applied| Claim { number, owner, applied };
        let ours = mk_labels("gantry", "shop");
        // Description, labels, number in the annotation, being deleted, revisions, whether it is managed.
        let cases = [
            ("made here", &ours, Some(1), false, vec![claim(1, Some("u"), true)], true),
            (
                "its newest revision still has no owner",
                &ours,
                Some(2),
                false,
                vec![claim(1, Some("u"), true), claim(2, None, false)],
                true,
            ),
            (
                "its first revision is being carried out",
                &ours,
                Some(1),
                false,
                vec![claim(1, None, false)],
                true,
            ),
            (
                "its annotation was changed by hand",
                &ours,
                Some(99),
                false,
                vec![claim(1, Some("u"), true)],
                true,
            ),
            ("its annotation was removed", &ours, None, false, vec![claim(1, Some("u"), true)], true),
            (
                "it is back, with the history that was left of it",
                &ours,
                Some(3),
                false,
                vec![claim(3, None, true)],
                true,
            ),
            ("it is being deleted, and its revisions went first", &ours, Some(1), true, vec![], true),
            ("its history was deleted", &ours, Some(2), false, vec![], false),
            (
                "made again by `kubectl replace --force`",
                &ours,
                Some(2),
                false,
                vec![claim(2, Some("old"), true)],
                false,
            ),
            (
                "an adoption is decided and not begun",
                &ours,
                Some(2),
                false,
                vec![claim(3, None, false)],
                false,
            ),
            (
                "made by another tool",
                &mk_labels("helm", "shop"),
                None,
                false,
                vec![claim(1, None, true)],
                false,
            ),
            (
                "a copy under another name",
                &mk_labels("gantry", "other"),
                Some(1),
                false,
                vec![claim(1, Some("u"), true)],
                false,
            ),
            (
                "a copy under another name, being deleted",
                &mk_labels("gantry", "other"),
                Some(1),
                true,
                vec![],
                false,
            ),
            ("without labels", &BTreeMap::new(), Some(1), false, vec![claim(1, None, true)], false),
        ];
        for (what, labels, revision, deleting, claims, expected) in cases {
            let subject = Subject { name: "shop", uid: "u", labels, revision, deleting };
            assert_eq!(is_managed(subject, claims), expected, "{what}");
        }
    }
}
