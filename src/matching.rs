//! Which endpoints want an event: patterns over event types, an index of many of them, and a directory
//! of such indexes by tenant and mode.

use std::collections::{BTreeMap, HashMap, HashSet};

use thiserror::Error;

/// Longest pattern, in bytes (as long as the longest event type).
pub const MAX_PATTERN_BYTES: usize = 128;
/// Events of outboxd's own begin with this. `*` is for those of the application: an endpoint receives
/// these when it names them, or their prefix.
pub const OWN: &str = "outboxd.";
/// Most patterns of one endpoint.
pub const MAX_PATTERNS: usize = 100;

/// One entry of an endpoint's `events`: an exact type, a prefix such as `payout.*`, or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The pattern without its final `*`.
    stem: Box<str>,
    /// Whether the `*` was there.
    open: bool,
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Empty.
    #[error("the pattern is empty; write * for every event type")]
    Empty,
    /// Longer than [`MAX_PATTERN_BYTES`].
    #[error("the pattern has more than {MAX_PATTERN_BYTES} characters; no event type is as long")]
    Length,
    /// A `*` elsewhere than alone or at the end, after a dot.
    #[error("a * stands alone or at the end after a dot; write * or payout.*")]
    Star,
    /// A character that no event type contains.
    #[error("{0:?} never occurs in an event type; use A-Z a-z 0-9 . _ - and a final *")]
    Character(char),
}

impl Pattern {
    /// Reads a pattern: `payout.sent`, `payout.*` or `*`.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::Length);
        }
        let (stem, open) = text.strip_suffix('*').map_or((text, false), |stem| (stem, true));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match stem.chars().find(|&c| !allowed(c)) {
            Some('*') => return Err(PatternError::Star),
            Some(other) => return Err(PatternError::Character(other)),
            None => {}
        }
        if open && !stem.is_empty() && !stem.ends_with('.') {
            return Err(PatternError::Star);
        }
        Ok(Self { stem: stem.into(), open })
    }

    /// Whether an event of this type is wanted. Linear in the length of the type.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        if self.open {
            stems(event_type).any(|stem| *stem == *self.stem)
        } else {
            *event_type == *self.stem
        }
    }
}

/// Many subscribers by their patterns, for asking which of them want one event type.
#[derive(Clone, Debug)]
pub struct Index<T> {
    exact: HashMap<Box<str>, Vec<T>>,
    /// By stem; the stem of `*` is empty.
    open: HashMap<Box<str>, Vec<T>>,
}

// Derived, it would ask for `T: Default`.
impl<T> Default for Index<T> {
    fn default() -> Self {
        let (exact, open) = (HashMap::new(), HashMap::new());
        Self { exact, open }
    }
}

impl<T: Copy + Ord> Index<T> {
    /// Builds the index. A subscriber that occurs twice has the patterns of both.
    pub fn new<P>(subscribers: impl IntoIterator<Item = (P, T)>) -> Self
    where
        P: IntoIterator<Item = Pattern>,
    {
        let mut patterns: BTreeMap<T, HashSet<Pattern>> = BTreeMap::new();
        for (more, subscriber) in subscribers {
            patterns.entry(subscriber).or_default().extend(more);
        }
        let mut index = Self::default();
        for (subscriber, patterns) in patterns {
            let open: HashSet<&str> = patterns
                .iter()
                .filter(|pattern| pattern.open)
                .map(|pattern| &*pattern.stem)
                .collect();
            // With every pattern dropped that a wider one covers, at most one of a subscriber's
            // patterns matches a type, and a lookup need not look for repetitions.
            for pattern in patterns.iter().filter(|pattern| !is_covered(pattern, &open)) {
                let map = if pattern.open { &mut index.open } else { &mut index.exact };
                map.entry(pattern.stem.clone()).or_default().push(subscriber);
            }
        }
        index
    }

    /// Adds to `found` the subscribers that want this event type, each once, in no particular order.
    /// Costs one look per dot of the type and one copy per match.
    pub fn lookup(&self, event_type: &str, found: &mut Vec<T>) {
        let open = stems(event_type).filter_map(|stem| self.open.get(stem));
        for subscribers in open.chain(self.exact.get(event_type)) {
            found.extend_from_slice(subscribers);
        }
    }
}

/// What one subscriber wants.
#[derive(Clone, Debug)]
pub struct Subscription<T> {
    /// Only the events of this tenant; of every one, and of none, if absent.
    pub tenant: Option<String>,
    /// Only live events, or only test events; both if absent.
    pub live: Option<bool>,
    /// The types wanted.
    pub patterns: Vec<Pattern>,
    /// Who wants them.
    pub subscriber: T,
}

