//! The autoscaling loop: every five seconds it gathers what is known of each app whose autoscaler is on, lets `autoscale` decide, has
//! the count set where a decision says so, and keeps every decision. A report of load that asks for more replicas is looked at within
//! a second.
//!
//! Must not decide anything itself, nor talk to Kubernetes: what replicas use comes from a [`Meter`], counts are set by [`Act`].

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::tasks::Tasks;
use crate::{
    autoscale::{
        Count, Evaluation, Measurement, Memory, Missing, Mode, Outcome, PodUsage, Policy, Signal, Source,
        Verdict, measure_cpu_and_memory,
    },
    cluster::{Cluster, lease::Election},
    domain::{
        Error,
        commands::{Commands, ScaleOutcome, SetReplicas, UsageSource},
        name,
    },
    index::{AutoscalerInput, AutoscalerState, Index, Leader, TimelineEvent},
    metrics::METRICS,
};

/// Time between two looks at everything.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// Time between two looks at what reports ask for.
const SOON: Duration = Duration::from_secs(1);

/// How long the metrics API may take: an answer that comes later is of no use to this look.
const METER: Duration = Duration::from_secs(3);

/// Calls to the API server at a time.
const AT_ONCE: usize = 8;

/// Time that whoever wrote a hold gets to set its count.
const OWN_COUNT: SignedDuration = SignedDuration::from_secs(3);

/// Looks between two clean-ups of what was kept of apps that are gone.
const CLEAN_EVERY: u64 = 12;

/// How the loop is run.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Whether this server runs the autoscaling loop, if no other one does
    #[arg(long, value_name = "WHETHER", value_enum, default_value = "on", env = "GANTRYD_AUTOSCALER")]
    autoscaler: Switch,
    /// Namespace of the Leases by which the servers of a cluster agree which of them runs the loop, and know a repeated deletion; all
    /// must name the same
    /// [default: the namespace of the pod or of the kubeconfig's context, else default]
    #[arg(long, value_name = "NAME", env = "GANTRYD_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// How long a replica count that somebody sets past this server (`kubectl scale`) stands over the autoscaler; `0s`: not at all
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = super::parse_duration, env = "GANTRYD_FOREIGN_HOLD")]
    foreign_hold: Duration,
}

impl Args {
    /// Where the servers of this cluster keep what belongs to no app.
    pub(super) fn lease_namespace(&self, cluster: &Cluster) -> String {
        self.lease_namespace.clone().unwrap_or_else(|| cluster.namespace.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Starts the loop and the election for it; gives this server's part in it, to be given up at the end.
pub(super) fn start(
    args: &Args,
    tasks: &mut Tasks,
    cluster: &Cluster,
    index: &Index,
    scaling: &AutoscalerState,
    act: Arc<dyn Commands>,
    address: SocketAddr,
) -> Option<Election> {
    let (now, stands) = (Timestamp::now(), args.autoscaler == Switch::On);
    if !stands {
        scaling.set_leader(Leader::Off, now);
    }
    let namespace = args.lease_namespace(cluster);
    let election = Election::new(cluster.clone(), namespace, &host(), address, now, stands);
    tasks.run("lease", election.clone().run(scaling.clone()));
    if !stands {
        return None;
    }
    let meter = Arc::new(cluster.clone());
    tasks.run(
        "autoscaler",
        Autoscaler::new(index.clone(), scaling.clone(), act, meter, args.foreign_hold).run(),
    );
    Some(election)
}

/// The name of this machine, or of the pod, and what tells it from others of that name: the boot, and the network in which it listens.
fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let told = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let name = told.or_else(|| read("/proc/sys/kernel/hostname")).unwrap_or_else(|| "localhost".to_owned());
    let boot = read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let network =
        std::fs::read_link("/proc/self/ns/net").map(|path| path.display().to_string()).unwrap_or_default();
    let network: String = network.chars().filter(char::is_ascii_digit).collect();
    format!("{name}-{}-{network}", boot.split('-').next().unwrap_or_default())
}

/// What the metrics API said of a namespace.
type Measured = Result<HashMap<Arc<str>, PodUsage>, Arc<str>>;

/// The loop and what it remembers between two looks.
pub(super) struct Autoscaler {
    index: Index,
    scaling: AutoscalerState,
    act: Arc<dyn Commands>,
    meter: Arc<dyn UsageSource>,
    /// How long a count that is set past this server stands.
    foreign_hold: Duration,
    memories: HashMap<name::App, Remembered>,
    looks: u64,
}

/// What a look leaves to the next one at the same app.
struct Remembered {
    memory: Memory,
    at: Instant,
    /// The policy that it is of; under another one everything begins anew.
    policy: Arc<Policy>,
}

/// Which apps a look is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All of them.
    Whole,
    /// Those of which a report asks for more replicas, at once.
    Reports,
}

// === impl Autoscaler ===

impl Autoscaler {
    pub(super) fn new(
        index: Index,
        scaling: AutoscalerState,
        act: Arc<dyn Commands>,
        meter: Arc<dyn UsageSource>,
        foreign_hold: Duration,
    ) -> Self {
        Self { index, scaling, act, meter, foreign_hold, memories: HashMap::new(), looks: 0 }
    }

