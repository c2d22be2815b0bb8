//! `outboxd profiles`: the wire contracts that endpoints can have.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Global;
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::config::{Config, duration};
use crate::profile::{Profile, Profiles};
use crate::retry::{NAMED, Schedule};

/// `profiles ...`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the profiles: those built in, and those of the configuration
    List(Format),
    /// Show a profile in the form that the configuration takes, and its retries by the clock
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        format: Format,
    },
}

/// Lists or shows.
///
/// # Errors
/// There is no such profile, or it may be in a configuration that cannot be read.
pub fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let mut known = Known::read(global);
    match command {
        Command::List(format) => {
            if let Some(failure) = &known.broken {
                eprintln!(
                    "only what is built in, because of the configuration: {}",
                    failure.message
                );
            }
            let all = known.profiles.all();
            let rows: Vec<Row> = all.map(|(profile, own)| known.row(profile, own)).collect();
            let columns = ["name", "signature", "success", "timeout", "retry", "source"];
            output::print(format, &rows, &columns)
        }
        Command::Show { name, format } => {
            let profile = known.named(&name)?;
            if format.json {
                return output::print_one(format, &known.whole(&profile));
            }
            let clock = timetable(known.schedule(&profile), profile.jitter, Timestamp::now());
            let scaled = match known.scale {
                1.0 => String::new(),
                scale => format!("# delivery.retry_scale = {scale} multiplies every delay\n"),
            };
            output::write_out(&format!("{profile}\n{clock}{scaled}"))
        }
    }
}

/// The profile of that name.
///
/// # Errors
/// There is none, or it may be in a configuration that cannot be read.
pub fn named(global: &Global, name: &str) -> Result<Arc<Profile>, Failure> {
    Known::read(global).named(name)
}

/// What there is to show.
struct Known {
    profiles: Profiles,
    /// The schedule of profiles that have none of their own.
    default: Schedule,
    scale: f64,
    timeout: Duration,
    /// Why its profiles could not be read; what is built in can be shown all the same.
    broken: Option<Failure>,
}

impl Known {
    fn read(global: &Global) -> Self {
        match global.load() {
            Ok(loaded) => {
                let Config { delivery, profiles, .. } = loaded.config;
                let (default, scale) = (delivery.retry, delivery.retry_scale);
                Self { profiles, default, scale, timeout: delivery.timeout, broken: None }
            }
            Err(_) => {
                let (profiles, broken) = match global.profiles() {
                    Ok(profiles) => (profiles, None),
                    Err(failure) => (Profiles::default(), Some(failure)),
                };
                // The schedule of that name is tested to be one.
                let default = Schedule::parse(NAMED[0].1).unwrap_or_default();
                let timeout = Duration::from_secs(15);
                Self { profiles, default, scale: 1.0, timeout, broken }
            }
        }
    }

    fn named(&mut self, name: &str) -> Result<Arc<Profile>, Failure> {
        let unknown = match self.profiles.named(name) {
            Ok(profile) => return Ok(profile.clone()),
            Err(unknown) => unknown.to_string(),
        };
        // It may be in the file that cannot be read.
        Err(self.broken.take().unwrap_or_else(|| Failure::failed(unknown)))
    }

    fn schedule<'a>(&'a self, profile: &'a Profile) -> &'a Schedule {
        profile.retry.as_ref().map_or(&self.default, |(_, schedule)| schedule)
    }

