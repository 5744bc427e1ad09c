//! The deployed local system, as its users see it: through the front door to the built functions, with state in the
//! table and the providers in the sandbox.
//!
//! The system is started once, by the code of `cargo up`, and the checks run one after another, each from a clean
//! sandbox. A name on the command line runs the checks whose names contain it.

#![expect(clippy::print_stdout, reason = "a test runner reports to its user")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed check")]

mod address;
mod browser;
mod client;
mod clockwork;
mod command;
mod console;
mod contract;
mod email;
mod fleet;
mod front_door;
mod health;
mod operators;
mod payment;
mod sms;
mod store;
mod thumbnails;
mod verify;
mod widget;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use client::Client;
use ieum::clock::CLOCKS_APART;
use xtask::up::{Options, System};

/// Short enough to be waited for, long enough to be told apart.
const FRESH: Duration = Duration::from_secs(6);
/// After this an answer is stale for every environment, whose clocks may be so far apart.
const STALE: Duration = FRESH.saturating_add(CLOCKS_APART);
const OPEN: Duration = Duration::from_secs(10);

/// How old an environment's reading of a circuit may be: 1 s and a fifth, and some scheduling.
const SNAPSHOT: Duration = Duration::from_millis(1_500);

/// One check: its name and what it does.
type Check = (&'static str, fn(&mut Stage) -> futures::Boxed<'_>);

/// Short names for boxed futures.
mod futures {
    use std::pin::Pin;

    pub(crate) type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
}

/// The running system and a client of it.
pub(crate) struct Stage {
    pub(crate) system: System,
    pub(crate) client: Client,
    next_number: u32,
    /// Why the check that runs cannot be made on this machine.
    pub(crate) skipped: Option<&'static str>,
}

impl Stage {
    /// A business number that no other check uses.
    pub(crate) fn unused_number(&mut self) -> String {
        self.next_number += 1;
        let nine = format!("3018{:05}", self.next_number);
        (0..10)
            .map(|check| format!("{nine}{check}"))
            .find(|number| ::verify::company::BusinessNumber::parse(number).is_ok())
            .unwrap()
    }
}

