//! Whether the images of the replicas can be had: whether their names are any, and whether nodes have had
//! them before. Asks no registry; must not know how nodes are read.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::{
    check::{Check, Finding, Kind as CheckKind},
    image::Image,
    scheduling::Node,
};

/// A kubelet lists the largest images only, 50 unless it is told otherwise, so that the object of its node
/// stays small. Of a node that lists as many it is not known what else it has.
const MOST_LISTED: usize = 50;

/// An image that the replicas need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequiredImage {
    /// Its name, as the template has it.
    pub name: String,
    /// When it is pulled.
    pub pull: Pull,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pull {
    /// Before every start.
    Always,
    /// If the node does not have it.
    IfAbsent,
    /// Never: the node has it, or the replica does not start.
    Never,
}

/// The images of a pod template, or of a pod, each once.
pub fn images_of(template: &Value) -> Vec<RequiredImage> {
    let spec = &template["spec"];
    let list = |part: &str| spec[part].as_array().into_iter().flatten();
    let wanted = |name: &Value, policy: &Value| {
        let pull = match policy.as_str() {
            Some("Always") => Pull::Always,
            Some("Never") => Pull::Never,
            _ => Pull::IfAbsent,
        };
        Some(RequiredImage { name: name.as_str()?.to_owned(), pull })
    };
    let containers = list("initContainers").chain(list("containers"));
    let of_containers = containers.filter_map(|c| wanted(&c["image"], &c["imagePullPolicy"]));
    let volumes = list("volumes").map(|volume| &volume["image"]);
    let of_volumes = volumes.filter_map(|source| wanted(&source["reference"], &source["pullPolicy"]));
    let all: BTreeSet<_> = of_containers.chain(of_volumes).collect();
    all.into_iter().collect()
}

/// The images that the replicas of a Deployment run, if all of them run its present template: of one under
/// way it is not known whether its new image was ever had.
pub fn running_images(deployment: &Value) -> BTreeSet<Image> {
    let count = |of: &Value| of.as_u64().unwrap_or_default();
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let wanted = count(&spec["replicas"]);
    let all_run =
        ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|part| count(&status[part]) == wanted);
    if wanted == 0 || !all_run {
        return BTreeSet::new();
    }
    images_of(&spec["template"]).iter().filter_map(|wanted| Image::parse(&wanted.name).ok()).collect()
}

/// What becomes of the images: one check, the worst of what was found first, and what is in order only if all
/// is.
pub fn check_images(
    wanted: &[RequiredImage],
    running: &BTreeSet<Image>,
    nodes: Result<&[Node], &str>,
) -> Check {
    let mut found: Vec<_> = wanted.iter().map(|wanted| judge_one(wanted, running, nodes)).collect();
    found.sort_by_key(|(result, _)| *result);
    let result = found.first().map_or(Finding::Pass, |(result, _)| *result);
    let matters = found.into_iter().filter(|(of, _)| result == Finding::Pass || *of != Finding::Pass);
    let sentences: Vec<_> = matters.map(|(_, sentence)| sentence).collect();
    Check::new(CheckKind::Image, result, sentences.join(" "))
}

fn judge_one(
    RequiredImage { name, pull }: &RequiredImage,
    running: &BTreeSet<Image>,
    nodes: Result<&[Node], &str>,
) -> (Finding, String) {
    let image = match Image::parse(name) {
        Ok(image) => image,
        Err(why) => {
            let message = format!(
                "{name} is no name that an image in a registry can have: {why}. Correct the image's name."
            );
            return (Finding::Fail, message);
        }
    };
    let names = image.listed();
    let having = |nodes: &[Node]| {
        nodes.iter().filter(|node| names.iter().any(|name| node.images.contains_key(name))).count()
    };
    let is_running = running.contains(&image);
    let (having, of) = nodes.map_or((0, 0), |nodes| (having(nodes), nodes.len()));
    if *pull == Pull::Never && having == 0 && !is_running {
        let remedy = "Load it onto the nodes, or change the pull policy.";
        return match nodes {
            Err(why) => (
                Finding::Skipped,
                format!("Whether nodes have {name}, which is never pulled, was not looked at: {why}."),
            ),
            Ok([]) => (
                Finding::Skipped,
                format!("There is no node that could have {name}, which is never pulled. {remedy}"),
            ),
            Ok(nodes) if nodes.iter().all(|node| (1..MOST_LISTED).contains(&node.listed)) => (
                Finding::Fail,
                format!(
                    "None of {of} nodes has {name}, and it is never pulled: no replica can start. {remedy}"
                ),
            ),
            Ok(_) => (
                Finding::Warn,
                format!(
                    "None of {of} nodes lists {name}, and it is never pulled; not all of them list all that they have. {remedy}"
                ),
            ),
        };
    }
    if image.moves() {
        let what = if image.has_tag() { "moves" } else { "is left out" };
        let message = format!(
            "The tag of {name} {what}, so what runs depends on when a node pulls it, and replicas may differ. Name a version as the tag, or a digest."
        );
        return (Finding::Warn, message);
    }
    let anew = match pull {
        Pull::Always => ", and ask the registry again before every start",
        Pull::IfAbsent | Pull::Never => "",
    };
    match nodes {
        _ if having > 0 => (Finding::Pass, format!("{having} of {of} nodes have {name} already{anew}.")),
        _ if is_running => (Finding::Pass, format!("The running replicas use {name} already.")),
        Err(why) => {
            (Finding::Skipped, format!("Whether nodes have {name} already was not looked at: {why}."))
        }
        Ok(_) => {
            let message = format!(
                "None of {of} nodes lists {name}, so whether the registry has it is found out by the first pull: the registry is not asked."
            );
            (Finding::Skipped, message)
        }
    }
}
