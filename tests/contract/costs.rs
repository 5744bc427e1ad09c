//! `infra/costs.md`: every sum on it is what its inputs give, and what it counts is what `template.yaml` has.

use std::collections::BTreeMap;

use serde_yaml_ng::Value as Yaml;

use super::{of_kind, read, template};

/// The rows of the first table below `heading`, without its head; a page without it has none.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split("\n## ").find(|section| section.lines().next() == Some(heading)).unwrap_or_default();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

/// The number that a cell begins with.
fn number(cell: &str) -> f64 {
    let plain = cell.replace([',', '*', '`'], "");
    plain.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// Whether `stated` is `computed`, to as many places as it has.
fn is(stated: &str, computed: f64) -> bool {
    let places = stated.trim_matches('*').split_once('.').map_or(0, |(_, places)| places.len());
    let unit = 10_f64.powi(-i32::try_from(places).unwrap_or(0));
    (number(stated) - computed).abs() <= unit * 0.500_001
}

/// What one of the alarms of `template` costs as many times as: the metrics it looks at.
fn metrics_of_alarms(template: &Yaml) -> usize {
    let of_one = |alarm: &&Yaml| match alarm["Metrics"].as_sequence() {
        Some(metrics) => metrics.iter().filter(|metric| metric["MetricStat"].is_mapping()).count(),
        None => 1,
    };
    of_kind(template, "AWS::CloudWatch::Alarm").values().map(of_one).sum()
}

fn faults(page: &str, template: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    let mut prices: BTreeMap<String, f64> = BTreeMap::new();
    for row in rows(page, "Prices").iter().skip(2) {
        let [id, _, usd, per, source, confirmed] = &row[..] else { continue };
        prices.insert(id.trim_matches('`').to_owned(), number(usd) / number(per));
        must(source.starts_with("aws.amazon.com/"), format!("{id}: whose price is it"));
        must(confirmed == "no" || confirmed.starts_with("20"), format!("{id}: has anybody seen the price"));
    }
    must(prices.len() > 10, "there are prices".to_owned());
    let price = |id: &str| prices.get(id.trim_matches('`')).copied().unwrap_or(f64::NAN);

    let thousand = rows(page, "A thousand calls");
    let head: &[String] = thousand.first().map_or(&[], Vec::as_slice);
    let mut paths: BTreeMap<&str, f64> = BTreeMap::new();
    for row in thousand.iter().skip(2) {
        let takes = row.iter().zip(head).skip(1).filter(|(_, id)| id.starts_with('`'));
        let usd: f64 = takes.map(|(amount, id)| number(amount) * price(id)).sum();
        let stated = row.last().map_or("", String::as_str);
        must(is(stated, usd), format!("{}: {stated} is not {usd}", row[0]));
        paths.insert(&row[0], number(stated));
    }
    must(paths.len() > 5, "there are paths".to_owned());

    let mut anyhow = f64::NAN;
    let counted = [
        ("`alarm`", metrics_of_alarms(template)),
        ("`secret`", of_kind(template, "AWS::SecretsManager::Secret").len()),
        ("`key`", of_kind(template, "AWS::KMS::Key").len()),
        ("`dashboard`", of_kind(template, "AWS::CloudWatch::Dashboard").len()),
    ];
    for heading in ["A month, whatever is called", "A small portal", "A large one"] {
        let mut sum = 0.0;
        let rows = rows(page, heading);
        for row in rows.iter().skip(2) {
            let stated = row.last().map_or("", String::as_str);
            let (what, many) = (row[0].as_str(), row[row.len() - 2].as_str());
            let usd = match (what, &row[..]) {
                ("**together**", _) => sum,
                ("what runs anyhow", _) => anyhow,
                (_, [_, id, many, _]) => number(many) * price(id),
                (path, _) if many.ends_with("thousand") => number(many) * paths.get(path).copied().unwrap_or(f64::NAN),
                _ => number(many) * price(many.split(' ').nth(1).unwrap_or_default()),
            };
            must(is(stated, usd), format!("{heading}, {what}: {stated} is not {usd}"));
            if let [_, id, many, _] = &row[..] {
                let known = counted.iter().find(|(counted, _)| counted == id);
                let known = known.and_then(|(_, count)| u32::try_from(*count).ok()).map(f64::from);
                // Whoever adds a function need not reckon anew; whoever adds three must.
                let about = |known: f64| (number(many) - known).abs() <= known * 0.2;
                must(known.is_none_or(about), format!("{what}: the template has quite another number"));
            }
            sum += if what == "**together**" { 0.0 } else { number(stated) };
        }
        must(rows.last().is_some_and(|row| row[0] == "**together**"), format!("{heading}: no sum"));
        anyhow = if anyhow.is_nan() { sum } else { anyhow };
    }
    faults
}

#[test]
fn every_sum_is_what_its_inputs_give() {
    let (page, template) = (read("infra/costs.md"), template());
    assert_eq!(faults(&page, &template), Vec::<String>::new());
    for (good, bad) in [
        ("| 0.20 | 1,000,000 |", "| 0.30 | 1,000,000 |"),
        ("| 0.20 | 1,000,000 |", "| 0.20 | 1,000 |"),
        ("| `wru` |", "| `writes` |"),
        ("| aws.amazon.com/kms/pricing | no |", "| aws.amazon.com/kms/pricing | |"),
        ("| an answer remembered in memory | 1,000 |", "| an answer remembered in memory | 2000 |"),
        ("| secrets | `secret` | 15 | 6.00 |", "| secrets | `secret` | 11 | 4.40 |"),
        ("| 20 thousand |", "| 29 thousand |"),
        ("| **together** | | | **", "| **together** | | | **1"),
        ("| **together** | | **", "| **together** | | **9"),
        ("## A large one", "## A larger one"),
    ] {
        let broken = page.replacen(good, bad, 1);
        assert!(broken != page, "`{good}` is not on the page");
        assert!(!faults(&broken, &template).is_empty(), "`{bad}` goes unnoticed");
    }
}
