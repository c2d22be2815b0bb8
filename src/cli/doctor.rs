//! `outboxd doctor`: is everything that `run` needs as it should be, and if not, what mends it.
//!
//! Nothing is changed: the database is only read, and a receiver sees a connection at most.

mod connection;
mod database;
mod receivers;
mod restored;
mod secrets;
mod surroundings;

use super::Global;
use super::checks::{Check, Report};
use super::failure::{Code, Failure};
use super::output::Format;
use crate::config::{Config, Loaded, Origin};

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look up and connect to this receiver [default: the first https endpoint of the database]
    #[arg(long, value_name = "URL")]
    probe: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Checks everything, and prints each finding as it is made.
///
/// # Errors
/// When anything failed: 78 for the configuration, 69 when the database cannot be
/// reached or its schema is not the one, else 1.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let mut report = Report::new(args.format);
    let loaded = match global.load() {
        Ok(loaded) => loaded,
        Err(failure) => {
            for problem in failure.message.lines() {
                report.add(&Check::fail("configuration", problem))?;
            }
            return end(&report, failure.code);
        }
    };
    report.add_all(&configuration(&loaded))?;
    let code = examine(&loaded.config, args.probe.as_deref(), &mut report).await?;
    end(&report, code)
}

fn configuration(loaded: &Loaded) -> Vec<Check> {
    const CHECK: &str = "configuration";
    let changed = loaded.settings.iter().filter(|setting| setting.origin != Origin::Default);
    let finding = match changed.count() {
        0 => "every key is at its default".to_owned(),
        1 => "no problem; 1 key is set".to_owned(),
        count => format!("no problem; {count} keys are set"),
    };
    let warnings = loaded.warnings.iter().map(|warning| Check::warn(CHECK, warning));
    std::iter::once(Check::ok(CHECK, finding)).chain(warnings).collect()
}

/// Everything after the configuration. Returns the exit code that a failure has.
async fn examine(
    config: &Config,
    probe: Option<&str>,
    report: &mut Report,
) -> Result<Code, Failure> {
    let reached = database::examine(config, report).await?;
    report.add(&surroundings::admin(&config.admin.listen).await)?;
    let sender = receivers::sender(config).await;
    let endpoint = match &reached {
        Some(reached) if probe.is_none() => reached.first_endpoint().await,
        _ => None,
    };
    let target = match (probe, &endpoint) {
        (Some(url), _) => Some(receivers::Target { url, asked_for: true }),
        (None, Some(url)) => Some(receivers::Target { url, asked_for: false }),
        (None, None) => None,
    };
    report.add(&receivers::look_up(config, sender.as_ref().ok(), target).await)?;
    report.add(&receivers::roots(config, sender.as_ref().err()))?;
    match reached {
        Some(reached) => {
            report.add_all(&reached.secrets(config).await)?;
            report.add_all(&reached.endpoints().await)?;
            if let Some(held) = reached.held().await {
                report.add(&held)?;
            }
            // A schema of another version is of no more use than no database.
            Ok(if reached.readable { Code::Failed } else { Code::Database })
        }
        None => Ok(Code::Database),
    }
}

fn end(report: &Report, code: Code) -> Result<(), Failure> {
    let many = |count: usize, what: &str| {
        if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
    };
    let warnings = many(report.warned, "warning");
    if report.failed > 0 {
        let message = format!("doctor: {}, {warnings}", many(report.failed, "failed check"));
        return Err(Failure { code, message });
    }
    eprintln!("doctor: nothing failed, {warnings}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::{self, KEYS, Sources};

    use super::*;

    const SAMPLE: &str = include_str!("../../docs/outboxd.toml");

    fn load(name: &str, text: &str) -> Loaded {
        let name = format!("outboxd-sample-{}-{name}.toml", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, text).expect("the temporary directory takes a file");
        let url = ("DATABASE_URL".to_owned(), "postgres://app@db/shop".to_owned());
        let sources = Sources {
            file: Some(file.clone()),
            default_file: PathBuf::new(),
            env: [url].into(),
            flags: Vec::new(),
        };
        let loaded = config::load(&sources);
        std::fs::remove_file(&file).expect("own file");
        loaded.unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_sample_configuration_changes_nothing() {
        let loaded = load("as-is", SAMPLE);
        for setting in &loaded.settings[1..] {
            assert_eq!(setting.origin, Origin::Default, "{}", setting.key);
        }
    }

    #[test]
    fn the_sample_configuration_shows_every_key_at_its_default() {
        let mut section = "";
        let mut shown = Vec::new();
        let mut text = String::new();
        for line in SAMPLE.lines() {
            let plain = line.strip_prefix('#').unwrap_or(line);
            section = line.strip_prefix('[').map_or(section, |rest| rest.trim_end_matches(']'));
            let name = plain.split(' ').next().unwrap_or_default();
            let key = KEYS.iter().find(|key| key.name == format!("{section}.{name}"));
            // A key without a default shows an example, which may not fit this machine.
            let line = match key {
                Some(key) if key.default.is_some() => plain,
                _ => line,
            };
            shown.extend(key.map(|key| key.name));
            text.push_str(line);
            text.push('\n');
        }
        assert_eq!(shown, KEYS.map(|key| key.name));
        for (setting, key) in load("plain", &text).settings.iter().zip(KEYS) {
            let Some(default) = key.default else { continue };
            assert_eq!(setting.value, default, "{}", key.name);
            assert_ne!(setting.origin, Origin::Default, "{} is not in the sample", key.name);
        }
    }

    #[test]
    fn the_configuration_is_one_line_and_its_warnings_follow() {
        let mut loaded = load("log", "log.level = 'debug'");
        loaded.warnings = vec!["chmod 0600".to_owned()];
        let checks = configuration(&loaded);
        assert_eq!(checks[0], Check::ok("configuration", "no problem; 2 keys are set"));
        assert_eq!(checks[1], Check::warn("configuration", "chmod 0600"));
    }
}