/// Indexes by mode; that of absent modes is of those who want both.
type ByMode<T> = HashMap<Option<bool>, Index<T>>;

/// Many subscribers by tenant, mode and patterns. What a lookup costs does not grow with the number of
/// those who want the same types of other tenants.
#[derive(Clone, Debug)]
pub struct Directory<T> {
    of_all: ByMode<T>,
    of_one: HashMap<String, ByMode<T>>,
}

// Derived, it would ask for `T: Default`.
impl<T> Default for Directory<T> {
    fn default() -> Self {
        let (of_all, of_one) = (HashMap::new(), HashMap::new());
        Self { of_all, of_one }
    }
}

impl<T: Copy + Ord> Directory<T> {
    /// Builds the directory, of one subscription for each subscriber.
    pub fn new(subscriptions: impl IntoIterator<Item = Subscription<T>>) -> Self {
        let mut groups: HashMap<_, Vec<_>> = HashMap::new();
        for Subscription { tenant, live, patterns, subscriber } in subscriptions {
            groups.entry((tenant, live)).or_default().push((patterns, subscriber));
        }
        let mut directory = Self::default();
        for ((tenant, live), group) in groups {
            let by_mode = match tenant {
                Some(tenant) => directory.of_one.entry(tenant).or_default(),
                None => &mut directory.of_all,
            };
            by_mode.insert(live, Index::new(group));
        }
        directory
    }

    /// Replaces the contents of `found` by the subscribers that want such an event, each once, in no
    /// particular order.
    pub fn lookup(&self, event_type: &str, tenant: Option<&str>, live: bool, found: &mut Vec<T>) {
        found.clear();
        let of_one = tenant.and_then(|tenant| self.of_one.get(tenant));
        for by_mode in [Some(&self.of_all), of_one].into_iter().flatten() {
            for index in [None, Some(live)].iter().filter_map(|mode| by_mode.get(mode)) {
                index.lookup(event_type, found);
            }
        }
    }
}

fn is_covered(pattern: &Pattern, open: &HashSet<&str>) -> bool {
    stems(&pattern.stem)
        .filter(|stem| !pattern.open || stem.len() < pattern.stem.len())
        .any(|stem| open.contains(stem))
}

