//! The ids that have been seen, the latest of them.

use std::collections::{HashMap, VecDeque};

use super::REMEMBERED;

/// The longest id that is remembered; outboxd's own are far shorter.
const LONGEST: usize = 256;

/// An id that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It was never answered with success.
    Retry,
    /// It was answered with success before.
    Duplicate,
}

/// Ids, and whether each was answered with success.
#[derive(Debug, Default)]
pub(super) struct Seen {
    accepted: HashMap<String, bool>,
    order: VecDeque<String>,
}

impl Seen {
    /// Remembers an id and its answer; tells what it was before.
    pub(super) fn note(&mut self, id: &str, success: bool) -> Option<Repeat> {
        if let Some(accepted) = self.accepted.get_mut(id) {
            let repeat = if *accepted { Repeat::Duplicate } else { Repeat::Retry };
            *accepted |= success;
            return Some(repeat);
        }
        if id.len() > LONGEST {
            return None;
        }
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.accepted.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.accepted.insert(id.to_owned(), success);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_a_retry_until_it_was_accepted() {
        let mut seen = Seen::default();
        assert_eq!(seen.note("a", false), None);
        assert_eq!(seen.note("a", true), Some(Repeat::Retry));
        assert_eq!(seen.note("a", false), Some(Repeat::Duplicate));
        assert_eq!(seen.note("b", true), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::default();
        for n in 0..=REMEMBERED {
            seen.note(&n.to_string(), true);
        }
        assert_eq!((seen.order.len(), seen.accepted.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(seen.note("0", true), None);
        assert_eq!(seen.note("2", true), Some(Repeat::Duplicate));
        let long = "x".repeat(LONGEST + 1);
        assert_eq!((seen.note(&long, true), seen.note(&long, true)), (None, None));
    }
}