    /// Looks again and again while this server is the one that does, until dropped.
    pub(super) async fn run(mut self) {
        let mut reports = self.scaling.watch_reports();
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut soonest = Instant::now();
        loop {
            let look = tokio::select! {
                _ = ticks.tick() => Look::Whole,
                news = async {
                    tokio::time::sleep_until(soonest).await;
                    reports.changed().await
                } => {
                    if news.is_err() {
                        return;
                    }
                    Look::Reports
                }
            };
            soonest = Instant::now() + SOON;
            if self.scaling.leader() != Leader::Local || !self.index.is_filled() {
                self.memories.clear();
                continue;
            }
            self.look(look, Timestamp::now()).await;
        }
    }

    async fn look(&mut self, look: Look, now: Timestamp) {
        let mut apps = self.index.autoscaler_inputs(now);
        let measured = if look == Look::Whole { self.measure(&apps).await } else { HashMap::new() };
        if look == Look::Whole {
            // Measuring takes a while, in which a rollout may have begun.
            apps = self.index.autoscaler_inputs(now);
        }
        if !measured.is_empty() {
            self.scaling.set_metered(measured.values().all(Result::is_ok));
        }
        self.take_holds(&mut apps, now).await;
        let mut due = Vec::new();
        for app in &apps {
            let seen = self.see(app, &measured, now);
            let verdict = seen.decide();
            if look == Look::Reports {
                // The law counts time between whole looks; in between there is only what needs none.
                let at_once = seen.policy.up.is_zero() || seen.current == 0;
                if !at_once || verdict.to <= seen.current || verdict.outcome != Outcome::Scaled {
                    continue;
                }
            }
            self.remember(&seen, app, verdict.memory);
            due.push((app.clone(), seen, verdict));
        }
        let act = self.act.clone();
        let act = &*act;
        let carried_out = stream::iter(due).map(|(app, seen, verdict)| async move {
            settle(act, &app, now).await;
            let verdict = carry_out(act, &app, &seen, verdict).await;
            (app, seen, verdict)
        });
        let mut carried_out = std::pin::pin!(carried_out.buffer_unordered(AT_ONCE));
        while let Some((app, seen, verdict)) = carried_out.next().await {
            if matches!(verdict.outcome, Outcome::Failed(_)) {
                // What was not done is not to be counted on.
                let idle = verdict.memory.idle;
                self.remember(&seen, &app, Memory { idle, ..Memory::default() });
            }
            METRICS.autoscaler_decided(word(&verdict.outcome));
            let told = !matches!(verdict.outcome, Outcome::Unchanged);
            let decision = self.scaling.record_decision(&app.app, seen, verdict);
            if told {
                self.index.record_event(&app.app, decision.seen.now, TimelineEvent::Scaling(decision));
            }
        }
        if look == Look::Whole {
            self.clean(&apps, now);
            self.scaling.set_next_evaluation(Some(now + PERIOD));
        }
    }

