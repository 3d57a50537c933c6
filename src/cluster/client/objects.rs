//! The only access to objects of the API server. Each call names its verb, resource, object and caller.
//! Through [`Cluster::call`] it has a deadline, one error type and a metric. Must not know apps.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource as KubeResource,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, LogParams, ObjectList, PartialObjectMeta,
        Patch, PatchParams, PostParams,
    },
    client::Body,
    core::{Request, Status},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::Cluster;
use crate::{
    cluster::error::{self, ApiCall, Resource, Verb},
    domain::{Error, caller::Caller},
};

/// The objects of one kind, in one namespace or in all.
#[derive(Clone)]
pub(in crate::cluster) struct Objects<K> {
    cluster: Cluster,
    api: Api<K>,
    resource: Resource,
    /// The caller on whose behalf writes are made; `None` means gantryd itself. Reads are always made as
    /// gantryd.
    on_behalf_of: Option<Caller>,
}

/// A write for a dry run.
enum TriedWrite<'a> {
    /// Applies the object of this name.
    Apply(&'a str, &'a PatchParams, &'a RawValue),
    /// Creates an object.
    Create(&'a PostParams, &'a Value),
}

// === impl Cluster ===

impl Cluster {
    /// The objects of a kind in a namespace.
    pub(in crate::cluster) fn namespaced<K>(&self, namespace: &str) -> Objects<K>
    where
        K: KubeResource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.to_objects(Api::namespaced(self.client.clone(), namespace), &ApiResource::erase::<K>(&()))
    }

    /// All objects of a kind.
    pub(in crate::cluster) fn all<K: KubeResource<DynamicType = ()>>(&self) -> Objects<K> {
        self.to_objects(Api::all(self.client.clone()), &ApiResource::erase::<K>(&()))
    }

    /// The objects of a kind in a namespace, untyped and complete.
    pub(in crate::cluster) fn dynamic(&self, namespace: &str, kind: &ApiResource) -> Objects<DynamicObject> {
        self.to_objects(Api::namespaced_with(self.client.clone(), namespace, kind), kind)
    }

    fn to_objects<K>(&self, api: Api<K>, kind: &ApiResource) -> Objects<K> {
        Objects { cluster: self.clone(), api, resource: Resource::of_kind(kind), on_behalf_of: None }
    }

    /// Returns the plural names of the kinds in a group version, or `None` if the API server does not know
    /// the group.
    pub(in crate::cluster) async fn list_kinds(
        &self,
        group_version: &str,
    ) -> Result<Option<Vec<String>>, Error> {
        let resource = Resource::named(group_version);
        let call = ApiCall { verb: Verb::Get, resource: &resource, name: "", on_behalf_of: None };
        let answer =
            async { error::unless_missing(self.client.list_api_group_resources(group_version).await) };
        let found = self.call(call, answer).await?;
        Ok(found.map(|found| found.resources.into_iter().map(|kind| kind.name).collect()))
    }
}

// === impl Objects ===

impl<K> Objects<K> {
    /// The same objects, written on behalf of a caller.
    pub(in crate::cluster) fn on_behalf_of(self, caller: Option<Caller>) -> Self {
        Self { on_behalf_of: caller, ..self }
    }

    /// The plain interface, for watches, which are more than one answer.
    pub(in crate::cluster) fn watchable(&self) -> Api<K>
    where
        K: Clone,
    {
        self.api.clone()
    }

    fn to_call<'a>(&'a self, verb: Verb, name: &'a str) -> ApiCall<'a> {
        ApiCall { verb, resource: &self.resource, name, on_behalf_of: self.on_behalf_of.as_ref() }
    }
}

impl<K: KubeResource> Objects<K> {
    /// Runs an apply as a dry run, and collects the warnings of the API server.
    pub(in crate::cluster) async fn dry_run_apply(
        &self,
        name: &str,
        params: &PatchParams,
        manifest: &RawValue,
        warnings: &mut Vec<String>,
    ) -> Result<DynamicObject, Error> {
        let write = TriedWrite::Apply(name, params, manifest);
        self.cluster.call(self.to_call(Verb::Patch, name), self.try_write(write, warnings)).await
    }

