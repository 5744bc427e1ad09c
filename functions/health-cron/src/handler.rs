//! From a schedule's event to what is due: wake-ups, checks, backups.

use std::sync::Arc;
use std::time::Duration;

use ieum::aws::Aws;
use ieum::backup::Whole;
use ieum::backup::files::Buckets;
use ieum::blobs::Blobs;
use ieum::error::chain;
use ieum::provider::Cause;
use ieum::queue;
use ieum::runtime::{Answer, Check, Event, Function, Of, Scheduled, Sweep};
use ieum::start::Kernel;
use ieum::telemetry::METRIC;
use ieum::telemetry::trace::TraceId;

use crate::backups::Backups;
use crate::check;
use crate::config::Config;
use crate::outside::Outside;
use crate::secrets;
use crate::watch::Watch;

/// The schedule's period: what is woken at a time is spread over it.
const PERIOD: Duration = Duration::from_secs(60);

/// A started function.
#[derive(Debug)]
pub struct Handler {
    aws: Aws,
    outside: Arc<Outside>,
    watch: Watch,
    backups: Backups,
}

impl Function for Handler {
    async fn serve(&self, event: Event, _: u64) -> Result<Answer, Cause> {
        let Event::Scheduled(scheduled) = event else { return Err(event.unexpected()) };
        let done = async {
            match scheduled {
                Scheduled::Sweep(lists) => self.sweep(&lists).await,
                Scheduled::Check(check) => self.check(&check).await,
                Scheduled::Backup(Of { of }) => self.backup(self.backups.make(&of)).await,
                Scheduled::CheckBackup(Of { of }) => self.backup(self.backups.check(&of)).await,
                Scheduled::Secrets(names) => {
                    let now = self.watch.clock.now();
                    self.watch.found(secrets::findings(&self.aws.secrets(), &names, now).await).await
                }
                Scheduled::Reconcile(_) | Scheduled::Probe(_) => Err(Event::Scheduled(scheduled).unexpected()),
            }
        };
        TraceId::random().during(done).await.map(Answer::Done)
    }
}

impl Handler {
    /// Starts the process.
    ///
    /// # Errors
    /// The function must not serve.
    pub async fn start(config: &Config) -> Result<Self, Cause> {
        let kernel = Kernel::start("health-cron", &config.common, false).await?;
        let (Some(aws), Some(table)) = (&kernel.aws, &config.common.table) else {
            return Err("there is nothing to sweep without `TABLE_NAME`".into());
        };
        let (archive, buckets) = (aws.blobs(&config.archive), aws.buckets());
        Self::over(&kernel, config, Arc::new(aws.store(table)), Arc::new(archive), Arc::new(buckets))
    }

    /// A handler over a kernel that runs already, which backs `table` and `buckets` up into `archive`.
    ///
    /// # Errors
    /// Without AWS there are no queues; a local run sweeps its own (`ieum::queue::sweep_here`).
    pub fn over(
        kernel: &Kernel,
        config: &Config,
        table: Arc<dyn Whole>,
        archive: Arc<dyn Blobs>,
        buckets: Arc<dyn Buckets>,
    ) -> Result<Self, Cause> {
        let aws = kernel.aws.clone().ok_or("there is nothing to sweep without `TABLE_NAME`")?;
        let outside = Arc::new(Outside::new(&aws, kernel.http.clone(), Arc::clone(&kernel.clock))?);
        let watch = Watch {
            store: Arc::clone(&kernel.durable),
            clock: Arc::clone(&kernel.clock),
            outside: Arc::clone(&outside),
            topic: config.topic.clone(),
            stage: config.common.stage.as_str(),
        };
        let (store, clock) = (Arc::clone(&watch.store), Arc::clone(&watch.clock));
        let (bucket, sources) = (config.archive.clone(), config.files.clone());
        let backups = Backups { table, buckets, sources, archive, bucket, store, clock };
        Ok(Self { aws, outside, watch, backups })
    }

    /// Sweeps each of `lists`, whatever becomes of the others.
    async fn sweep(&self, lists: &[Sweep]) -> Result<(), Cause> {
        let (mut all, mut failed) = (0, Vec::new());
        for Sweep { list, queue, limit } in lists {
            let queue = self.aws.queue(queue);
            let (trace, now) = (TraceId::current(), self.watch.clock.now());
            match queue::sweep(&*self.watch.store, &queue, list, *limit, PERIOD, now).await {
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
        if failed.is_empty() { Ok(()) } else { Err(format!("not swept: {}", failed.join(", ")).into()) }
    }

    /// Asks everybody, keeps what they say and tells what has changed. The metric says that it has happened: an alarm waits
    /// for it.
    async fn check(&self, check: &Check) -> Result<(), Cause> {
        let answers = check::ask(&self.outside, check).await;
        let answered = answers.iter().flatten().count();
        let mut findings = check::judge(&check.functions, answers);
        findings.extend(self.backups.findings().await?);
        let subjects = findings.len();
        self.watch.found(findings).await?;
        tracing::info!(target: METRIC, integration = "health-cron", health_run = 1, answered, subjects, "check.over");
        Ok(())
    }

    /// Makes or checks a backup and tells at once what has changed by it.
    async fn backup(&self, doing: impl Future<Output = Result<(), Cause>>) -> Result<(), Cause> {
        let done = doing.await;
        self.watch.found(self.backups.findings().await?).await?;
        done
    }
}
