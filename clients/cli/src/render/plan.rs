//! What a change would do, as a diff for people. Pure: must not know who asked.

use gantry_client::v1;

use crate::render::{
    table,
    text::{self, Paint},
};

/// Longest path and values, counted together, that are printed on one line.
const ONE_LINE: usize = 100;

/// Most nodes shown without `verbose`.
const MOST_NODES: usize = 10;

/// Lists the changes object by object, then the warnings, the checks and the fit. `verbose` shows every check
/// and node.
pub(crate) fn lines(plan: &v1::Plan, verbose: bool, paint: Paint) -> Vec<String> {
    let mut lines = changes(&plan.changes, paint);
    if lines.is_empty() {
        lines.push("Nothing would change.".to_owned());
    }
    lines
        .extend(plan.warnings.iter().map(|warning| paint.warn(&format!("warning: {}", text::line(warning)))));
    lines.extend(checks(&plan.checks, verbose, paint));
    lines.extend(plan.fit.iter().flat_map(|fit| self::fit(fit, verbose, paint)));
    lines.push(summary(&plan.changes));
    lines
}

/// Lists the checks that did not pass, the worst first, and then those that passed: one line with their
/// kinds, or with `verbose` each with its message.
fn checks(checks: &[v1::Check], verbose: bool, paint: Paint) -> Vec<String> {
    if checks.is_empty() {
        return Vec::new();
    }
    let rank = |check: &&v1::Check| match check.result() {
        v1::CheckResult::Fail => 0,
        v1::CheckResult::Warn => 1,
        v1::CheckResult::Unspecified | v1::CheckResult::Skipped => 2,
        v1::CheckResult::Pass => 3,
    };
    let mut sorted: Vec<_> = checks.iter().collect();
    sorted.sort_by_key(rank);
    let (passed, shown): (Vec<_>, Vec<_>) =
        sorted.into_iter().partition(|check| !verbose && check.result() == v1::CheckResult::Pass);
    let mut lines = vec![paint.bold("Checks:")];
    lines.extend(shown.into_iter().map(|check| self::check(check, paint)));
    let kinds = text::unique(passed.into_iter().map(|check| check.kind.as_str()));
    if !kinds.is_empty() {
        lines.push(format!("  {}  {}", paint.good(&format!("{:<7}", "PASS")), text::line(&kinds.join(", "))));
    }
    lines
}

/// Formats changes, made or planned.
pub(crate) fn changes(changes: &[v1::Change], paint: Paint) -> Vec<String> {
    let (later, now): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.after_success);
    let mut lines = by_object(&now, paint);
    if !later.is_empty() {
        lines.push(paint.bold("After the rollout succeeded:"));
        lines.extend(by_object(&later, paint));
    }
    lines
}

fn by_object(changes: &[&v1::Change], paint: Paint) -> Vec<String> {
    let objects = text::unique(changes.iter().map(|change| change.object.as_str()));
    let mut lines = Vec::new();
    for object in objects {
        let of_object: Vec<_> = changes.iter().filter(|change| change.object == object).collect();
        let action = of_object.first().map_or(v1::ChangeAction::Unspecified, |change| change.action());
        let restarts = of_object.iter().any(|change| change.path.is_empty() && change.restarts_replicas);
        lines.push(format!("{}{}", sign(action, &text::line(object), paint), restarts_note(restarts, paint)));
        lines.extend(
            of_object.iter().filter(|change| !change.path.is_empty()).flat_map(|change| field(change, paint)),
        );
    }
    lines
}

/// Returns the number of checks that say that the change will not work.
pub(crate) fn failing(plan: &v1::Plan) -> i32 {
    let failing = plan.checks.iter().filter(|check| check.result() == v1::CheckResult::Fail).count();
    i32::try_from(failing).unwrap_or(i32::MAX)
}

/// Returns the warnings in the plan of a change that was made.
pub(crate) fn warnings(plan: &v1::Plan) -> Vec<String> {
    let checks = plan.checks.iter().filter(|check| match check.result() {
        v1::CheckResult::Warn | v1::CheckResult::Fail => true,
        v1::CheckResult::Unspecified | v1::CheckResult::Pass | v1::CheckResult::Skipped => false,
    });
    let checks = checks.map(|check| format!("warning: {}: {}", check.kind, text::line(&check.message)));
    let verbatim = plan.warnings.iter().map(|warning| format!("warning: {}", text::line(warning)));
    checks.chain(verbatim).collect()
}

