//! Explains to people why replicas cannot be placed. Names no node.

use std::{collections::BTreeMap, fmt};

use super::{Exclusion, Shortage};

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => write!(f, "it is cordoned"),
            Self::Taint(taint) => write!(f, "its taint {taint} is not tolerated"),
            Self::Selector(demand) => write!(f, "it does not have {demand}"),
            Self::Port(number) => write!(f, "its port {number} is taken"),
            Self::Pods(most) => write!(f, "it already has its maximum of {most} pods"),
            Self::Short(all) => {
                for (i, short) in all.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{short}")?;
                }
                Ok(())
            }
            Self::Volume(claim) => write!(f, "it cannot mount the volume of claim {claim}"),
            Self::Spread(topology) => write!(f, "the spread over {topology} would be violated"),
            Self::Affinity(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, asked, free } = self;
        write!(
            f,
            "{resource}: {} requested, {} free",
            format_amount(resource, *asked),
            format_amount(resource, *free)
        )
    }
}

/// Formats an amount with its unit.
pub(crate) fn format_amount(resource: &str, amount: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let decimal = |thousandths: i64| {
        let (sign, n) = (if thousandths < 0 { "-" } else { "" }, thousandths.unsigned_abs());
        let text = format!("{sign}{}.{:03}", n / 1000, n % 1000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match resource {
        "cpu" if amount == 1000 => "1 core".to_owned(),
        "cpu" => format!("{} cores", decimal(amount)),
        "memory" | "ephemeral-storage" => {
            let unit = UNITS.iter().find(|(size, _)| amount.abs() >= *size);
            unit.map_or_else(
                || format!("{amount} bytes"),
                |(size, name)| {
                    let tenths =
                        i64::try_from(i128::from(amount) * 10 / i128::from(*size)).unwrap_or(i64::MAX);
                    format!("{}{name}", decimal(tenths.saturating_mul(100)))
                },
            )
        }
        _ => amount.to_string(),
    }
}

/// Explains why a replica fits on none of these nodes. Missing resources come first, with the amount that is
/// missing, then everything else, the most frequent first.
pub(super) fn explain_exclusions(exclusions: &[Exclusion]) -> Vec<String> {
    if exclusions.is_empty() {
        return vec!["there are no nodes".to_owned()];
    }
    let mut resources = BTreeMap::<&str, Vec<&Shortage>>::new();
    let mut others = BTreeMap::<String, usize>::new();
    for exclusion in exclusions {
        if let Exclusion::Short(all) = exclusion {
            for short in all {
                resources.entry(&short.resource).or_default().push(short);
            }
        } else {
            *others.entry(in_general(exclusion)).or_default() += 1;
        }
    }
    let short = resources.into_iter().filter_map(|(name, all)| {
        let least = all.iter().map(|s| s.asked - s.free).min()?;
        let most_free = all.iter().map(|s| s.free).max()?;
        let asked = all.first()?.asked;
        Some(format!(
            "{name}: {} short on {}; a replica requests {}, the largest free amount is {}",
            format_amount(name, least),
            nodes(all.len(), "the best of ", " that would otherwise fit"),
            format_amount(name, asked),
            format_amount(name, most_free)
        ))
    });
    let mut others: Vec<_> = others.into_iter().collect();
    others.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest = others.into_iter().map(|(what, count)| format!("{what}: {}", nodes(count, "", "")));
    short.chain(rest).collect()
}

fn nodes(count: usize, before: &str, after: &str) -> String {
    if count == 1 { format!("1 node{after}") } else { format!("{before}{count} nodes{after}") }
}

fn in_general(exclusion: &Exclusion) -> String {
    match exclusion {
        Exclusion::Unschedulable => "cordoned".to_owned(),
        Exclusion::Taint(taint) => format!("taint {taint} is not tolerated"),
        Exclusion::Selector(demand) => format!("without {demand}"),
        Exclusion::Port(number) => format!("port {number} is taken"),
        Exclusion::Pods(_) => "the maximum number of pods is reached".to_owned(),
        Exclusion::Short(_) => "resources".to_owned(),
        Exclusion::Volume(claim) => format!("the volume of claim {claim} cannot be mounted"),
        Exclusion::Spread(topology) => format!("the spread over {topology} would be violated"),
        Exclusion::Affinity(why) => why.clone(),
    }
}
