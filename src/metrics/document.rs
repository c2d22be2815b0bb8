//! `docs/metrics.md`, from the families themselves.

use super::family::{ENDPOINT, Family, Label};
use super::sampled::STALE;

const HEAD: &str = "\
# Metrics

<!-- Generated from src/metrics/. To renew it: UPDATE_DOCS=1 cargo test --test it metrics::the_document -->

`GET /metrics` on `admin.listen` gives these families as Prometheus text. Names and labels are kept from release to release.

- Labels are closed sets but for `endpoint`, the slug of an endpoint: never a URL, a tenant or an event. Beyond `metrics.max_endpoints` endpoints
  the others share `endpoint=\"_other\"`; `outboxd_endpoints_folded` counts them. There is no histogram per endpoint.
- Every daemon exports everything. Counters and histograms are its own: `sum` them. Gauges sampled from the database describe what all daemons
  share: take `max by (job)`.
- Sampled gauges are taken every 15 s, apart from the scrape, by queries that are cut off after 2 s. Before the first sample, and once it is older than
";

/// The document: every family by subject.
pub(super) fn document(subjects: &[(&str, &[Family])]) -> String {
    let stale = STALE.as_secs();
    let mut text = format!(
        "{HEAD}  {stale} s, they are absent, and never 0 or NaN: `absent()` and \
         `outboxd_outbox_sample_timestamp_seconds` tell.\n- Series of closed sets exist at 0 from \
         the start, so that `rate` and `increase` miss nothing.\n"
    );
    for (title, families) in subjects {
        text.push_str(&format!(
            "\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n"
        ));
        for family in *families {
            text.push_str(&line(family));
        }
    }
    text
}

fn line(Family { name, kind, labels, help, buckets }: &Family) -> String {
    let labels: Vec<String> = labels.iter().map(written).collect();
    let labels = if labels.is_empty() { "-".to_owned() } else { labels.join("; ") };
    let mut meaning = (*help).to_owned();
    if !buckets.is_empty() {
        let bounds: Vec<String> = buckets.iter().map(f64::to_string).collect();
        meaning.push_str(&format!(". Buckets: {}", bounds.join(" ")));
    }
    format!("| `{name}` | {kind} | {labels} | {meaning} |\n")
}

fn written(label: &Label) -> String {
    if label.name == ENDPOINT.name {
        return "`endpoint`".to_owned();
    }
    format!("`{}`: {}", label.name, label.values.join(", "))
}