    fn row(&self, profile: &Profile, built_in: bool) -> Row {
        let signature = |(place, algorithm): (&str, &str)| format!("{place} {algorithm}");
        let signatures: Vec<String> = profile.signatures().map(signature).collect();
        let retry = profile.retry.as_ref().map(|(written, _)| written.as_str());
        let columns = [
            ("name", json!(profile.name)),
            ("signature", json!(signatures)),
            ("success", json!(profile.success.to_string())),
            ("timeout", json!(duration::short(profile.timeout.unwrap_or(self.timeout)))),
            ("retry", json!(retry.map_or_else(|| self.default.to_string(), str::to_owned))),
            ("source", json!(if built_in { "built in" } else { "configuration" })),
            ("description", json!(profile.description)),
        ];
        columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// All of a profile, for scripts.
    fn whole(&self, profile: &Profile) -> Row {
        let built_in = Profiles::default().named(&profile.name).is_ok();
        let mut row = self.row(profile, built_in);
        let schedule = self.schedule(profile);
        let runs: Vec<Value> = schedule
            .runs()
            .map(|(delay, times)| json!({ "delay_ms": delay.as_millis() as u64, "times": times }))
            .collect();
        row.insert("jitter".into(), json!(profile.jitter));
        row.insert("max_attempts".into(), json!(schedule.max_attempts()));
        row.insert("total_ms".into(), json!(schedule.total().map(|t| t.as_millis() as u64)));
        row.insert("retries".into(), json!(runs));
        row.insert("toml".into(), json!(profile.to_string()));
        row
    }
}

/// What a schedule means by the clock, as comments.
fn timetable(schedule: &Schedule, jitter: f64, now: Timestamp) -> String {
    let spread = match jitter {
        0.0 => "every delay exact".to_owned(),
        share => format!("every delay give or take {:.0} %", share * 100.0),
    };
    let in_all = match (schedule.max_attempts(), schedule.total()) {
        (Some(1), _) => "one attempt, and no retry".to_owned(),
        (Some(attempts), Some(total)) => {
            format!("{attempts} attempts in all, the last {} after the first", short(total))
        }
        _ => "until it succeeds".to_owned(),
    };
    let clock = |after: Duration| match now.checked_add(after) {
        Ok(moment) => moment.strftime("%a %Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => "beyond all clocks".to_owned(),
    };
    let mut text = format!("# Retries: {in_all}; {spread}. For an event of this moment:\n");
    let line = |attempts: &str, delay: &str, when: &str| {
        format!("#   {attempts:<18} {delay:<16} {when}\n")
    };
    text.push_str(&line("attempt 1", "at once", &clock(Duration::ZERO)));
    let (mut attempt, mut elapsed) = (1, Duration::ZERO);
    for (delay, times) in schedule.runs() {
        let first = elapsed + delay;
        let next = attempt + 1;
        match times {
            Some(1) => {
                let delay = format!("after {}", short(delay));
                text.push_str(&line(&format!("attempt {next}"), &delay, &clock(first)));
            }
            Some(times) => {
                let last = elapsed + delay * times;
                let attempts = format!("attempts {next} to {}", attempt + times);
                let when = format!("{} to {}", clock(first), clock(last));
                text.push_str(&line(&attempts, &format!("every {}", short(delay)), &when));
            }
            None => {
                let when = format!("{} and on, for ever", clock(first));
                let attempts = format!("attempts {next} on");
                text.push_str(&line(&attempts, &format!("every {}", short(delay)), &when));
            }
        }
        attempt += times.unwrap_or(0);
        elapsed += delay * times.unwrap_or(0);
    }
    text
}

fn short(duration: Duration) -> String {
    duration::short(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let schedule = Schedule::parse(text).expect("a schedule");
        let now = Timestamp::from_second(1_705_761_000).expect("a moment");
        timetable(&schedule, 0.0, now)
    }

    #[test]
    fn a_schedule_is_told_by_the_clock() {
        assert_eq!(
            of("hourly-72"),
            "# Retries: 72 attempts in all, the last 2d 23h after the first; every delay exact. For \
             an event of this moment:\n\
             #   attempt 1          at once          Sat 2024-01-20 14:30:00 UTC\n\
             #   attempts 2 to 72   every 1h         Sat 2024-01-20 15:30:00 UTC to \
             Tue 2024-01-23 13:30:00 UTC\n"
        );
        let forever = of("until-success");
        assert!(forever.starts_with("# Retries: until it succeeds"), "{forever}");
        assert!(forever.contains("attempt 3          after 15m        Sat 2024-01-20 14:50:00"));
        assert!(forever.contains("attempts 4 on      every 1h         Sat 2024-01-20 15:50:00"));
        assert!(of("none").contains("one attempt, and no retry"));
    }
}
