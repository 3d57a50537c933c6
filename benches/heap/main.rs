//! Counts what the heap holds, for the daemon and for a plain reflector of typed pods. It is a separate
//! program, because counting slows down everything in its process. `benches/calls` starts it and asks for the
//! figure by a line on its input.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::large_futures
)]

mod rows;

use std::{env, future, io::BufRead as _};

use clap::Parser as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt as _, reflector, watcher},
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn main() {
    let args: Vec<_> = env::args().skip(1).collect();
    let _ = rustls::crypto::ring::default_provider().install_default();
    match args.first().map(String::as_str) {
        Some("gantryd") => {
            answer();
            gantry::runtime::run_daemon(&gantry::runtime::Args::parse_from(&args)).unwrap();
        }
        Some("reflector") => {
            tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(reflect());
        }
        Some("rows") => rows::weigh(|| HEAP.current_usage()),
        _ => println!("nothing is counted without `make bench`"),
    }
}

/// Prints how many bytes the heap holds, for each line of input. The process ends with its input.
fn answer() {
    std::thread::spawn(|| {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
            println!("{}", HEAP.current_usage());
        }
        std::process::exit(0);
    });
}

/// Reflects all pods, with the code that most programs use for it.
async fn reflect() {
    let context = Some(env::var("GANTRY_TEST_CONTEXT").unwrap());
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let file = Kubeconfig::read_from(env::var("GANTRY_TEST_KUBECONFIG").unwrap()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await.unwrap();
    let pods = Api::<Pod>::all(Client::try_from(config).unwrap());
    let (store, writer) = reflector::store();
    let events = reflector(writer, watcher(pods, watcher::Config::default())).applied_objects();
    let follow = events.for_each(|event| {
        event.unwrap();
        future::ready(())
    });
    let filled = async {
        store.wait_until_ready().await.unwrap();
        println!("filled");
        answer();
        future::pending::<()>().await;
    };
    tokio::join!(follow, filled);
}