/// The stems of all open patterns that match `text`: nothing, and everything up to each dot.
fn stems(text: &str) -> impl Iterator<Item = &str> {
    let all = Some("").filter(|_| !text.starts_with(OWN));
    all.into_iter().chain(text.match_indices('.').map(|(at, _)| &text[..=at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn index(subscribers: &[(&[&str], u32)]) -> Index<u32> {
        let own = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect::<Vec<_>>();
        Index::new(subscribers.iter().map(|&(texts, subscriber)| (own(texts), subscriber)))
    }

    fn found(index: &Index<u32>, event_type: &str) -> Vec<u32> {
        let mut found = Vec::new();
        index.lookup(event_type, &mut found);
        found.sort_unstable();
        found
    }

    #[test]
    fn an_exact_pattern_matches_only_itself() {
        assert!(pattern("payout.sent").matches("payout.sent"));
        for other in ["payout.sen", "payout.sent.x", "Payout.sent", "payout_sent", ""] {
            assert!(!pattern("payout.sent").matches(other), "{other}");
        }
    }

    #[test]
    fn a_prefix_pattern_matches_what_follows_its_dot_only() {
        for inside in ["payout.sent", "payout.a.b", "payout.-"] {
            assert!(pattern("payout.*").matches(inside), "{inside}");
        }
        for outside in ["payout", "payouts.x", "payou", "x.payout.sent", "PAYOUT.sent"] {
            assert!(!pattern("payout.*").matches(outside), "{outside}");
        }
        assert!(pattern("a.b.*").matches("a.b.c") && !pattern("a.b.*").matches("a.c.b"));
    }

    #[test]
    fn a_star_matches_everything() {
        for event_type in ["a", "a.b", ".", "-"] {
            assert!(pattern("*").matches(event_type));
        }
    }

    #[test]
    fn events_of_outboxd_reach_only_who_names_them() {
        let index = index(&[
            (&["*"], 1),
            (&["*", "outboxd.*"], 2),
            (&["outboxd.endpoint.*"], 3),
            (&["*", "outboxd.endpoint.paused"], 4),
        ]);
        assert_eq!(found(&index, "outboxd.endpoint.paused"), [2, 3, 4]);
        assert_eq!(found(&index, "outboxd.delivery.exhausted"), [2]);
        assert_eq!(found(&index, "outboxd"), [1, 2, 4]);
        assert!(!pattern("*").matches("outboxd.endpoint.paused"));
    }

    #[test]
    fn a_star_elsewhere_is_refused() {
        for text in ["**", "a*b", "pay*", "*.sent", "a.*.b", "a.**", "*a", "a-*", "a_*", "*.*"] {
            assert_eq!(Pattern::parse(text), Err(PatternError::Star), "{text}");
        }
    }

    #[test]
    fn other_characters_and_lengths_are_refused() {
        for (text, c) in [("a b", ' '), ("a/b", '/'), ("é", 'é'), ("a\nb", '\n'), ("a?.*", '?')] {
            assert_eq!(Pattern::parse(text), Err(PatternError::Character(c)), "{text}");
        }
        assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
        let longest = "a".repeat(MAX_PATTERN_BYTES);
        assert!(Pattern::parse(&longest).is_ok());
        assert_eq!(Pattern::parse(&(longest + "a")), Err(PatternError::Length));
        let message = PatternError::Character('\u{1b}').to_string();
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }

    #[test]
    fn lookup_finds_each_subscriber_once() {
        let index = index(&[
            (&["*"], 1),
            (&["payout.*"], 2),
            (&["payout.sent"], 3),
            (&["*", "payout.*", "payout.sent", "payout.sent"], 4),
            (&["payout.*", "payout.sent.*", "payout.sent", "order.made"], 5),
            (&["order.*"], 6),
            (&[], 7),
            (&["order.x"], 3),
        ]);
        assert_eq!(found(&index, "payout.sent"), [1, 2, 3, 4, 5]);
        assert_eq!(found(&index, "payout.sent.late"), [1, 2, 4, 5]);
        assert_eq!(found(&index, "payout"), [1, 4]);
        assert_eq!(found(&index, "order.made"), [1, 4, 5, 6]);
        assert_eq!(found(&index, "order.x"), [1, 3, 4, 6]);
        assert_eq!(found(&index, ""), [1, 4]);
    }

    #[test]
    fn lookup_agrees_with_matching_each_pattern() {
        // Every pattern and type of up to four letters over a small alphabet, in sets of three.
        let types: Vec<String> = (1..=4_u32)
            .flat_map(|length| (0..3_u32.pow(length)).map(move |code| (length, code)))
            .map(|(length, code)| {
                (0..length).map(|at| ['a', 'b', '.'][(code / 3_u32.pow(at) % 3) as usize]).collect()
            })
            .collect();
        let starred =
            types.iter().filter(|text| text.ends_with('.')).map(|text| format!("{text}*"));
        let texts: Vec<String> =
            types.iter().cloned().chain(starred).chain(["*".to_owned()]).collect();
        let subscribers: Vec<(Vec<Pattern>, usize)> = (0..texts.len())
            .map(|at| [1, 7, 31].map(|step| pattern(&texts[at * step % texts.len()])).to_vec())
            .zip(0..)
            .collect();
        let index = Index::new(subscribers.iter().cloned());
        for event_type in &types {
            let mut found = Vec::new();
            index.lookup(event_type, &mut found);
            found.sort_unstable();
            let wanted = subscribers
                .iter()
                .filter(|(patterns, _)| patterns.iter().any(|pattern| pattern.matches(event_type)));
            assert_eq!(found, wanted.map(|&(_, at)| at).collect::<Vec<_>>(), "{event_type}");
        }
    }

    #[test]
    fn a_directory_agrees_with_asking_each_subscriber() {
        let (tenants, modes) = ([None, Some("t1"), Some("t2")], [None, Some(true), Some(false)]);
        let patterns = ["*", "payout.*", "payout.sent"];
        let mut subscriptions = Vec::new();
        for tenant in tenants {
            for live in modes {
                for text in patterns {
                    let (patterns, subscriber) = (vec![pattern(text)], subscriptions.len());
                    let tenant = tenant.map(str::to_owned);
                    subscriptions.push(Subscription { tenant, live, patterns, subscriber });
                }
            }
        }
        let directory = Directory::new(subscriptions.iter().cloned());
        let mut found = vec![99];
        for tenant in [None, Some("t1"), Some("t3"), Some("")] {
            for (live, event_type) in [(true, "payout.sent"), (false, "payout.x"), (true, "x")] {
                directory.lookup(event_type, tenant, live, &mut found);
                found.sort_unstable();
                let wanted = subscriptions.iter().filter(|s| {
                    s.tenant.as_deref().is_none_or(|wanted| tenant == Some(wanted))
                        && s.live.is_none_or(|wanted| wanted == live)
                        && s.patterns[0].matches(event_type)
                });
                let wanted: Vec<usize> = wanted.map(|s| s.subscriber).collect();
                assert_eq!(found, wanted, "{event_type} of {tenant:?}, live: {live}");
            }
        }
    }
}
