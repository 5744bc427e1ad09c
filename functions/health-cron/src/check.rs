//! How everybody is: each function is asked at once, and what they say is judged together.

use futures_util::future::join_all;
use ieum::checkup::Checked;
use ieum::error::chain;
use ieum::resilience::health::{self, CHECKER, Finding, Reason, Sight};
use ieum::runtime::{Asked, Check, Probe};

use crate::outside::Outside;

/// Asks every function. One that does not answer is `None`.
pub async fn ask(outside: &Outside, check: &Check) -> Vec<Option<Checked>> {
    let probe = Probe { paid: check.paid };
    let answers = check.functions.iter().map(async |asked| match outside.ask(&asked.function, probe).await {
        Ok(checked) if checked.integration == asked.integration => Some(checked),
        Ok(checked) => {
            let (integration, answers) = (&asked.integration, checked.integration);
            tracing::error!(target: "ieum::health_cron", integration, answers, "check.wrong_function");
            None
        }
        Err(error) => {
            let (integration, error) = (&asked.integration, chain(&*error));
            tracing::error!(target: "ieum::health_cron", integration, error, "check.unanswered");
            None
        }
    });
    join_all(answers).await
}

/// What `answers` say of each subject. When it is the checker that is cut off, nothing is said of those it could not reach.
pub fn judge(functions: &[Asked], answers: Vec<Option<Checked>>) -> Vec<(String, Finding)> {
    let mut sights: Vec<(String, Sight)> = Vec::new();
    for (Asked { integration, .. }, answer) in functions.iter().zip(answers) {
        match answer {
            Some(checked) => {
                sights.push((integration.clone(), Sight { finding: checked.numbers, asked: false }));
                let of = |(name, sight): (String, Sight)| (health::provider(integration, &name), sight);
                sights.extend(checked.providers.into_iter().map(of));
            }
            None => {
                let silent = Finding::Failing(Reason::FunctionSilent);
                sights.push((integration.clone(), Sight { finding: silent, asked: true }));
            }
        }
    }
    // The numbers of an integration nobody has called are well, and prove no connection.
    let integrations: Vec<&String> = functions.iter().map(|asked| &asked.integration).collect();
    let of_providers = sights.iter().filter(|(subject, sight)| sight.asked || !integrations.contains(&subject));
    let cut_off = health::cut_off(of_providers.map(|(_, sight)| sight));
    let checker = if cut_off { Finding::Down(Reason::CutOff) } else { Finding::Well };
    let trusted = |(subject, sight): (String, Sight)| {
        let finding = if cut_off && sight.asked { Finding::Unclear } else { sight.finding };
        (subject, finding)
    };
    [(CHECKER.to_owned(), checker)].into_iter().chain(sights.into_iter().map(trusted)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(names: &[&str]) -> Vec<Asked> {
        let asked = |name: &&str| Asked { integration: (*name).to_owned(), function: format!("ieum-{name}") };
        names.iter().map(asked).collect()
    }

    fn checked(integration: &str, providers: &[(&str, Finding, bool)]) -> Option<Checked> {
        let sight = |(name, finding, asked): &(&str, Finding, bool)| {
            ((*name).to_owned(), Sight { finding: *finding, asked: *asked })
        };
        let providers = providers.iter().map(sight).collect();
        Some(Checked { integration: integration.to_owned(), numbers: Finding::Well, providers })
    }

    fn of(found: &[(String, Finding)], subject: &str) -> Finding {
        found.iter().find(|(name, _)| name == subject).unwrap().1
    }

    const GONE: Finding = Finding::Failing(Reason::Unreachable);

    #[test]
    fn one_that_is_down_is_down() {
        let providers = [("nice", GONE, true), ("nts", Finding::Well, true)];
        let found = judge(&asked(&["verify", "sms"]), vec![checked("verify", &providers), None]);
        assert_eq!(of(&found, "verify/nice"), GONE);
        assert_eq!(of(&found, "verify/nts"), Finding::Well);
        assert_eq!(of(&found, "sms"), Finding::Failing(Reason::FunctionSilent));
        assert_eq!(of(&found, CHECKER), Finding::Well);
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn whoever_reaches_nobody_accuses_nobody() {
        let answers = vec![checked("verify", &[("nice", GONE, true), ("nts", GONE, true)]), None];
        let found = judge(&asked(&["verify", "sms"]), answers);
        assert_eq!(of(&found, CHECKER), Finding::Down(Reason::CutOff));
        for subject in ["verify/nice", "verify/nts", "sms"] {
            assert_eq!(of(&found, subject), Finding::Unclear, "{subject}");
        }
        let found = judge(&asked(&["verify", "sms"]), vec![None, None]);
        assert_eq!(of(&found, CHECKER), Finding::Down(Reason::CutOff), "no function can be called");
        let open = checked("verify", &[("nice", Finding::Down(Reason::CircuitOpen), false), ("nts", GONE, true)]);
        let found = judge(&asked(&["verify", "sms"]), vec![open, None]);
        assert_eq!(of(&found, "verify/nice"), Finding::Down(Reason::CircuitOpen), "that is known from calls");
    }
}
