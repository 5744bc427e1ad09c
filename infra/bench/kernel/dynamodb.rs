//! One DynamoDB on loopback for the environments of `contention.mjs`, until standard input closes.

#![expect(clippy::print_stdout, reason = "a tool for a script")]

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use ieum_bench::aws::Aws;
use ieum_bench::{Fault, flag};

fn main() -> Result<(), Fault> {
    let names: Vec<String> = (0..64).map(|number| format!("ieum{number}")).collect();
    let mut tables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "pk")).collect();
    tables.extend([("breakers", "id"), ("circuitbreakers", "id")]);
    let delay =
        flag("delay-ms").and_then(|text| text.parse().ok()).map_or(Duration::from_millis(3), Duration::from_millis);
    let aws = Aws::start(None, 1, HashMap::new(), &tables, delay)?;
    println!("{}", aws.urls.concat());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
