//! Numbers with names: of one run, and of several.

use serde_json::{Map, Value, json};

/// Figures that must be zero.
pub const FAULTS: [&str; 3] = ["lost", "duplicates", "unrecorded"];

/// What one run showed, by name, in the order of the report. The unit is in the name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    /// Notes a figure; one that was there is replaced.
    pub fn set(&mut self, name: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Notes a figure that could be measured.
    pub fn set_some(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Notes what else was measured.
    pub fn append(&mut self, others: Self) {
        for (name, value) in others.0 {
            self.set(name, value);
        }
    }

    /// Forgets a figure.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| *known != name);
    }

    /// The median of each figure over several rounds; of what must not happen, the sum.
    pub fn medians(rounds: &[Self]) -> Self {
        let median = |(name, spread): (&'static str, Spread)| {
            let sum = || rounds.iter().filter_map(|round| round.get(name)).sum();
            (name, if FAULTS.contains(&name) { sum() } else { spread.median })
        };
        Self(spreads(rounds).into_iter().map(median).collect())
    }

    /// A figure, if there is one of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// A figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number, the lower of the two.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// The figures of several runs, in the order of the first run.
pub fn spreads(runs: &[Figures]) -> Vec<(&'static str, Spread)> {
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in runs.iter().flat_map(|run| &run.0) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names.into_iter().filter_map(|name| Some((name, spread(runs, name)?))).collect()
}

/// One figure over several runs; `None` if no run has it.
pub fn spread(runs: &[Figures], name: &str) -> Option<Spread> {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| run.get(name)).collect();
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    Some(Spread { median: values[(values.len() - 1) / 2], min, max })
}

/// As JSON: `{"name": {"median": ..., "min": ..., "max": ...}}`.
pub fn to_json(runs: &[Figures]) -> Value {
    let entry = |(name, spread): (&str, Spread)| {
        let Spread { median, min, max } = spread;
        (name.to_owned(), json!({"median": tidy(median), "min": tidy(min), "max": tidy(max)}))
    };
    Value::Object(spreads(runs).into_iter().map(entry).collect::<Map<_, _>>())
}

/// Six digits say all that there is to say; whole numbers are written as such.
fn tidy(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return json!(value as i64);
    }
    format!("{value:.5e}").parse().map_or(Value::Null, |rounded: f64| json!(rounded))
}

/// Delays, from which percentiles are taken. Microseconds.
#[derive(Clone, Debug, Default)]
pub struct Delays(Vec<u64>);

impl Delays {
    /// Sorts them.
    pub fn new(mut delays: Vec<u64>) -> Self {
        delays.sort_unstable();
        Self(delays)
    }

    /// The smallest delay that `percent` of them do not exceed; in milliseconds.
    pub fn percentile_ms(&self, percent: f64) -> Option<f64> {
        let rank = (self.0.len() as f64 * percent / 100.0).ceil() as usize;
        let at = rank.clamp(1, self.0.len().max(1)) - 1;
        self.0.get(at).map(|micros| *micros as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64]) -> Vec<Figures> {
        let one = |value: &f64| {
            let mut figures = Figures::default();
            figures.set("rate_per_second", *value);
            figures
        };
        values.iter().map(one).collect()
    }

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        let of = |values: &[f64]| spread(&runs(values), "rate_per_second").expect("a spread");
        assert_eq!(of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(of(&[4.0, 1.0]), Spread { median: 1.0, min: 1.0, max: 4.0 });
        assert_eq!(spread(&runs(&[1.0]), "else"), None);
    }

    #[test]
    fn percentiles_are_delays_that_occurred() {
        let delays = Delays::new((1..=100).rev().map(|n| n * 1000).collect());
        let at = |percent| delays.percentile_ms(percent).expect("a delay");
        assert_eq!([at(50.0), at(90.0), at(99.0), at(100.0)], [50.0, 90.0, 99.0, 100.0]);
        assert_eq!([at(0.0), at(99.1)], [1.0, 100.0]);
        assert_eq!(Delays::new(vec![7_500]).percentile_ms(1.0), Some(7.5));
        assert_eq!(Delays::default().percentile_ms(50.0), None);
    }

    #[test]
    fn json_has_median_and_spread_and_no_false_precision() {
        let text = to_json(&runs(&[100_000.0 / 3.0, 20_000.0, 40_000.0])).to_string();
        let expected = r#"{"rate_per_second":{"median":33333.3,"min":20000,"max":40000}}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn of_several_rounds_no_fault_is_forgotten() {
        let round = |rate: f64, lost: f64| Figures(vec![("rate", rate), ("lost", lost)]);
        let rounds = [round(3.0, 0.0), round(1.0, 1.0), round(2.0, 0.0)];
        assert_eq!(Figures::medians(&rounds), round(2.0, 1.0));
    }

    #[test]
    fn a_figure_is_replaced_and_keeps_its_place() {
        let mut figures = Figures::default();
        figures.set("a", 1.0);
        figures.set_some("b", None);
        figures.set_some("c", Some(3.0));
        figures.set("a", 2.0);
        assert_eq!(figures, Figures(vec![("a", 2.0), ("c", 3.0)]));
        figures.append(Figures(vec![("d", 4.0), ("a", 5.0)]));
        figures.remove("c");
        assert_eq!(figures, Figures(vec![("a", 5.0), ("d", 4.0)]));
    }
}
