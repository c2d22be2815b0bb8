//! The words around the table, and the verdict.

use std::net::SocketAddr;
use std::path::Path;

use super::board::{Row, human};
use super::place::Place;
use super::receivers::Manner;
use super::{ATTEMPTS, Ending, RETRY, Report};

/// What starts, and where to look while it runs.
pub(super) fn introduction(place: &Place, metrics: SocketAddr) -> String {
    let stays = if place.is_throwaway() {
        "It needs nothing and leaves nothing behind; Ctrl-C ends it at any time."
    } else {
        "Ctrl-C ends it at any time."
    };
    format!(
        "An application inserts sample events; outboxd delivers them to three receivers here.\n\
         {stays} While it runs:\n\n  \
           metrics    http://{metrics}/metrics\n  \
           database   {}\n\n",
        place.describe()
    )
}

impl Report {
    /// Whether everything that can be delivered was, with valid signatures.
    pub fn is_success(&self) -> bool {
        let taken = |row: &Row| row.manner == Manner::Dead || row.waiting() + row.given_up == 0;
        let complete = self.rows.iter().all(taken) || self.ending == Ending::Stopped;
        complete && self.rows.iter().all(|row| row.wrong == 0)
    }

    /// What happened and why, for people.
    pub fn summary(&self) -> String {
        let mut text = String::from("\nWhat happened\n");
        for row in &self.rows {
            let what = match row.manner {
                Manner::Healthy => healthy(row),
                Manner::Flaky => flaky(row),
                Manner::Dead => dead(row),
            };
            text.push_str(&format!("  {:<8} {what}\n", row.manner.name()));
        }
        text.push_str(&format!("\n{}\n", self.verdict()));
        text
    }

    fn verdict(&self) -> String {
        let sum = |count: fn(&Row) -> u64| self.rows.iter().map(count).sum::<u64>();
        let (verified, wrong) = (sum(|row| row.verified), sum(|row| row.wrong));
        let duplicates = sum(|row| row.duplicates);
        let checked = format!("duplicates {duplicates}, signatures verified {verified}");
        if wrong > 0 {
            return format!("FAILED: {wrong} signatures were wrong; {checked}.");
        }
        if self.ending == Ending::Stopped {
            return format!("Stopped early. So far: {checked}, wrong 0.");
        }
        let reachable = self.rows.iter().filter(|row| row.manner != Manner::Dead);
        let missing: u64 = reachable.map(|row| row.waiting() + row.given_up).sum();
        if missing > 0 {
            return format!("FAILED: {missing} deliveries did not arrive; {checked}, wrong 0.");
        }
        format!("Lost 0, {checked}, wrong 0.")
    }
}

fn healthy(row: &Row) -> String {
    let Row { delivered, inserted, p50, p99, .. } = *row;
    format!(
        "took {delivered} of {inserted} events: half of them within {} of their commit, 99 % \
         within {}.",
        human(p50),
        human(p99)
    )
}

fn flaky(row: &Row) -> String {
    let Row { delivered, inserted, retried, .. } = *row;
    format!(
        "took {delivered} of {inserted} events. Requests with a 503 or no answer: {retried};\n  \
         {:<8} each was tried again a second later.",
        ""
    )
}

fn dead(row: &Row) -> String {
    let mut text = format!(
        "refuses every connection. After {ATTEMPTS} attempts ({RETRY} apart) a delivery is\n  \
         {:<8} given up, as {} were; the event stays in the database and can be replayed.",
        "", row.given_up
    );
    if row.waiting() > 0 {
        text.push_str(&format!("\n  {:<8} {} were still waiting for a retry.", "", row.waiting()));
    }
    text
}

/// Commands to paste, for the reader's own database.
pub fn next_steps() -> String {
    let outboxd = program();
    let insert = r#"INSERT INTO outbox.events (type, payload) VALUES ('hello', '{\"id\": 1}')"#;
    format!(
        r#"
Next, in your own database
  export DATABASE_URL=postgresql://USER@HOST/DATABASE
  {outboxd} migrate
  {outboxd} endpoints add https://example.com/hooks
  psql "$DATABASE_URL" -c "{insert}"
  {outboxd} run
"#
    )
}

/// This program as a shell finds it.
fn program() -> String {
    let name = env!("CARGO_PKG_NAME");
    let Ok(path) = std::env::current_exe() else { return name.to_owned() };
    let on_path = |directory: Option<&Path>| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        directory.is_some_and(|directory| std::env::split_paths(&paths).any(|it| it == directory))
    };
    if on_path(path.parent()) {
        return name.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(&path).display().to_string()
}
