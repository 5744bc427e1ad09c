//! Damaged input for everything here that reads bytes from outside, on the stable toolchain.
//!
//! A [`Target`] is one reader: how whole input of it looks, and what must hold of any input at all. That nothing panics holds
//! of all of them; what else does, each says (a forged signature is never believed, a function never answers 500). Input is
//! made by damaging what is whole: the same seed does the same damage, so a finding is a target and a number. There is no
//! feedback from coverage: that needs a toolchain that this project does not ask of anybody.
//!
//! Pictures have their own, which repairs checksums after the damage: `infra/bench/thumbnails/fuzz.rs`.

#![expect(clippy::expect_used, reason = "a tool for developers: what is wrong with it ends it")]

mod aws;
mod damage;
mod doors;
mod readers;

pub use damage::damaged;

/// What an input has come to, in a word: so a run shows that it got past the first check.
pub type Outcome = &'static str;

/// Whole input for a target.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which case of the target it is; it is not damaged.
    pub case: usize,
    /// What is.
    pub bytes: Vec<u8>,
}

/// Reads input of a case.
pub type Read = Box<dyn Fn(usize, &[u8]) -> Outcome>;

/// One reader of bytes from outside.
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Whole input. There is some.
    pub seeds: Vec<Seed>,
    /// Reads what may be damaged, and panics when what must hold does not.
    pub read: Read,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).field("seeds", &self.seeds.len()).finish_non_exhaustive()
    }
}

impl Target {
    /// The input of `seed`: one in thirty is whole.
    pub fn input(&self, seed: u64) -> Seed {
        damaged(&self.seeds, seed)
    }
}

/// All targets but pictures.
pub fn targets() -> Vec<Target> {
    let mut targets = readers::targets();
    targets.extend(doors::targets());
    targets.push(aws::target());
    // A function that starts has panics logged without their words. Here they are what is wanted.
    drop(std::panic::take_hook());
    targets
}