fn sign(action: v1::ChangeAction, text: &str, paint: Paint) -> String {
    match action {
        v1::ChangeAction::Create => paint.good(&format!("+ {text}")),
        v1::ChangeAction::Delete => paint.bad(&format!("- {text}")),
        v1::ChangeAction::Update | v1::ChangeAction::Unspecified => paint.warn(&format!("~ {text}")),
    }
}

fn field(change: &v1::Change, paint: Paint) -> Vec<String> {
    let [path, old, new] = [&change.path, &change.old_value, &change.new_value].map(|text| text::line(text));
    let note = restarts_note(change.restarts_replicas, paint);
    match (old.as_str(), new.as_str()) {
        ("", new) => vec![format!("    {}{note}", paint.good(&format!("+ {path}: {new}")))],
        (old, "") => vec![format!("    {}{note}", paint.bad(&format!("- {path}: {old}")))],
        (old, new) if path.len() + old.len() + new.len() <= ONE_LINE => {
            let change = format!("{} -> {}", paint.bad(old), paint.good(new));
            vec![format!("    {} {change}{note}", paint.warn(&format!("~ {path}:")))]
        }
        (old, new) => vec![
            format!("    {}{note}", paint.warn(&format!("~ {path}:"))),
            format!("        {}", paint.bad(&format!("- {old}"))),
            format!("        {}", paint.good(&format!("+ {new}"))),
        ],
    }
}

fn restarts_note(restarts: bool, paint: Paint) -> String {
    if restarts { format!("  {}", paint.dim("(replaces the replicas)")) } else { String::new() }
}

fn check(check: &v1::Check, paint: Paint) -> String {
    let word = format!("{:<7}", text::bare(check.result().as_str_name(), "CHECK_RESULT_"));
    let word = match check.result() {
        v1::CheckResult::Pass => paint.good(&word),
        v1::CheckResult::Warn => paint.warn(&word),
        v1::CheckResult::Fail => paint.bad(&word),
        v1::CheckResult::Skipped | v1::CheckResult::Unspecified => paint.dim(&word),
    };
    let object = if check.object.is_empty() { String::new() } else { format!(" ({})", check.object) };
    text::trimmed(format!(
        "  {word}  {:<15}  {}",
        check.kind,
        text::line(&format!("{}{object}", check.message))
    ))
}

