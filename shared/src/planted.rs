//! Rules broken on purpose, so that the simulation can show that it would notice.
//!
//! A proof that nothing is wrong is worth as much as its power to find what is. Each [`Rule`] names one rule of the
//! kernel; a test plants its breach in the code it then runs. Outside tests `broken` is the constant `false` and the
//! compiler removes what depends on it.

/// A rule of the kernel that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An age is what the clock that says more says.
    AgesByBothClocks,
    /// The wall clock is corrected by the store's.
    ClockIsCorrected,
    /// A failure counts only in the epoch it was admitted under.
    FailuresCountInTheirEpoch,
    /// A success heals the count of failures.
    SuccessHeals,
    /// The fleet's count opens the circuit only when its streak is old enough.
    StreakHasAnAge,
    /// The circuit stays open for as long as it was told.
    OpenLastsItsTime,
    /// A live token keeps other probes out.
    OneProbeAtATime,
    /// A probe's token is worth nothing after a while.
    ProbesExpire,
    /// Only the holder of the token closes the circuit.
    OnlyTheProbeCloses,
    /// A probe whose claim got no answer is not made.
    ClaimsAreAnswered,
    /// A reading of the circuit is acted on for a second.
    ReadingsExpire,
    /// Readings never go backwards.
    ReadingsGoForward,
    /// A slot is taken only where the bucket has one.
    SlotsAreFree,
    /// A slot not used in time is lost.
    SlotsExpire,
    /// Nobody calls a provider that asked to be left alone.
    BlocksHold,
    /// A day's calls are counted.
    QuotasCount,
    /// A throttled store is alive.
    ThrottledIsAlive,
    /// Of two workers one sends.
    OneSenderAtATime,
    /// An attempt without an answer may have happened.
    SilenceIsDoubt,
    /// What was left behind while being sent comes into doubt.
    LeftBehindIsDoubt,
    /// A doubt stands on a list.
    DoubtsAreListed,
    /// Reports only move a message up.
    StatesOnlyMoveUp,
    /// What is due and not moving is woken.
    SweepsWake,
    /// A batch is over when each of its messages is written down.
    BatchesAreWhole,
    /// Whoever is on the list gets nothing.
    SuppressedGetNothing,
}

#[cfg(any(test, feature = "testing"))]
impl Rule {
    /// The rules of delivery.
    pub const DELIVERY: [Self; 8] = [
        Self::OneSenderAtATime,
        Self::SilenceIsDoubt,
        Self::LeftBehindIsDoubt,
        Self::DoubtsAreListed,
        Self::StatesOnlyMoveUp,
        Self::SweepsWake,
        Self::BatchesAreWhole,
        Self::SuppressedGetNothing,
    ];

    /// Every rule of circuits, rates and clocks.
    pub const ALL: [Self; 17] = [
        Self::AgesByBothClocks,
        Self::ClockIsCorrected,
        Self::FailuresCountInTheirEpoch,
        Self::SuccessHeals,
        Self::StreakHasAnAge,
        Self::OpenLastsItsTime,
        Self::OneProbeAtATime,
        Self::ProbesExpire,
        Self::OnlyTheProbeCloses,
        Self::ClaimsAreAnswered,
        Self::ReadingsExpire,
        Self::ReadingsGoForward,
        Self::SlotsAreFree,
        Self::SlotsExpire,
        Self::BlocksHold,
        Self::QuotasCount,
        Self::ThrottledIsAlive,
    ];
}

#[cfg(any(test, feature = "testing"))]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Breaks `rule` on this thread while `work` runs.
#[cfg(any(test, feature = "testing"))]
pub fn with_broken<T>(rule: Option<Rule>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Rule>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLANTED.set(self.0);
        }
    }
    let _restore = Restore(PLANTED.replace(rule));
    work()
}

/// Whether `rule` is to be broken here.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn broken(rule: Rule) -> bool {
    PLANTED.get() == Some(rule)
}

/// Never, outside tests.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn broken(_: Rule) -> bool {
    false
}
