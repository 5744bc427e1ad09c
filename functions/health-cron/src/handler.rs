//! From a schedule's event to wake-ups.

use std::sync::Arc;
use std::time::Duration;

use ieum::aws::Aws;
use ieum::clock::SharedClock;
use ieum::error::chain;
use ieum::provider::Cause;
use ieum::queue;
use ieum::runtime::{Answer, Event, Function, Scheduled, Sweep};
use ieum::start::Kernel;
use ieum::store::Store;
use ieum::telemetry::trace::TraceId;

use crate::config::Config;

/// The schedule's period: what is woken at a time is spread over it.
const PERIOD: Duration = Duration::from_secs(60);

/// A started function.
#[derive(Debug)]
pub struct Handler {
    aws: Aws,
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl Function for Handler {
    async fn serve(&self, event: Event, _: u64) -> Result<Answer, Cause> {
        match event {
            Event::Scheduled(Scheduled::Sweep(lists)) => TraceId::random().during(self.sweep(&lists)).await,
            Event::Http(_)
            | Event::Queue(_)
            | Event::Logs(_)
            | Event::Objects(_)
            | Event::Scheduled(Scheduled::Reconcile(_)) => Err(event.unexpected()),
        }
    }
}

impl Handler {
    /// Starts the process.
    ///
    /// # Errors
    /// The function must not serve.
    pub async fn start(config: &Config) -> Result<Self, Cause> {
        Self::over(&Kernel::start("health-cron", &config.common, false).await?)
    }

    /// A handler over a kernel that runs already.
    ///
    /// # Errors
    /// Without AWS there are no queues; a local run sweeps its own (`ieum::queue::sweep_here`).
    pub fn over(kernel: &Kernel) -> Result<Self, Cause> {
        let aws = kernel.aws.clone().ok_or("there is nothing to sweep without `TABLE_NAME`")?;
        Ok(Self { aws, store: Arc::clone(&kernel.durable), clock: Arc::clone(&kernel.clock) })
    }

    /// Sweeps each of `lists`, whatever becomes of the others.
    async fn sweep(&self, lists: &[Sweep]) -> Result<Answer, Cause> {
        let (mut all, mut failed) = (0, Vec::new());
        for Sweep { list, queue, limit } in lists {
            let queue = self.aws.queue(queue);
            let (trace, now) = (TraceId::current(), self.clock.now());
            match queue::sweep(&*self.store, &queue, list, *limit, PERIOD, now).await {
                Ok(woken) => {
                    tracing::info!(target: "ieum::health_cron", trace_id = trace.as_str(), list, woken, "sweep");
                    all += woken;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(target: "ieum::health_cron", trace_id = trace.as_str(), list, error, "sweep.failed");
                    failed.push(list.as_str());
                }
            }
        }
        tracing::info!(target: "ieum::health_cron", lists = lists.len(), failed = failed.len(), woken = all, "sweep.over");
        if failed.is_empty() { Ok(Answer::Done(())) } else { Err(format!("not swept: {}", failed.join(", ")).into()) }
    }
}