    /// Makes a hold of each count that somebody set past this server; these apps are decided on at the next look, when it is seen.
    async fn take_holds(&self, apps: &mut Vec<AutoscalerInput>, now: Timestamp) {
        let length = self.foreign_hold;
        let is_set_past = |app: &mut AutoscalerInput| {
            app.other_autoscaler.is_none()
                && app.scaling.hold_for_outside_count(app.desired, length, now).is_some()
        };
        let set_past: Vec<_> = apps.extract_if(.., is_set_past).map(|app| app.app).collect();
        let take = |app: name::App| async move {
            match self.act.create_hold(app.clone(), length).await {
                Ok(ScaleOutcome::Done) => {
                    info!(%app, "a count that was set past this server counts as a hold");
                }
                Ok(ScaleOutcome::Outdated) => {}
                Err(error) => {
                    warn!(%app, %error, "cannot keep a hold for a count that was set past this server");
                }
            }
        };
        stream::iter(set_past).map(take).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    fn remember(&mut self, seen: &Evaluation, app: &AutoscalerInput, memory: Memory) {
        let remembered = Remembered { memory, at: Instant::now(), policy: seen.policy.clone() };
        self.memories.insert(app.app.clone(), remembered);
    }

    /// What the metrics API says about the namespaces in which an app has a target on it.
    async fn measure(&self, apps: &[AutoscalerInput]) -> HashMap<String, Measured> {
        let on_use = |app: &&AutoscalerInput| {
            !app.pods.is_empty() && app.policy.targets.iter().any(|t| !t.is_reported())
        };
        let namespaces: BTreeSet<_> =
            apps.iter().filter(on_use).map(|app| app.app.namespace.clone()).collect();
        let ask = |namespace: String| async move {
            let answer = tokio::time::timeout(METER, self.meter.usage(namespace.clone())).await;
            let measured = match answer {
                Ok(Ok(all)) => Ok(all.into_iter().map(|usage| (usage.pod.clone(), usage)).collect()),
                Ok(Err(error)) => Err(silent(&error)),
                Err(_) => Err(format!("it took more than {} s", METER.as_secs()).into()),
            };
            (namespace, measured)
        };
        stream::iter(namespaces).map(ask).buffer_unordered(AT_ONCE).collect().await
    }

    fn see(&self, app: &AutoscalerInput, measured: &HashMap<String, Measured>, now: Timestamp) -> Evaluation {
        let known = self.memories.get(&app.app);
        let (memory, elapsed) = known.map_or_else(
            || (Memory::default(), 0.0),
            |known| {
                let same = *known.policy == *app.policy;
                let law = if same { known.memory.law } else { Memory::default().law };
                (Memory { law, ..known.memory }, known.at.elapsed().as_secs_f64())
            },
        );
        let readings = app.policy.targets.iter().map(|target| self.read(app, target, measured, now));
        Evaluation {
            now,
            policy: app.policy.clone(),
            current: u32::try_from(app.desired).unwrap_or_default(),
            readings: readings.collect(),
            rollout: app.rollout,
            other_autoscaler: app.other_autoscaler.clone(),
            hold: app.hold.clone(),
            elapsed,
            memory,
        }
    }

    fn read(
        &self,
        app: &AutoscalerInput,
        target: &Signal,
        measured: &HashMap<String, Measured>,
        now: Timestamp,
    ) -> Measurement {
        if target.is_reported() {
            return self.scaling.load_measurement(&app.app, target.name(), now);
        }
        let request = match target {
            Signal::MemoryPercent(_) => app.memory_request,
            Signal::CpuPercent(_)
            | Signal::RequestsPerSecond(_)
            | Signal::Concurrency(_)
            | Signal::Reported { .. } => app.cpu_request,
        };
        let expected = u32::try_from(app.pods.len()).unwrap_or(u32::MAX);
        match measured.get(&app.app.namespace) {
            Some(Ok(used)) => measure_cpu_and_memory(target, &app.pods, used, request, now),
            Some(Err(why)) => {
                Measurement::missing(Source::MetricsApi, Missing::Silent(why.clone()), expected)
            }
            None => Measurement::missing(Source::MetricsApi, Missing::Nothing, expected),
        }
    }

    fn clean(&mut self, apps: &[AutoscalerInput], now: Timestamp) {
        let on: BTreeSet<_> = apps.iter().map(|app| &app.app).collect();
        // One that is set to off for a while begins anew when it comes back.
        self.memories.retain(|app, _| on.contains(app));
        self.looks += 1;
        if self.looks.is_multiple_of(CLEAN_EVERY) {
            self.scaling.retain_apps(|app| self.index.get(app).is_ok());
            self.scaling.drop_old_reports(now);
        }
    }
}

/// Sets the count of a hold that was cut off before it was set.
async fn settle(act: &dyn Commands, app: &AutoscalerInput, now: Timestamp) {
    let Some(hold) = &app.hold else { return };
    let young = now.duration_since(hold.since) < OWN_COUNT;
    let set_past = app.scaling.set_outside.is_some();
    let count = Count {
        replicas: app.desired,
        set: app.count_set,
        set_outside: set_past,
        generation: app.generation,
    };
    if young || !hold.is_unfinished(count, now) {
        return;
    }
    match act.complete_hold(app.app.clone()).await {
        Ok(ScaleOutcome::Done) => {
            info!(app = %app.app, replicas = hold.replicas, actor = %hold.actor, "set the count of a hold that was cut off");
        }
        Ok(ScaleOutcome::Outdated) => {}
        Err(error) => {
            warn!(app = %app.app, %error, "cannot set the count of a hold that was cut off; trying again");
        }
    }
}

/// Does what a decision says, if it says anything.
async fn carry_out(
    act: &dyn Commands,
    app: &AutoscalerInput,
    seen: &Evaluation,
    verdict: Verdict,
) -> Verdict {
    let acts = seen.policy.mode_at(seen.now) == Mode::Active && verdict.outcome == Outcome::Scaled;
    if !acts {
        return verdict;
    }
    // No larger count passes the contract; whoever wrote one past it asks for more than Kubernetes can count.
    let to = i32::try_from(verdict.to).unwrap_or(i32::MAX);
    let resize = SetReplicas { name: app.app.clone(), policy: seen.policy.digest(), from: app.desired, to };
    let failed = |why: String| Verdict { outcome: Outcome::Failed(why), to: seen.current, ..verdict.clone() };
    match act.set_replicas(resize).await {
        Ok(ScaleOutcome::Done) => {
            info!(app = %app.app, "{}", seen.explain(&verdict));
            verdict
        }
        Ok(ScaleOutcome::Outdated) => {
            debug!(app = %app.app, "changed while it was decided on");
            failed(
                "the policy, a hold or the count was changed at that moment, and it is decided anew"
                    .to_owned(),
            )
        }
        Err(error) => {
            warn!(app = %app.app, %error, "cannot set the count that the autoscaler decided on; trying again");
            failed(error.to_string())
        }
    }
}

fn silent(error: &Error) -> Arc<str> {
    if matches!(error, Error::NotFound { .. }) {
        // Kubernetes' own words are about a resource that nobody knows.
        return "it is not installed".into();
    }
    error.to_string().into()
}

/// The outcome as a label.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Scaled => "scaled",
        Outcome::Held => "held",
        Outcome::Advised => "advised",
        Outcome::Failed(_) => "failed",
    }
}
