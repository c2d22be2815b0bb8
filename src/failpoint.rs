//! Failpoints: named places where the daemon dies, panics, hangs or fails when a test asks for it.
//!
//! Only in builds with the feature `failpoints`, which no release has; elsewhere the macro is
//! nothing. `OUTBOXD_FAILPOINTS=fan_out.before_commit=kill@3,sweep.round=panic` names the places,
//! and what happens there: each time, or only the third. What there is:
//!
//! * `kill`: SIGKILL of this process: nothing is flushed, nothing is closed.
//! * `panic`: of the task that got there.
//! * `stall`: the thread never returns.
//! * `error`: as if the database had failed, at the places that can fail.

/// Every failpoint, in the order of an event's way.
pub const ALL: &[&str] = &[
    // An event becomes deliveries.
    "fan_out.before_take",
    "fan_out.after_take",
    "fan_out.before_commit",
    "fan_out.after_commit",
    "fan_out.before_submit",
    // What is due is leased.
    "claim.before",
    "claim.after_commit",
    "claim.before_submit",
    // Any transaction of one round trip: all of it is on its way, no answer has come.
    "store.committing",
    // The request; whether it needs a new connection is not known before.
    "send.before_connect",
    "send.after_head",
    "send.after_body",
    // The outcome.
    "record.before_statement",
    "record.after_commit",
    "record.settled",
    "record.before_release",
    // What goes on beside.
    "presence.before_join",
    "presence.joined",
    "presence.before_reconcile",
    "presence.before_bury",
    "presence.after_bury",
    "upkeep.before_seal",
    "upkeep.after_seal",
    "sweep.round",
    "sweep.after_batch",
    // The end in order.
    "drain.begun",
    "drain.closed",
    "drain.requests_done",
    "drain.recorded",
    // `outboxd migrate`.
    "migrate.before_commit",
    "migrate.after_commit",
];

/// A place where tests make the daemon fail. With `?` behind the name it is one that can fail, in a
/// function that returns a [`crate::store::error::StoreError`].
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        if $crate::failpoint::reach($name) {
            panic!("the failpoint {} cannot fail", $name);
        }
    };
    ($name:literal ?) => {
        if $crate::failpoint::reach($name) {
            return Err($crate::store::error::StoreError::Pool(format!("failpoint {}", $name)));
        }
    };
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {};
    ($name:literal ?) => {};
}

#[cfg(feature = "failpoints")]
pub use armed::{VARIABLE, reach};

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::process::Command;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Holds what is to happen; a value that makes no sense ends the process, or a test would pass
    /// for nothing.
    pub const VARIABLE: &str = "OUTBOXD_FAILPOINTS";

    static POINTS: OnceLock<HashMap<String, Point>> = OnceLock::new();

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        Kill,
        Panic,
        Stall,
        Error,
    }

    /// What happens at a failpoint.
    #[derive(Debug)]
    struct Point {
        action: Action,
        /// At this visit only; else at each.
        at: Option<u64>,
        visits: AtomicU64,
    }

    /// A failpoint is passed. Returns whether the code there is to fail.
    pub fn reach(name: &str) -> bool {
        let points = POINTS.get_or_init(|| {
            let text = std::env::var(VARIABLE).unwrap_or_default();
            parse(&text).unwrap_or_else(|problem| {
                eprintln!("{VARIABLE}: {problem}");
                std::process::exit(2);
            })
        });
        let Some(point) = points.get(name) else { return false };
        let visit = point.visits.fetch_add(1, Ordering::Relaxed) + 1;
        if point.at.is_some_and(|at| at != visit) {
            return false;
        }
        eprintln!("failpoint {name}, visit {visit}: {:?}", point.action);
        match point.action {
            Action::Kill => {
                // The standard library kills only children, so one of ours does it.
                drop(Command::new("sh").args(["-c", "kill -s KILL $PPID"]).spawn());
                park()
            }
            Action::Panic => panic!("failpoint {name}"),
            Action::Stall => park(),
            Action::Error => true,
        }
    }

    fn park() -> ! {
        loop {
            std::thread::park();
        }
    }

    /// `NAME=ACTION[@VISIT],...`
    fn parse(text: &str) -> Result<HashMap<String, Point>, String> {
        let mut points = HashMap::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, what) = part.split_once('=').ok_or(format!("no action in '{part}'"))?;
            if !super::ALL.contains(&name) {
                return Err(format!("there is no failpoint '{name}'"));
            }
            let (action, at) = match what.split_once('@') {
                None => (what, None),
                Some((action, at)) => {
                    (action, Some(at.parse().map_err(|_| format!("bad visit in '{part}'"))?))
                }
            };
            let action = match action {
                "kill" => Action::Kill,
                "panic" => Action::Panic,
                "stall" => Action::Stall,
                "error" => Action::Error,
                other => return Err(format!("there is no action '{other}'")),
            };
            points.insert(name.to_owned(), Point { action, at, visits: AtomicU64::new(0) });
        }
        Ok(points)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_actions_and_visits_are_read() {
            let points = parse("sweep.round=panic,claim.before=kill@3").expect("good");
            assert_eq!(points["sweep.round"].action, Action::Panic);
            assert_eq!(points["sweep.round"].at, None);
            assert_eq!(points["claim.before"].action, Action::Kill);
            assert_eq!(points["claim.before"].at, Some(3));
        }

        #[test]
        fn what_makes_no_sense_is_refused() {
            for text in ["sweep.round", "sweep.rund=kill", "sweep.round=kil", "sweep.round=kill@x"]
            {
                parse(text).expect_err(text);
            }
        }
    }
}
