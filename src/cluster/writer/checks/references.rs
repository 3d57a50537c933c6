//! Checks that the objects to which the replicas refer exist. Reads them with gantryd's account. Of Secrets
//! and ConfigMaps only the names of the keys are read into memory; the parser skips the values.

use std::{collections::BTreeSet, fmt};

use futures::future::join_all;
use k8s_openapi::api::{
    core::v1::{ConfigMap, PersistentVolumeClaim, Secret, ServiceAccount},
    scheduling::v1::PriorityClass,
};
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::context::{CheckContext, in_time};
use crate::domain::{
    Error,
    check::{Check, Finding, Kind as CheckKind},
    checks::{
        or_pass,
        references::{self, Found, Kind, Reference},
    },
};

/// A Secret or ConfigMap without its values.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    data: Option<Names>,
    binary_data: Option<Names>,
}

/// The keys of a map. Its values are skipped.
#[derive(Clone, Debug, Default)]
struct Names(BTreeSet<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Passing)
    }
}

struct Passing;

impl<'de> Visitor<'de> for Passing {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.insert(name);
        }
        Ok(Names(names))
    }
}

pub(super) async fn check_references(context: &CheckContext<'_>) -> Vec<Check> {
    let all = references::references_of(&context.pod);
    let surges =
        context.growth.change.replaces && !context.growth.change.recreate && context.growth.before > 0;
    let found = join_all(all.iter().map(|reference| find(context, reference))).await;
    let judged =
        all.iter().zip(&found).map(|(r, found)| references::check_reference(r, found, surges)).collect();
    or_pass(judged, || {
        let message = match all.len() {
            0 => "The replicas refer to no other objects.".to_owned(),
            1 => "The object that the replicas refer to exists.".to_owned(),
            n => format!("All {n} objects that the replicas refer to exist."),
        };
        Check::new(CheckKind::References, Finding::Pass, message)
    })
}

async fn find(context: &CheckContext<'_>, reference: &Reference) -> Found {
    let name = &reference.name;
    let there = || Found::There(BTreeSet::new());
    let object = format!("{}/{name}", reference.kind.prefix());
    let read = async {
        Ok(match reference.kind {
            Kind::ConfigMap => keys::<ConfigMap>(context, name).await?,
            Kind::Secret => keys::<Secret>(context, name).await?,
            Kind::PullSecret => keys::<Secret>(context, name).await?.map(|_| there()),
            Kind::ServiceAccount => context.objects::<ServiceAccount>().exists(name).await?.then(there),
            Kind::PriorityClass => {
                context.writer.cluster.all::<PriorityClass>().exists(name).await?.then(there)
            }
            Kind::Claim => {
                let claims = context.objects::<PersistentVolumeClaim>();
                claims.get_opt(name).await?.map(|claim| to_claim(&claim))
            }
        })
    };
    match in_time(read, || format!("get {object}")).await {
        Ok(found) => found.unwrap_or(Found::Absent),
        Err(why) => Found::Unknown(why),
    }
}

async fn keys<K>(context: &CheckContext<'_>, name: &str) -> Result<Option<Found>, Error>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + fmt::Debug
        + serde::de::DeserializeOwned,
{
    let found = context.objects::<K>().get_as::<Keys>(name).await?;
    let names = |keys: Keys| {
        let all = keys.data.into_iter().chain(keys.binary_data);
        Found::There(all.flat_map(|names| names.0).collect())
    };
    Ok(found.map(names))
}

fn to_claim(claim: &PersistentVolumeClaim) -> Found {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.clone()).unwrap_or_default();
    Found::Claim {
        bound: phase == Some("Bound"),
        lost: phase == Some("Lost"),
        shared: modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_only_the_names_of_its_keys_are_kept() {
        let secret = r#"{"kind": "Secret", "data": {"one": "c3dvcmRmaXNo", "two": ""}, "binaryData": null, "type": "Opaque"}"#;
        let keys: Keys = serde_json::from_str(secret).unwrap();
        assert!(!format!("{keys:?}").contains("c3dvcmRmaXNo"), "{keys:?}");
        assert_eq!(keys.data.unwrap().0, ["one", "two"].map(ToOwned::to_owned).into());
        assert!(keys.binary_data.is_none());
    }
}
