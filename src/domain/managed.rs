//! Which Deployments this server manages: the one rule by which it changes and deletes a Deployment, or
//! leaves it alone.
//!
//! Labels are not enough, since they are copied: with a manifest to another name or namespace, from a backup,
//! by a tool. So a Deployment is managed if its labels say so for its own name, and a revision here confirms
//! it.

use std::collections::BTreeMap;

use super::labels::{APP_LABEL, MANAGED_BY_LABEL, MANAGER};

/// What one revision of an app says about the Deployment of the app's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Its number.
    pub number: u64,
    /// uid of the Deployment that owns it. `None` if it never had an owner, or lost it: when its Deployment
    /// was deleted with `--cascade=orphan`, or when it was restored from a backup.
    pub owner: Option<&'a str>,
    /// It was carried out.
    pub applied: bool,
}

/// A Deployment, as far as the rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Number of the revision that its annotation names.
    pub revision: Option<u64>,
    /// It is being deleted: its revisions may be gone before it is.
    pub deleting: bool,
}

/// Whether the labels of an object of this name say that this server made it for the app of that name.
pub fn is_labelled(name: &str, labels: &BTreeMap<String, String>) -> bool {
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    is(MANAGED_BY_LABEL, MANAGER) && is(APP_LABEL, name)
}

/// Whether this server manages the Deployment, given all revisions of the app of its name.
pub fn is_managed<'a>(subject: Subject<'_>, revisions: impl IntoIterator<Item = Claim<'a>>) -> bool {
    is_labelled(subject.name, subject.labels)
        && (subject.deleting || revisions.into_iter().any(|claim| confirms(subject, claim)))
}

/// Whether this revision confirms what the labels of the Deployment say.
fn confirms(subject: Subject<'_>, claim: Claim<'_>) -> bool {
    match claim.owner {
        Some(owner) => owner == subject.uid,
        // A Deployment that is back goes on with its history.
        None if claim.applied => true,
        // It is being carried out: the Deployment is applied already, and the revision gets its owner last.
        None => subject.revision == Some(claim.number),
    }
}

/// A Service or budget of an app's name, as far as the rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its labels say that this server made it for the app of its name. `kubectl expose` copies them from the
    /// Deployment.
    pub labelled: bool,
    /// The Deployment of its name owns it, by uid.
    pub owned: bool,
    /// The field manager of deploys has some of its fields.
    pub applied: bool,
}

/// Whether a Service or budget was made for its app by this server: two of its three signs agree. After a
/// backup was restored only the labels are left: `restored` says that the Deployment has none of its fields
/// from this server either.
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
        // What it is, labels, number in the annotation, being deleted, revisions, whether it is managed.
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
