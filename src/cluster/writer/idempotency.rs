//! Where a request id and its answer are stored in the cluster, so that a retry gets the same answer from any
//! gantryd. Deploy, rollback and restart: in the revision (`domain::plan::find_request`). Scale, hold, pause,
//! resume and the restart of an unmanaged app: in the annotation `gantry.dev/requests` of the Deployment
//! (`annotation`). Delete: in a Lease, because the Deployment goes away (`lease`). The cache of one process
//! is `grpc::idempotency`.

pub(super) mod annotation;
pub(super) mod lease;
