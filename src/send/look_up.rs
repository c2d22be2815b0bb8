//! Looking names up, so that names which get no answer take nothing from those that do.
//!
//! The system's resolver blocks a thread, for ten seconds and more while servers are silent, and
//! cannot be interrupted. So there is one look-up a name at a time, which everybody who wants that
//! name waits for; and names without a good record get only a share of the threads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Longest wait for an answer.
pub(super) const DNS_TIMEOUT: Duration = Duration::from_secs(3);
/// Look-ups at once: half of the threads that the runtime has for what blocks.
const THREADS: usize = 256;
/// Of these, for names that have not answered yet.
const UNPROVEN: usize = 192;
/// Of these, for names that did not answer the last time.
const SILENT: usize = 64;
/// Names whose record is kept.
const REMEMBERED: usize = 10_000;

/// The addresses of a name, or why there are none.
pub(super) type Answer = Result<Vec<IpAddr>, String>;

/// How a name did the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Record {
    #[default]
    Unproven,
    Proven,
    Silent,
}

#[derive(Debug, Default)]
struct Known {
    record: Record,
    running: Option<watch::Receiver<Option<Answer>>>,
}

/// The look-ups of this process, whose threads they share.
static LOOK_UPS: LazyLock<LookUps> = LazyLock::new(|| LookUps {
    names: Mutex::default(),
    all: Semaphore::new(THREADS),
    unproven: Semaphore::new(UNPROVEN),
    silent: Semaphore::new(SILENT),
});

struct LookUps {
    names: Mutex<HashMap<String, Known>>,
    all: Semaphore,
    unproven: Semaphore,
    silent: Semaphore,
}

impl LookUps {
    fn names(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &str, record: Record) {
        if let Some(known) = self.names().get_mut(name) {
            known.record = record;
        }
    }

    /// Joins the look-up of this name, or starts it.
    fn running(&'static self, name: &str) -> watch::Receiver<Option<Answer>> {
        let mut names = self.names();
        if names.len() >= REMEMBERED {
            names.retain(|_, known| known.running.is_some());
        }
        let known = names.entry(name.to_owned()).or_default();
        if let Some(running) = &known.running {
            return running.clone();
        }
        let (answer, running) = watch::channel(None);
        known.running = Some(running.clone());
        let (turn, record) = (Turn(self, name.to_owned()), known.record);
        tokio::spawn(async move { turn.take(record, &answer).await });
        running
    }
}

/// A look-up under way; it is over when this is dropped.
struct Turn(&'static LookUps, String);

impl Turn {
    async fn take(self, record: Record, answer: &watch::Sender<Option<Answer>>) {
        let Self(all, name) = &self;
        // Nobody closes them. Waiting in this order, names of a bad record are in nobody's way.
        let _silent = match record {
            Record::Silent => all.silent.acquire().await.ok(),
            _ => None,
        };
        let _unproven = match record {
            Record::Proven => None,
            _ => all.unproven.acquire().await.ok(),
        };
        let _thread = all.all.acquire().await.ok();
        let look_up = tokio::net::lookup_host((name.as_str(), 0));
        tokio::pin!(look_up);
        let found = match timeout(DNS_TIMEOUT, &mut look_up).await {
            Ok(found) => {
                all.note(name, if found.is_ok() { Record::Proven } else { Record::Unproven });
                found
            }
            Err(_) => {
                all.note(name, Record::Silent);
                // Its thread is taken until then.
                look_up.await
            }
        };
        let found = found.map(|found| found.map(|address| address.ip()).collect::<Vec<IpAddr>>());
        answer.send_replace(Some(match found {
            Ok(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(error.to_string()),
        }));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(known) = self.0.names().get_mut(&self.1) {
            known.running = None;
        }
    }
}

/// The addresses of a name.
pub(super) async fn addresses(name: &str) -> Answer {
    let mut running = LOOK_UPS.running(name);
    let answer = timeout(DNS_TIMEOUT, running.wait_for(Option::is_some)).await;
    match answer {
        Err(_) => Err(format!("no answer within {DNS_TIMEOUT:?}")),
        Ok(Err(_)) => Err("the look-up was given up".to_owned()),
        Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err("no answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_has_one_look_up_at_a_time_and_a_record_afterwards() {
        let own: &'static LookUps = Box::leak(Box::new(LookUps {
            names: Mutex::default(),
            all: Semaphore::new(1),
            unproven: Semaphore::new(1),
            silent: Semaphore::new(1),
        }));
        // As if other names had all threads.
        let threads = own.all.acquire().await.expect("a thread");
        let mut first = own.running("localhost");
        let second = own.running("localhost");
        assert!(first.same_channel(&second));
        drop(threads);
        let answer = first.wait_for(Option::is_some).await.expect("an answer").clone();
        assert!(answer.expect("one").expect("addresses").iter().all(IpAddr::is_loopback));
        assert_eq!(own.names()["localhost"].record, Record::Proven);
        // A name with a good record waits for no place of those without.
        let _taken = own.unproven.acquire().await.expect("a place");
        let mut third = own.running("localhost");
        assert!(third.wait_for(Option::is_some).await.expect("an answer").is_some());
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_says_so() {
        let error = addresses("no-such-host.invalid").await.expect_err("no such name");
        assert!(!error.is_empty());
    }
}
