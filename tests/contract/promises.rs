//! `infra/promises.tsv`: every file and every test that it names exists, and what is not built says so.

use std::collections::BTreeSet;

use super::read;

/// What is wrong with the row `line`.
fn faults(line: &str) -> Vec<String> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [id, promise, state, places, proof, remark] = cells[..] else {
        return vec![format!("`{line}`: not six cells")];
    };
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{id}: {what}"));
        }
    };
    must(!promise.is_empty(), "nothing is promised");
    match state {
        "built" | "part" => {
            must(places.split(',').all(exists), "it is not where it says");
            must(is_test(proof), "no such test");
            must(remark.is_empty() == (state == "built"), "what is missing is said of a part, and of nothing else");
        }
        "open" | "elsewhere" => must(places.is_empty() && proof.is_empty() && !remark.is_empty(), "nobody says why"),
        _ => must(false, "no such state"),
    }
    faults
}

/// Whether there is `file::test`.
fn is_test(proof: &str) -> bool {
    proof.split_once("::").is_some_and(|(file, test)| {
        exists(file) && read(file).split("fn ").any(|rest| rest.starts_with(&format!("{test}(")))
    })
}

fn exists(path: &str) -> bool {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).is_file()
}

#[test]
fn every_promise_is_proven_by_a_test_or_says_why_not() {
    let table = read("infra/promises.tsv");
    let rows: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rows[0], "id\tpromise\tstate\twhere\tproof\tremark");
    assert_eq!(rows[1..].iter().flat_map(|row| faults(row)).collect::<Vec<_>>(), Vec::<String>::new());
    let ids: BTreeSet<&str> = rows[1..].iter().filter_map(|row| row.split('\t').next()).collect();
    assert_eq!((ids.len(), ids.iter().copied().is_sorted()), (rows.len() - 1, true), "one row for each");
    for broken in [
        "X\tp\tbuilt\tREADME.md\tREADME.md::no_such_test\t",
        "X\tp\tbuilt\tno/such/file.rs\ttests/contract/promises.rs::exists\t",
        "X\tp\tpart\tREADME.md\ttests/contract/promises.rs::exists\t",
        "X\tp\topen\t\t\t",
        "X\tp\tdone\t\t\twhy",
        "X\tp",
    ] {
        assert!(!faults(broken).is_empty(), "`{broken}` goes unnoticed");
    }
}

#[test]
fn every_fault_is_brought_about_by_a_test() {
    let page = read("infra/faults.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |"));
    let proofs: Vec<&str> = rows.map(|row| row.split('|').nth(3).unwrap_or(row).trim_matches([' ', '`'])).collect();
    assert!(proofs.len() > 25, "{}", proofs.len());
    let missing: Vec<&&str> = proofs.iter().filter(|proof| !is_test(proof)).collect();
    assert_eq!(missing, Vec::<&&str>::new());
    assert!(!is_test("tests/contract/promises.rs::no_such_test"));
}
