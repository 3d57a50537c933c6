//! The limit of every read over gRPC: the smallest server, in a separate process like the daemon, and the
//! smallest call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    process::Stdio,
    task::{Context, Poll},
};

use axum::http::{self, uri::PathAndQuery};
use futures::{FutureExt, future::BoxFuture};
use prost::{Message, bytes::Bytes};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    client,
    server::{self, NamedService, UnaryService},
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::Service;

/// Path of the only method.
pub const PATH: &str = "/bench.Echo/Answer";

/// A running server; it ends when this is dropped.
pub struct Echo {
    pub address: String,
    _child: Child,
}

/// The answer to every request.
#[derive(Clone)]
struct Answer(Bytes);

/// Serves answers of this size until it is killed.
pub async fn serve(bytes: usize) {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
    println!("{}", incoming.local_addr().unwrap());
    let answer = Answer(Bytes::from(vec![b'x'; bytes]));
    Server::builder().add_service(answer).serve_with_incoming(incoming).await.unwrap();
}

/// Makes one call, with nothing around it.
pub async fn call<Q, A>(channel: &Channel, path: &'static str, request: Q) -> A
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<Q, A>::default();
    grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await.unwrap().into_inner()
}

// === impl Echo ===

impl Echo {
    /// Starts a server whose answers have this many bytes.
    pub async fn start(bytes: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["echo", &bytes.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().expect("the echo says where it listens");
        Self { address, _child: child }
    }
}

// === impl Answer ===

impl NamedService for Answer {
    const NAME: &'static str = "bench.Echo";
}

impl UnaryService<Bytes> for Answer {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl Service<http::Request<Body>> for Answer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.clone();
        async move { Ok(server::Grpc::new(ProstCodec::<Bytes, Bytes>::default()).unary(answer, request).await) }
            .boxed()
    }
}
