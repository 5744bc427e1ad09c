//! The first damaged inputs of each target, in every run of the tests. `cargo run -p ieum-fuzz` goes on for as long as one likes.

use std::collections::BTreeMap;

use ieum_fuzz::{damaged, targets};

const INPUTS: u64 = 300;

#[test]
fn the_first_damaged_inputs_of_each_target_do_no_harm_and_whole_ones_are_read() {
    for target in targets() {
        for seed in &target.seeds {
            (target.read)(seed.case, &seed.bytes);
        }
        let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
        for seed in 0..INPUTS {
            let input = target.input(seed);
            *outcomes.entry((target.read)(input.case, &input.bytes)).or_default() += 1;
        }
        assert!(
            outcomes.len() > 1,
            "{}: damage makes no difference, or nothing whole was read: {outcomes:?}",
            target.name
        );
    }
}

#[test]
fn the_same_seed_does_the_same_damage_and_another_another() {
    let target = targets().remove(0);
    let input = |seed| damaged(&target.seeds, seed).bytes;
    assert!((0..100).all(|seed| input(seed) == input(seed)));
    let different = (0..100).filter(|seed| input(*seed) != input(seed + 1)).count();
    assert!(different > 95, "{different}");
}
