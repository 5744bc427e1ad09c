//! The two programs the system needs beside the functions: the local AWS and the sandbox.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::children::{Children, Leashed};
use super::instance::Instance;
use super::{Options, UpError, build};
use crate::aws::{Http, fetch};
use crate::local::Addresses;
use crate::template::REGION;

/// Starts both and waits until they answer.
pub(super) async fn start(
    options: &Options,
    venv: &Path,
    addresses: &Addresses,
    instance: &Instance,
    children: &Children,
    http: &Http,
) -> Result<(), UpError> {
    let port = |url: &str| url.rsplit(':').next().unwrap_or_default().to_owned();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| UpError::Start { what, source }
    };

    // The environment is stated whole: functions inherit it, and nothing of the caller's may reach them.
    let mut local_aws = Leashed::new(venv, &instance.folder, [venv.as_os_str(), "-m".as_ref(), "ministack".as_ref()]);
    local_aws.environment = Some(aws_environment(instance, &port(&addresses.aws)));
    local_aws.folders = vec![instance.folder.clone()];
    children.add(local_aws.start("the local AWS", &instance.folder.join("aws.log")).map_err(failed("the local AWS"))?);

    let program = options.binaries.join(build::SANDBOX);
    let smtp_port = addresses.smtp_port.clone().into();
    let arguments =
        [program.into_os_string(), "--port".into(), port(&addresses.sandbox).into(), "--smtp-port".into(), smtp_port];
    let sandbox = Leashed::new(venv, &instance.folder, arguments);
    children.add(sandbox.start("the sandbox", &instance.folder.join("sandbox.log")).map_err(failed("the sandbox"))?);

    wait_for("the local AWS", format!("{}/_ministack/health", addresses.aws), children, http).await?;
    wait_for("the sandbox", format!("{}/_sandbox", addresses.sandbox), children, http).await
}

fn aws_environment(instance: &Instance, port: &str) -> BTreeMap<OsString, OsString> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut environment: BTreeMap<OsString, OsString> = BTreeMap::from([
        ("PATH".into(), path),
        ("HOME".into(), instance.folder.clone().into()),
        ("TMPDIR".into(), instance.temporary().into()),
        ("PYTHONPATH".into(), instance.python_path().into()),
    ]);
    for (name, value) in [
        ("BIND_HOST", "127.0.0.1"),
        ("GATEWAY_PORT", port),
        ("MINISTACK_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("PYTHONUTF8", "1"),
        ("LANG", "C.UTF-8"),
        // No container daemon is looked for: functions run as plain processes.
        ("DOCKER_HOST", "unix:///nonexistent"),
    ] {
        environment.insert(name.into(), value.into());
    }
    environment
}

async fn wait_for(what: &'static str, url: String, children: &Children, http: &Http) -> Result<(), UpError> {
    for _ in 0..300 {
        let request = http::Request::get(&url).body(Default::default());
        if let Ok(request) = request
            && fetch(http, request).await.is_ok_and(|response| response.status().is_success())
        {
            return Ok(());
        }
        if let Some(sentence) = children.ended() {
            return Err(UpError::Ended(sentence));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(UpError::NotReady { what, url, tail: children.tail(what) })
}