/// Says how many replicas fit, what is short, and which nodes get a replica. `verbose` adds the next best
/// nodes, and why the rest take none.
fn fit(fit: &v1::Fit, verbose: bool, paint: Paint) -> Vec<String> {
    let more = if fit.headroom > 0 { format!(", room for {} more", fit.headroom) } else { String::new() };
    let wanted = text::count(fit.wanted, "replica");
    let mut lines = vec![format!("Fit: {} of {wanted} fit onto the nodes now{more}", fit.fits)];
    lines.extend(fit.short_of.iter().map(|what| paint.bad(&format!("  short: {}", text::line(what)))));
    let mut nodes: Vec<_> = fit.nodes.iter().collect();
    // The sort is stable: within each part the best nodes stay first.
    nodes.sort_by_key(|node| (node.placed == 0, !node.excluded.is_empty()));
    let placed = nodes.iter().filter(|node| node.placed > 0).count();
    let hidden = if verbose { Vec::new() } else { nodes.split_off(placed.min(MOST_NODES)) };
    let row = |node: &&v1::NodeScore| {
        let taken = node.excluded.is_empty();
        let score = if taken { format!("{:.1}", node.score) } else { "-".to_owned() };
        let placed = if node.placed > 0 { format!("+{}", node.placed) } else { String::new() };
        let why = if taken { parts(node) } else { node.excluded.clone() };
        vec![node.node.clone(), node.zone.clone(), placed, score, why]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    if !rows.is_empty() {
        let headings = ["NODE", "ZONE", "REPLICAS", "SCORE", "OF 100 EACH, OR WHY NOT"];
        let colour = |column: usize, cell: &str| if column == 2 { paint.good(cell) } else { cell.to_owned() };
        lines.extend(table::render(&headings, &rows, colour).into_iter().map(|line| format!("  {line}")));
    }
    if !hidden.is_empty() {
        let open = hidden.iter().filter(|node| node.excluded.is_empty()).count();
        let (and, noun) = if rows.is_empty() { ("", "node") } else { ("and ", "more node") };
        let count = text::count(i32::try_from(hidden.len()).unwrap_or(i32::MAX), noun);
        lines.push(format!("  {and}{count}, {open} with room for a replica (--verbose shows them)"));
    }
    lines
}

/// Formats the scores by criterion, without those that are 0.
fn parts(node: &v1::NodeScore) -> String {
    let mut parts: Vec<_> = node.parts.iter().filter(|(_, score)| **score > 0.0).collect();
    parts.sort_unstable_by_key(|(name, _)| *name);
    parts.iter().map(|(name, score)| format!("{name} {score:.0}")).collect::<Vec<_>>().join(", ")
}

fn summary(changes: &[v1::Change]) -> String {
    let restarts = changes.iter().any(|change| change.restarts_replicas);
    let replicas = if restarts { " It would replace the replicas." } else { "" };
    format!("Dry run: nothing was changed.{replicas}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_change(
        object: &str,
        action: v1::ChangeAction,
        [path, old, new]: [&str; 3],
        restarts: bool,
    ) -> v1::Change {
        v1::Change {
            object: object.into(),
            action: action.into(),
            path: path.into(),
            old_value: old.into(),
            new_value: new.into(),
            restarts_replicas: restarts,
            after_success: false,
        }
    }

    fn mk_check(kind: &str, result: v1::CheckResult, message: &str, object: &str) -> v1::Check {
        v1::Check { kind: kind.into(), result: result.into(), message: message.into(), object: object.into() }
    }

    #[test]
    fn a_plan_reads_like_a_diff() {
        let deployment = "deployment.apps/shop";
        let plan = v1::Plan {
            changes: vec![
                mk_change(
                    deployment,
                    v1::ChangeAction::Update,
                    ["spec.image", "\"shop:1\"", "\"shop:2\""],
                    true,
                ),
                mk_change("service/shop", v1::ChangeAction::Create, ["", "", ""], false),
                mk_change(deployment, v1::ChangeAction::Update, ["metadata.labels.a", "", "\"1\""], false),
                mk_change(deployment, v1::ChangeAction::Update, ["metadata.labels.b", "\"1\"", ""], false),
                mk_change(deployment, v1::ChangeAction::Update, ["spec.args", &"x".repeat(99), "y"], false),
                mk_change("poddisruptionbudget.policy/shop", v1::ChangeAction::Delete, ["", "", ""], false),
            ],
            checks: vec![
                mk_check("FIELD_OWNERSHIP", v1::CheckResult::Pass, "", "deployment.apps/shop"),
                mk_check("FIELD_OWNERSHIP", v1::CheckResult::Pass, "", "service/shop"),
                mk_check("FIT", v1::CheckResult::Fail, "2 of 4 replicas fit", ""),
                mk_check("IMAGE", v1::CheckResult::Pass, "", ""),
            ],
            fit: Some(v1::Fit {
                wanted: 4,
                fits: 2,
                short_of: vec!["cpu: 1.5 cores".into()],
                nodes: vec![
                    v1::NodeScore {
                        node: "n1".into(),
                        zone: "a".into(),
                        score: 71.56,
                        placed: 2,
                        parts: [("spread".to_owned(), 100.0), ("least_allocated".to_owned(), 43.0)].into(),
                        ..Default::default()
                    },
                    v1::NodeScore {
                        node: "n2".into(),
                        excluded: "it is cordoned".into(),
                        ..Default::default()
                    },
                ],
                ..Default::default()
            }),
            warnings: vec!["spec.x is deprecated".into()],
        };
        assert_eq!(
            lines(&plan, false, Paint::default()),
            [
                "~ deployment.apps/shop",
                "    ~ spec.image: \"shop:1\" -> \"shop:2\"  (replaces the replicas)",
                "    + metadata.labels.a: \"1\"",
                "    - metadata.labels.b: \"1\"",
                "    ~ spec.args:",
                &format!("        - {}", "x".repeat(99)),
                "        + y",
                "+ service/shop",
                "- poddisruptionbudget.policy/shop",
                "warning: spec.x is deprecated",
                "Checks:",
                "  FAIL     FIT              2 of 4 replicas fit",
                "  PASS     FIELD_OWNERSHIP, IMAGE",
                "Fit: 2 of 4 replicas fit onto the nodes now",
                "  short: cpu: 1.5 cores",
                "  NODE   ZONE   REPLICAS   SCORE   OF 100 EACH, OR WHY NOT",
                "  n1     a      +2         71.6    least_allocated 43, spread 100",
                "  and 1 more node, 0 with room for a replica (--verbose shows them)",
                "Dry run: nothing was changed. It would replace the replicas.",
            ]
        );
        assert_eq!(
            lines(&plan, true, Paint::default())[11..18],
            [
                "  FAIL     FIT              2 of 4 replicas fit",
                "  PASS     FIELD_OWNERSHIP   (deployment.apps/shop)",
                "  PASS     FIELD_OWNERSHIP   (service/shop)",
                "  PASS     IMAGE",
                "Fit: 2 of 4 replicas fit onto the nodes now",
                "  short: cpu: 1.5 cores",
                "  NODE   ZONE   REPLICAS   SCORE   OF 100 EACH, OR WHY NOT",
            ]
        );
        assert!(lines(&plan, true, Paint::default()).iter().any(|line| line.contains("it is cordoned")));
        assert_eq!(failing(&plan), 1);
        assert_eq!(warnings(&plan), ["warning: FIT: 2 of 4 replicas fit", "warning: spec.x is deprecated"]);
    }

    #[test]
    fn of_many_nodes_those_that_take_replicas_are_shown_and_the_rest_counted() {
        let node = |n: i32| v1::NodeScore {
            node: format!("n{n}"),
            placed: i32::from(n == 11),
            excluded: if n > 12 { "it is cordoned".into() } else { String::new() },
            ..Default::default()
        };
        let nodes: Vec<_> = (1..=15).map(node).collect();
        let shown = fit(
            &v1::Fit { wanted: 1, fits: 1, headroom: 3, nodes, ..Default::default() },
            false,
            Paint::default(),
        );
        assert_eq!(shown[0], "Fit: 1 of 1 replica fit onto the nodes now, room for 3 more");
        assert!(shown[2].contains("n11") && shown.len() == 4, "{shown:#?}");
        assert_eq!(shown[3], "  and 14 more nodes, 11 with room for a replica (--verbose shows them)");
    }

    #[test]
    fn what_follows_the_success_stands_apart() {
        let update = v1::ChangeAction::Update;
        let now = mk_change("service/shop", update, ["spec.ports[9000].name", "", "\"http--9000\""], false);
        let mut later = mk_change("service/shop", update, ["spec.ports[8080]", "{}", ""], false);
        later.after_success = true;
        let gone = mk_change("service/cart", v1::ChangeAction::Delete, ["", "", ""], false);
        let gone = v1::Change { after_success: true, ..gone };
        assert_eq!(
            changes(&[later, now, gone], Paint::default()),
            [
                "~ service/shop",
                "    + spec.ports[9000].name: \"http--9000\"",
                "After the rollout succeeded:",
                "~ service/shop",
                "    - spec.ports[8080]: {}",
                "- service/cart",
            ]
        );
    }

    #[test]
    fn an_empty_plan_says_so() {
        let empty = v1::Plan::default();
        assert_eq!(
            lines(&empty, false, Paint::default()),
            ["Nothing would change.", "Dry run: nothing was changed."]
        );
        assert!(failing(&empty) == 0 && warnings(&empty).is_empty());
    }

    #[test]
    fn what_comes_and_what_goes_has_its_colour() {
        let change = mk_change("service/shop", v1::ChangeAction::Update, ["spec.port", "80", "81"], false);
        let painted = changes(&[change], Paint { color: true }).join("\n");
        assert!(painted.contains("\u{1b}[31m") || painted.contains("\u{1b}[1m\u{1b}[31m"), "{painted:?}");
        assert!(painted.contains("32m"), "{painted:?}");
    }
}
