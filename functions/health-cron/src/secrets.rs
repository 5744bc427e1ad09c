//! How old secrets are: one that was not changed for 90 days is spoken of.

use std::time::Duration;

use futures_util::future::join_all;
use ieum::clock::Timestamp;
use ieum::error::chain;
use ieum::resilience::health::{Finding, Reason};
use ieum::secrets::SecretsManager;

/// How old a secret may be.
const MOST: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What a secret that was changed at `changed` is at `now`.
fn judge(changed: Timestamp, now: Timestamp) -> Finding {
    if now.since(changed) > MOST { Finding::Impaired(Reason::SecretOld) } else { Finding::Well }
}

/// What each of `names` is. One that cannot be asked about is unclear; the log says why.
pub async fn findings(secrets: &SecretsManager, names: &[String], now: Timestamp) -> Vec<(String, Finding)> {
    join_all(names.iter().map(async |name| match secrets.describe(name).await {
        Ok(found) => {
            let finding = found.changed.map_or(Finding::Unclear, |changed| judge(changed, now));
            (subject(found.name.as_deref().unwrap_or(name)), finding)
        }
        Err(error) => {
            tracing::error!(target: "ieum::health_cron", secret_name = name, error = chain(&error), "secret.unknown");
            (subject(name), Finding::Unclear)
        }
    }))
    .await
}

/// What a secret is called where states are kept: by its name, without the ARN around it.
fn subject(name: &str) -> String {
    let name = name.split(":secret:").last().unwrap_or(name);
    format!("secret/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_old_after_ninety_days() {
        let changed = Timestamp::parse_rfc3339("2026-08-23T00:00:00Z").unwrap();
        let judged = |now: &str| judge(changed, Timestamp::parse_rfc3339(now).unwrap());
        assert_eq!(judged("2026-11-21T00:00:00Z"), Finding::Well, "ninety days to the second");
        assert_eq!(judged("2026-11-21T00:00:01Z"), Finding::Impaired(Reason::SecretOld));
        assert_eq!(subject("arn:aws:secretsmanager:ap-northeast-2:1:secret:ieum/dev/nice"), "secret/ieum/dev/nice");
    }
}