/// Makes a table of checks.
macro_rules! checks {
    ($($module:ident :: $name:ident),* $(,)?) => {
        [$((stringify!($name), (|stage| Box::pin($module::$name(stage))) as fn(&mut Stage) -> futures::Boxed<'_>)),*]
    };
}

const CHECKS: &[Check] = &checks![
    verify::a_company_comes_once_over_the_wire_and_then_from_the_table,
    verify::an_outage_is_bridged_with_the_stale_answer,
    verify::a_company_entered_by_hand_stands_in_until_a_live_answer_wins,
    // Before the checks that write thousands of lines: all of them are read here.
    operators::each_call_is_logged_without_a_secret,
    operators::what_an_operator_changes_acts_on_every_environment_within_a_minute,
    fleet::an_open_circuit_silences_96_callers_and_32_send_one_probe,
    fleet::of_200_calls_each_leaves_once_and_none_too_early,
    verify::throttling_is_obeyed_and_opens_nothing,
    verify::a_burst_waits_and_is_then_told_when_to_return,
    verify::representatives_names_and_statuses_are_answered,
    verify::bad_input_costs_no_provider_call,
    verify::environments_share_what_one_of_them_learned,
    verify::killing_an_environment_loses_nothing,
    payment::a_payment_of_each_provider_is_heard_of_asked_about_and_told,
    payment::an_operator_sends_dead_letters_back_to_their_queue,
    payment::forged_and_broken_notifications_are_refused_at_the_front_door,
    payment::webhooks_survive_functions_that_are_killed_and_each_effect_has_one_id,
    store::the_store_of_the_deployed_system_agrees_with_memory,
    store::concurrent_increments_lose_nothing,
    sms::a_korean_text_goes_through_sns_and_is_read_back_intact,
    sms::signed_callbacks_of_twilio_and_solapi_move_texts_forward_only,
    sms::what_cannot_be_sent_is_refused_without_a_provider_call,
    sms::two_hundred_texts_leave_at_ten_a_second_and_none_is_lost,
    sms::a_gateway_that_throttles_is_left_alone_for_as_long_as_it_says,
    email::a_korean_mail_with_a_file_arrives_byte_for_byte_through_each_provider,
    email::mails_can_be_read_on_a_phone_and_a_desk_in_both_languages,
    email::a_bounce_suppresses_and_states_never_move_back,
    email::a_worker_killed_while_sending_leaves_a_doubt_that_an_event_settles,
    email::bad_mail_costs_nothing,
    email::of_a_thousand_mails_993_leave_and_seven_are_named,
    email::mail_waits_while_nobody_takes_it_and_leaves_no_faster_than_it_may,
    front_door::bodies_and_headers_have_the_limits_of_api_gateway,
    front_door::browsers_of_allowed_origins_are_let_in,
    front_door::paths_arrive_as_they_were_sent,
    front_door::unknown_routes_and_methods_are_refused_in_the_error_format,
    thumbnails::a_photograph_in_the_bucket_has_its_thumbnails_a_moment_later,
    thumbnails::s3_may_call_directly_and_twice,
    thumbnails::a_broken_picture_is_a_dead_letter_with_its_cause,
    thumbnails::of_500_pictures_at_once_each_has_its_thumbnail,
    operators::health_follows_an_outage_without_a_provider_call,
    operators::every_kind_of_resource_can_be_deployed,
    operators::a_broken_resource_is_named_and_leaves_nothing_behind,
    address::one_building_is_found_by_road_lot_and_name,
    address::addresses_outlive_their_providers,
    address::searches_that_cannot_be_answered_say_what_to_type,
    address::the_postcode_page_is_served_to_an_allowed_origin_only,
    address::what_the_postcode_widget_hands_over_is_unified,
    widget::a_person_finds_an_address_with_the_keyboard_alone,
    widget::daums_widget_is_offered_in_a_frame_and_what_it_says_is_unified,
    widget::a_stranger_gets_no_page_no_message_and_no_search,
    widget::results_fit_a_phone_and_a_desk_in_both_languages,
    widget::a_page_of_another_origin_calls_the_api_and_a_strangers_cannot,
    console::the_page_can_be_used_without_sight_or_mouse_in_both_languages,
    console::an_operator_follows_an_outage_from_the_click_to_the_recovery,
    console::a_rate_changed_on_the_page_acts_within_a_minute_and_nonsense_is_refused_at_its_field,
    address::a_spent_quota_of_kakao_is_asked_once_and_not_again,
    clockwork::what_is_overdue_is_woken_through_the_queue_of_its_list,
    clockwork::the_schedule_sweeps_each_minute,
    clockwork::of_a_batch_only_the_poison_ends_as_a_dead_letter,
    health::an_outage_is_told_once_for_each_step,
    health::an_idle_day_costs_nothing,
    health::a_backup_missed_is_told,
    health::a_corrupted_backup_is_found,
    health::what_is_wiped_is_restored_item_by_item,
    health::files_that_are_gone_come_back_as_they_were_on_each_day,
    health::a_person_is_forgotten_and_stays_so_after_a_restore,
    // The last of those that share a system: it changes what it can.
    contract::every_route_keeps_to_its_description,
    command::a_second_instance_runs_beside_the_first_and_sigterm_leaves_nothing,
    command::a_crash_of_the_command_takes_its_children_along,
    command::secrets_from_a_file_win_and_ctrl_c_leaves_nothing,
];

/// Only when asked for by name: loads of many minutes, and what has not been seen to hold on two cores yet.
const BY_NAME: &[Check] = &checks![health::a_hundred_thousand_items_are_restored_in_bounded_memory,];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let asked_for = |name: &str| filters.iter().any(|filter| name.contains(filter.as_str()));
    let chosen = CHECKS.iter().filter(|(name, _)| filters.is_empty() || asked_for(name));
    let chosen: Vec<Check> = chosen.chain(BY_NAME.iter().filter(|(name, _)| asked_for(name))).copied().collect();
    if std::env::args().any(|argument| argument == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let Tally { failed, skipped } = runtime.block_on(run(&chosen));
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {outcome}. {} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out",
        chosen.len() - failed - skipped
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What did not simply pass.
#[derive(Default)]
struct Tally {
    failed: usize,
    skipped: usize,
}

async fn run(checks: &[Check]) -> Tally {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    build(root);
    let mut options = Options::for_tests(root);
    options.build = false;
    // Beside a key, an issuer of tokens as browsers have them.
    options.secrets = Some(root.join("tests/end_to_end/secrets.json"));
    options.api_key = Some("end-to-end-key".to_owned());
    for setting in [
        format!("VERIFY_CACHE_TTL_SECONDS={}", FRESH.as_secs()),
        format!("VERIFY_BREAKER_OPEN_SECONDS={}", OPEN.as_secs()),
        format!("ADDRESS_CACHE_TTL_SECONDS={}", FRESH.as_secs()),
        format!("ADDRESS_BREAKER_OPEN_SECONDS={}", OPEN.as_secs()),
        "ADDRESS_BACKOFF_BASE_MS=1".to_owned(),
        "ADDRESS_TIMEOUT_MS=5000".to_owned(),
        "VERIFY_BACKOFF_BASE_MS=1".to_owned(),
        "VERIFY_TIMEOUT_MS=5000".to_owned(),
        // Never what stops a caller: the circuit of NICE is tried, and the limit of NTS.
        "NICE_RATE_PER_PERIOD=20".to_owned(),
        "NICE_RATE_BURST=100".to_owned(),
        "NICE_RATE_MAX_WAIT_MS=1000".to_owned(),
        format!("NTS_RATE_PER_PERIOD={}", fleet::RATE),
        format!("NTS_RATE_BURST={}", fleet::BURST),
        format!("NTS_RATE_MAX_WAIT_MS={}", fleet::MAX_WAIT.as_millis()),
        // What a killed worker leaves behind is taken up when its time is over.
        "PAYMENT_WORKER_LIMIT_SECONDS=10".to_owned(),
        "PAYMENT_HINT_RATE_PER_PERIOD=1000".to_owned(),
        "PAYMENT_HINT_RATE_BURST=1000".to_owned(),
        "TOSS_RATE_PER_PERIOD=1000".to_owned(),
        "TOSS_RATE_BURST=1000".to_owned(),
        "PORTONE_RATE_PER_PERIOD=1000".to_owned(),
        "PORTONE_RATE_BURST=1000".to_owned(),
        "STRIPE_RATE_PER_PERIOD=1000".to_owned(),
        "STRIPE_RATE_BURST=1000".to_owned(),
        "EMAIL_PROVIDERS=sendgrid,smtp,ses".to_owned(),
        "EMAIL_ATTEMPTS=1".to_owned(),
        format!("EMAIL_TIMEOUT_MS={}", email::TIMEOUT.as_millis()),
        format!("EMAIL_BREAKER_OPEN_SECONDS={}", OPEN.as_secs()),
        "SENDGRID_RATE_PER_PERIOD=1000".to_owned(),
        "SENDGRID_RATE_BURST=5000".to_owned(),
        "SENDGRID_DAILY_QUOTA=100000".to_owned(),
        format!("SMTP_RATE_PER_PERIOD={}", email::SMTP_RATE),
        format!("SMTP_RATE_BURST={}", email::SMTP_RATE),
    ] {
        options.set(&setting).unwrap();
    }
    let began = Instant::now();
    let system = match System::start(options).await {
        Ok(system) => system,
        Err(error) => {
            println!("the system did not start: {}", ieum::error::chain(&error));
            return Tally { failed: checks.len(), skipped: 0 };
        }
    };
    println!("\nrunning {} tests on {} (up in {:.1} s)", checks.len(), system.url(), began.elapsed().as_secs_f64());
    let client = Client::new(system.url(), system.sandbox_url(), system.aws_url(), system.api_key());
    let mut stage = Stage { system, client, next_number: 0, skipped: None };
    let mut tally = Tally::default();
    for (name, check) in checks {
        stage.client.reset_sandbox().await;
        let began = Instant::now();
        let outcome = ::futures_util::FutureExt::catch_unwind(AssertUnwindSafe(check(&mut stage))).await;
        let took = began.elapsed().as_secs_f64();
        match (outcome, stage.skipped.take()) {
            (Ok(()), None) => println!("test {name} ... ok <{took:.1}s>"),
            (Ok(()), Some(why)) => {
                tally.skipped += 1;
                println!("test {name} ... ignored: {why}");
            }
            (Err(_), _) => {
                tally.failed += 1;
                println!("test {name} ... FAILED <{took:.1}s>");
                // What a failed check has left behind must not fail the next one.
                verify::recover(&mut stage).await;
            }
        }
    }
    stage.system.stop().await;
    tally
}

/// Brings the functions up to date. Under `cargo test --workspace` they are already, and this takes a moment; with the
/// same selection of packages as there, nothing is ever built twice.
fn build(root: &Path) {
    let of_this_run =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "CARGO_TARGET_TMPDIR"];
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        if of_this_run.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.args(["test", "-q", "--workspace", "--no-run"]).current_dir(root).stdin(Stdio::null());
    command.env_remove("LD_LIBRARY_PATH");
    assert!(command.status().unwrap().success(), "the functions do not build");
}

/// The folder of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A binary of the workspace: cargo puts it one folder above this test's own.
pub(crate) fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join(name)
}

/// Words as they stand in a query.
pub(crate) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
