//! Checks the images of the replicas: whether their names are valid, whether their tags can move, and whether
//! nodes have them already. Asks no registry. Must not know how nodes are read.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::{
    check::{Check, Finding, Kind as CheckKind},
    image::Image,
    scheduling::Node,
};

/// The default number of images that a kubelet lists, the largest ones, so that its Node object stays small.
/// A node that lists this many may have more.
const MOST_LISTED: usize = 50;

/// An image that the replicas need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequiredImage {
    /// Its name, as the template writes it.
    pub name: String,
    /// When it is pulled.
    pub pull: Pull,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pull {
    /// Before each start of a container.
    Always,
    /// If the node does not have it.
    IfAbsent,
    /// Never. Without the image on its node, the replica does not start.
    Never,
}

/// Returns the images of a pod template or a pod, each once.
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

/// Returns the images that the replicas of a Deployment run, if all of them run its current template. During
/// a rollout it is unknown whether any node could pull the new image.
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

/// Checks all images in one check, the worst finding first. Passing images are mentioned only if all pass.
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
            let message = format!("{name} is not a valid image name: {why}. Correct the image's name.");
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
                format!("Whether nodes have {name}, which is never pulled, was not checked: {why}."),
            ),
            Ok([]) => (
                Finding::Skipped,
                format!("There is no node yet that could have {name}, which is never pulled. {remedy}"),
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
                    "None of {of} nodes lists {name}, and it is never pulled. Some nodes do not list all of their images. {remedy}"
                ),
            ),
        };
    }
    if image.moves() {
        let what = if image.has_tag() { "moves" } else { "is left out" };
        let message = format!(
            "The tag of {name} {what}, so replicas may run different images, depending on when their node pulled it. Use a version as the tag, or a digest."
        );
        return (Finding::Warn, message);
    }
    let anew = match pull {
        Pull::Always => ", and check with the registry before every start",
        Pull::IfAbsent | Pull::Never => "",
    };
    match nodes {
        _ if having > 0 => (Finding::Pass, format!("{having} of {of} nodes have {name} already{anew}.")),
        _ if is_running => (Finding::Pass, format!("The running replicas use {name} already.")),
        Err(why) => (Finding::Skipped, format!("Whether nodes have {name} already was not checked: {why}.")),
        Ok(_) => {
            let message = format!(
                "None of {of} nodes lists {name}. Gantry does not ask the registry, so only the first pull will show whether it has the image."
            );
            (Finding::Skipped, message)
        }
    }
}
