//! Debian's Prometheus as a process, with our rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{ALERTS, RULES};
use crate::harness::{free_port, get};

/// One of its programs: what scripts/install-test-deps unpacked, else the system's own. Without
/// it, says so: the test is skipped then.
pub fn tool(name: &str) -> Option<PathBuf> {
    let unpacked =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/verifiers/prometheus/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(unpacked).chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("NOT CHECKED: there is no {name}; scripts/install-test-deps");
    }
    found
}

/// Our rules and alerts, changed as a test needs them.
pub fn rules(change: impl Fn(&str) -> String) -> [String; 2] {
    [change(RULES), change(ALERTS)]
}

/// A server that stops, and whose data goes, when it is dropped.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

/// A labelled value.
pub type Sample = (BTreeMap<String, String>, f64);

impl Prometheus {
    /// Scrapes these addresses every second as the job `outboxd`. None without the program.
    pub fn start(targets: &[SocketAddr], rules: &[String]) -> Option<Self> {
        let program = tool("prometheus")?;
        let name = format!("outboxd-prometheus-{:016x}", fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder");
        let mut config =
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:\n".to_owned();
        for (n, text) in rules.iter().enumerate() {
            fs::write(folder.join(format!("{n}.yml")), text).expect("a file");
            config += &format!("  - {n}.yml\n");
        }
        let targets: Vec<String> =
            targets.iter().map(|target| format!("{:?}", target.to_string())).collect();
        config += &format!(
            "scrape_configs:\n  - job_name: outboxd\n    static_configs:\n      - targets: [{}]\n",
            targets.join(", ")
        );
        fs::write(folder.join("prometheus.yml"), config).expect("a file");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new(program)
            .current_dir(&folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .spawn()
            .expect("Prometheus runs");
        Some(Self { child, address, folder })
    }

    async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let base = format!("http://{}/api/v1/{path}", self.address);
        let url = url::Url::parse_with_params(&base, parameters).expect("a URL");
        let after = &url[url::Position::BeforePath..];
        let (_, body) = get(self.address, after).await;
        // It may not listen yet.
        serde_json::from_str(&body).unwrap_or_default()
    }

    /// What an expression gives now.
    ///
    /// # Errors
    /// What Prometheus says of it, unless it has just started.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let reply = self.api("query", &[("query", expression)]).await;
        if let Some(error) = reply["error"].as_str() {
            return Err(error.to_owned());
        }
        let sample = |it: &Value| {
            let labels = serde_json::from_value(it["metric"].clone()).ok()?;
            Some((labels, it["value"][1].as_str()?.parse().ok()?))
        };
        let result = reply["data"]["result"].as_array();
        Ok(result.into_iter().flatten().filter_map(sample).collect())
    }

    /// The alerts that fire now, by name.
    pub async fn firing(&self) -> BTreeSet<String> {
        let reply = self.api("alerts", &[]).await;
        let all = reply["data"]["alerts"].as_array();
        let firing = all.into_iter().flatten().filter(|alert| alert["state"] == "firing");
        firing.filter_map(|it| it["labels"]["alertname"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself, which its test has seen.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}
