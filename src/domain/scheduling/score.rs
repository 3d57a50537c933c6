//! Scores a node for the pod, from 0 to 100 by each criterion. Implements the scheduler's plugins
//! `NodeResourcesFit` (`LeastAllocated`), `NodeResourcesBalancedAllocation`, `ImageLocality`,
//! `TaintToleration` and `NodeAffinity`. The integer arithmetic is the scheduler's, so that nodes that are
//! equal to the scheduler are equal here.

use super::{Amounts, Node, PodTemplate, filter};

/// The best score.
pub(super) const MOST: i64 = 100;

/// Number of criteria.
pub(super) const CRITERIA: usize = 7;

/// The criteria, with their weights in the default profile.
pub(super) const WEIGHTS: [(&str, i64); CRITERIA] = [
    ("least_allocated", 1),
    ("balanced_allocation", 1),
    ("image_locality", 1),
    ("taint_toleration", 3),
    ("node_affinity", 2),
    ("spread", 2),
    ("pod_affinity", 2),
];

/// Bounds for the total size of images that are on the node: 23 MiB in all, and 1000 MiB for each container.
const IMAGES: (i64, i64) = (23 * 1024 * 1024, 1000 * 1024 * 1024);

/// Returns the mean share of CPU and memory that would be left.
pub(super) fn score_least_allocated(node: &Node, weighed: [i64; 2], asked: &Amounts) -> i64 {
    let both = [
        (node.allocatable.cpu, weighed[0] + asked.cpu),
        (node.allocatable.memory, weighed[1] + asked.memory),
    ];
    let left = |(capacity, taken): (i64, i64)| {
        if taken > capacity { 0 } else { share(capacity - taken, capacity) }
    };
    let scores: Vec<i64> = both.into_iter().filter(|(capacity, _)| *capacity != 0).map(left).collect();
    i64::try_from(scores.len()).map_or(0, |n| if n == 0 { 0 } else { scores.iter().sum::<i64>() / n })
}

/// `MOST * part / whole`, without overflow.
fn share(part: i64, whole: i64) -> i64 {
    i64::try_from(i128::from(part) * i128::from(MOST) / i128::from(whole)).unwrap_or(MOST)
}

/// Scores whether CPU and memory would be used more evenly than now; 75 means as evenly. Returns 0 for a pod
/// that requests neither.
pub(super) fn score_balanced_allocation(node: &Node, used: &Amounts, asked: &Amounts) -> i64 {
    if asked.cpu == 0 && asked.memory == 0 {
        return 0;
    }
    let evenness = |cpu: i64, memory: i64| {
        let parts = [(cpu, node.allocatable.cpu), (memory, node.allocatable.memory)];
        #[allow(clippy::cast_precision_loss)] // as the scheduler computes it
        let fraction = |(taken, capacity): (i64, i64)| (taken as f64 / capacity as f64).min(1.0);
        let fractions: Vec<f64> = parts.into_iter().filter(|(_, c)| *c != 0).map(fraction).collect();
        let deviation = match fractions[..] {
            [a, b] => ((a - b) / 2.0).abs(),
            _ => 0.0,
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // between 0 and 100
        let score = ((1.0 - deviation) * MOST as f64) as i64;
        score
    };
    let after = evenness(used.cpu + asked.cpu, used.memory + asked.memory);
    let before = evenness(used.cpu, used.memory);
    MOST / 2 + (MOST / 2 + after - before) / 2
}

/// Scores how much of the images is already on the node. An image that few nodes have counts less, so that
/// these nodes do not attract all pods.
pub(super) fn score_image_locality(
    template: &PodTemplate,
    node: &Node,
    nodes: usize,
    having: impl Fn(&str) -> usize,
) -> i64 {
    let (least, most) = IMAGES;
    let scaled = |image: &String| {
        let name = normalize_image_name(image);
        let Some(size) = node.images.get(&name) else { return 0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        // as the scheduler computes it
        let scaled = (*size as f64 * (having(&name) as f64 / nodes as f64)) as i64;
        scaled
    };
    let most = most.saturating_mul(i64::try_from(template.images.len()).unwrap_or(1).max(1));
    let sum = template.images.iter().map(scaled).sum::<i64>().clamp(least, most);
    share(sum - least, most - least)
}

/// Returns the name of an image as nodes list it, with a tag.
pub(super) fn normalize_image_name(image: &str) -> String {
    let tagged = image.rfind(':') > image.rfind('/');
    if tagged { image.to_owned() } else { format!("{image}:latest") }
}

/// Counts the `PreferNoSchedule` taints that the pod does not tolerate.
pub(super) fn count_soft_taints(template: &PodTemplate, node: &Node) -> i64 {
    let taints = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let count = taints.filter(|taint| !filter::tolerates_taint(template, taint)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Sums the weights of the preferences that the node meets.
pub(super) fn score_node_affinity(template: &PodTemplate, node: &Node) -> i64 {
    template.preferred.iter().filter(|(_, term)| term.matches(node)).map(|(weight, _)| weight).sum()
}

/// Scales counts to the range from 0 to 100. With `reverse`, the largest count gets 0.
pub(super) fn normalize_scores(counts: &mut [i64], reverse: bool) {
    let largest = counts.iter().copied().max().unwrap_or_default();
    for count in counts {
        let score = if largest == 0 { 0 } else { share(*count, largest) };
        *count = if reverse { MOST - score } else { score };
    }
}
