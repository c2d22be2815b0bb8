//! The daemon's side of the story, read where anybody can read it: from its metrics.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the daemon counted for one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests that failed.
    pub(super) failed: u64,
    /// Deliveries that ran out of attempts.
    pub(super) exhausted: u64,
}

/// Between two questions whether the daemon is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Waits until the daemon delivers.
pub(super) async fn ready(admin: SocketAddr) -> io::Result<()> {
    while !get(admin, "/readyz").await?.ends_with("\r\n\r\nready\n") {
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}

/// Counts by the name of the endpoint.
pub(super) async fn scrape(admin: SocketAddr) -> io::Result<HashMap<String, Counts>> {
    Ok(counts(&get(admin, "/metrics").await?))
}

async fn get(admin: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    // HTTP 1.0: the reply ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

fn counts(text: &str) -> HashMap<String, Counts> {
    let mut counts: HashMap<String, Counts> = HashMap::new();
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Some((family, labels)) = series.split_once('{') else { continue };
        let (Some(endpoint), Ok(value)) = (label(labels, "endpoint"), value.parse::<u64>()) else {
            continue;
        };
        let counts = counts.entry(endpoint.to_owned()).or_default();
        match family {
            "outboxd_delivery_attempts_total" if label(labels, "outcome") != Some("success") => {
                counts.failed += value;
            }
            "outboxd_deliveries_finished_total" if label(labels, "result") == Some("exhausted") => {
                counts.exhausted += value;
            }
            _ => {}
        }
    }
    counts
}

/// The value of a label; those of endpoints and outcomes need no escapes.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = labels.trim_end_matches('}').split(',').filter_map(|it| it.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then(|| value.trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_every_outcome_add_up_by_endpoint() {
        let text = r#"HTTP/1.0 200 OK

# HELP outboxd_delivery_attempts_total HTTP requests by endpoint and outcome
outboxd_delivery_attempts_total{endpoint="a",outcome="http_5xx"} 4
outboxd_delivery_attempts_total{endpoint="a",outcome="success"} 9
outboxd_delivery_attempts_total{endpoint="a",outcome="timeout_response"} 1
outboxd_deliveries_finished_total{endpoint="b",result="delivered"} 7
outboxd_deliveries_finished_total{endpoint="b",result="exhausted"} 3
outboxd_inflight_requests 2
"#;
        let found = counts(text);
        assert_eq!(found["a"], Counts { failed: 5, exhausted: 0 });
        assert_eq!(found["b"], Counts { failed: 0, exhausted: 3 });
    }
}