    /// Runs a create as a dry run, and collects the warnings of the API server. A refusal is returned
    /// unchanged.
    pub(in crate::cluster) async fn dry_run_create(
        &self,
        params: &PostParams,
        manifest: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<Result<DynamicObject, Box<Status>>, Error> {
        let answer = async {
            match self.try_write(TriedWrite::Create(params, manifest), warnings).await {
                Err(kube::Error::Api(status)) => Ok(Err(status)),
                answer => answer.map(Ok),
            }
        };
        self.cluster.call(self.to_call(Verb::Create, ""), answer).await
    }

    /// Sends the request directly, because the client's methods do not return the warnings, which come in
    /// headers.
    async fn try_write(
        &self,
        write: TriedWrite<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<DynamicObject, kube::Error> {
        let request = Request::new(self.api.resource_url());
        let request = match write {
            TriedWrite::Apply(name, params, manifest) => request.patch(name, params, &Patch::Apply(manifest)),
            TriedWrite::Create(params, manifest) => request.create(params, manifest.to_string().into_bytes()),
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        let response = self.cluster.client.send(request.map(Body::from)).await?;
        let (parts, body) = response.into_parts();
        let texts = parts.headers.get_all("warning").iter();
        warnings.extend(texts.filter_map(|header| warning_text(header.to_str().ok()?)));
        let bytes = body.collect_bytes().await?;
        if parts.status.is_success() {
            return serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError);
        }
        let refusal = serde_json::from_slice(&bytes).unwrap_or_else(|_| Status {
            code: parts.status.as_u16(),
            message: String::from_utf8_lossy(&bytes).into_owned(),
            ..Status::default()
        });
        Err(kube::Error::Api(Box::new(refusal)))
    }
}

impl<K: KubeResource + Clone + Debug + DeserializeOwned> Objects<K> {
    pub(in crate::cluster) async fn get(&self, name: &str) -> Result<K, Error> {
        self.cluster.call(self.to_call(Verb::Get, name), self.api.get(name)).await
    }

    pub(in crate::cluster) async fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        self.cluster.call(self.to_call(Verb::Get, name), self.api.get_opt(name)).await
    }

    /// Whether the object exists. Only its metadata is sent.
    pub(in crate::cluster) async fn exists(&self, name: &str) -> Result<bool, Error> {
        let found = self.cluster.call(self.to_call(Verb::Get, name), self.api.get_metadata_opt(name)).await?;
        Ok(found.is_some())
    }

    /// Reads an object as another type, for example one that omits values that must not be held in memory.
    pub(in crate::cluster) async fn get_as<T>(&self, name: &str) -> Result<Option<T>, Error>
    where
        T: Clone + Debug + DeserializeOwned,
    {
        let answer = async {
            let request = Request::new(self.api.resource_url()).get(name, &kube::api::GetParams::default());
            let request = request.map_err(kube::Error::BuildRequest)?;
            error::unless_missing(self.cluster.client.request::<T>(request).await)
        };
        self.cluster.call(self.to_call(Verb::Get, name), answer).await
    }

    pub(in crate::cluster) async fn list(&self, params: &ListParams) -> Result<ObjectList<K>, Error> {
        self.cluster.call(self.to_call(Verb::List, ""), self.api.list(params)).await
    }

    pub(in crate::cluster) async fn list_metadata(
        &self,
        params: &ListParams,
    ) -> Result<ObjectList<PartialObjectMeta<K>>, Error> {
        self.cluster.call(self.to_call(Verb::List, ""), self.api.list_metadata(params)).await
    }

    /// Lists every object, or nothing if the API server does not know the kind.
    pub(in crate::cluster) async fn list_if_known(&self) -> Result<Vec<K>, Error> {
        let answer = async { error::unless_missing(self.api.list(&ListParams::default()).await) };
        let all = self.cluster.call(self.to_call(Verb::List, ""), answer).await?;
        Ok(all.map(|all| all.items).unwrap_or_default())
    }

    /// Lists all pages, and reduces each object with `make` as soon as it is read.
    pub(in crate::cluster) async fn list_pages<T>(
        &self,
        mut params: ListParams,
        make: impl Fn(K) -> T,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        loop {
            let page = self.list(&params).await?;
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            all.extend(page.items.into_iter().map(&make));
            if next.is_none() {
                return Ok(all);
            }
            params.continue_token = next;
        }
    }

    pub(in crate::cluster) async fn patch<P: Serialize + Debug>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<K, Error> {
        self.cluster.call(self.to_call(Verb::Patch, name), self.api.patch(name, params, patch)).await
    }

    /// Patches the scale subresource.
    pub(in crate::cluster) async fn patch_scale(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<Value>,
    ) -> Result<k8s_openapi::api::autoscaling::v1::Scale, Error> {
        self.cluster.call(self.to_call(Verb::Patch, name), self.api.patch_scale(name, params, patch)).await
    }

    /// Creates an object. Returns `None` if its name is taken.
    pub(in crate::cluster) async fn create(&self, params: &PostParams, object: &K) -> Result<Option<K>, Error>
    where
        K: Serialize,
    {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let answer = async {
            match self.api.create(params, object).await {
                Ok(created) => Ok(Some(created)),
                Err(error) if error::is_already_exists(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.cluster.call(self.to_call(Verb::Create, name), answer).await
    }

    /// Deletes an object. Returns whether it existed.
    pub(in crate::cluster) async fn delete(&self, name: &str, params: &DeleteParams) -> Result<bool, Error> {
        let answer = async { error::unless_missing(self.api.delete(name, params).await) };
        Ok(self.cluster.call(self.to_call(Verb::Delete, name), answer).await?.is_some())
    }
}

impl Objects<k8s_openapi::api::core::v1::Pod> {
    /// Reads the log of a container up to now.
    pub(in crate::cluster) async fn read_log(&self, pod: &str, params: &LogParams) -> Result<String, Error> {
        let mut call = self.to_call(Verb::Get, pod);
        let resource = self.resource.with_subresource("log");
        call.resource = &resource;
        self.cluster.call(call, self.api.logs(pod, params)).await
    }

    /// Opens the log of a container as a stream of bytes. A 404 or 400 is returned unchanged.
    pub(in crate::cluster) async fn stream_log(
        &self,
        pod: &str,
        params: &LogParams,
    ) -> Result<Result<impl futures::AsyncBufRead + use<>, Box<Status>>, Error> {
        let mut call = self.to_call(Verb::Get, pod);
        let resource = self.resource.with_subresource("log");
        call.resource = &resource;
        let answer = async {
            match self.api.log_stream(pod, params).await {
                Ok(bytes) => Ok(Ok(bytes)),
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 400 => Ok(Err(status)),
                Err(error) => Err(error),
            }
        };
        self.cluster.call(call, answer).await
    }
}

/// The text of a warning header: `299 - "text"`.
fn warning_text(header: &str) -> Option<String> {
    let quoted = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_taken_out_of_their_headers() {
        let text = warning_text(r#"299 - "unknown field \"spec.foo\"""#);
        assert_eq!(text.as_deref(), Some(r#"unknown field "spec.foo""#));
        assert_eq!(warning_text("299"), None);
    }
}
