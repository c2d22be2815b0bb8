//! Everything that was said, by whom, and the verdict.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::canaries::*;
use crate::harness;
use crate::receiver::Receiver;

/// A private folder for files with secrets.
pub fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("outboxd-canary-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).expect("a folder");
    folder
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("private");
    path.display().to_string()
}

/// What was said, and by whom.
#[derive(Default)]
pub struct Evidence {
    said: Vec<(String, String)>,
}

/// A process that goes on, and whose words are taken down.
pub struct Running {
    child: Child,
    log: PathBuf,
    pub admin: std::net::SocketAddr,
}

impl Running {
    pub async fn wait_until_ready(&self) {
        harness::wait_until_ready(self.admin).await;
    }

    /// Ends it, and returns what it said.
    pub async fn end(self) -> String {
        let kill = format!("kill -s TERM {}", self.child.id());
        std::process::Command::new("sh").args(["-c", &kill]).status().expect("sh runs");
        self.wait().await
    }

    /// Waits for its end, and returns what it said.
    pub async fn wait(mut self) -> String {
        let wait = move || self.child.wait().expect("its end");
        tokio::task::spawn_blocking(wait).await.expect("no panic");
        std::fs::read_to_string(&self.log).expect("what it said")
    }
}

impl Evidence {
    pub fn add(&mut self, by: &str, said: String) {
        self.said.push((by.to_owned(), said));
    }

    /// Runs a command, and takes down what it says.
    pub fn run(
        &mut self,
        url: &str,
        settings: &[(&str, &str)],
        args: &[&str],
        input: &str,
        code: Option<i32>,
    ) {
        let mut command = harness::outboxd(url, settings);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // A command that wants no input may have ended.
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let said = text(output.stdout) + &text(output.stderr);
        if let Some(code) = code {
            assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        }
        self.add(&format!("outboxd {}", args.join(" ")), said);
    }

    /// Starts one that goes on, and writes into a file of the folder.
    pub fn start(url: &str, settings: &[(&str, &str)], args: &[&str], folder: &Path) -> Running {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let admin = free.local_addr().expect("an address");
        drop(free);
        let listen = admin.to_string();
        let all = [settings, &[("admin.listen", listen.as_str())]].concat();
        let log = folder.join(format!("log-{:08x}", fastrand::u32(..)));
        let file = std::fs::File::create(&log).expect("a file");
        let child = harness::outboxd(url, &all)
            .args(args)
            .stdout(file.try_clone().expect("the same file"))
            .stderr(file)
            .spawn()
            .expect("a process");
        Running { child, log, admin }
    }

    /// Every command, also with what it cannot do.
    pub fn every_command(
        &mut self,
        url: &str,
        settings: &[(&str, &str)],
        folder: &Path,
        receiver: &Receiver,
    ) {
        let target = receiver.url(&format!("/{PATH}/added?{QUERY}"));
        let header = format!("Authorization: Bearer {HEADER}");
        let bad_header = format!("Authorization: Bearer {HEADER}\n");
        let userinfo = format!("https://u:{USERINFO}@example.com/");
        let secret = write(folder, "secret", BY_CLI);
        let bad_secret = write(folder, "bad-secret", "whsec_CanaryWrong!!!");
        let (key, missing) = (write(folder, "key", PRIVATE), format!("/nowhere/{PATH}"));
        let payload = write(folder, "payload", "{}");
        let add = ["endpoints", "add", &target, "--header", &header, "--name"];
        let ok: &[(&[&str], &str)] = &[
            (&[&add[..], &["added", "--secret-file", &secret]].concat(), ""),
            (&["endpoints", "update", "added", "--header", &header, "--url", &target], ""),
            (&["endpoints", "rotate-secret", "added", "--secret-stdin"], BY_CLI),
            (&["endpoints", "rotate-secret", "added", "--secret-file", &key, "--json"], ""),
            (&["endpoints", "pause", "added"], ""),
            (&["endpoints", "resume", "added"], ""),
            (&["secrets", "set-tenant", "acme", "--secret-stdin", "--overlap", "1h"], TENANT),
            (&["secrets", "rewrap"], ""),
            (&["events", "emit", "a", "--payload-file", &payload, "--json"], ""),
            (&["endpoints", "show", "fine"], ""),
            (&["endpoints", "show", "fine", "--json"], ""),
            (&["endpoints", "remove", "added", "--yes"], ""),
            (&["profiles", "show", "standard"], ""),
            (&["completions", "bash"], ""),
            (&["man"], ""),
        ];
        for (args, input) in ok {
            // Of those that could not be opened some commands complain, and do the rest.
            self.run(url, settings, args, input, (args[1..] != ["rewrap"]).then_some(0));
        }
        for list in [
            "endpoints",
            "secrets",
            "events",
            "events --quarantined",
            "event-types",
            "deliveries",
            "profiles",
        ] {
            let mut words = list.split(' ');
            let mut args = vec![words.next().expect("a command"), "list"];
            args.extend(words);
            self.run(url, settings, &args, "", Some(0));
            self.run(url, settings, &[&args[..], &["--json"]].concat(), "", Some(0));
        }
        let event = {
            self.run(url, settings, &["events", "list", "--limit", "1", "--json"], "", Some(0));
            let (_, said) = self.said.last().expect("just said");
            said.split('"').find(|word| word.starts_with("evt_")).expect("an event").to_owned()
        };
        for args in [
            &["stats"][..],
            &["stats", "--json"],
            &["config", "check"],
            &["config", "show"],
            &["config", "show", "--json"],
            &["doctor"],
            &["doctor", "--json"],
            &["events", "show", &event],
            &["events", "show", &event, "--json"],
            &["deliveries", "show", &event, "fine"],
            &["deliveries", "show", &event, "failing", "--json"],
            &["deliveries", "show", &event, "unknown"],
            &["deliveries", "replay", &event, "tls"],
            &["deliveries", "cancel", &event, "tls"],
            &["endpoints", "test", "fine", "--wait", "10ms"],
            &["endpoints", "test", "badbase64", "--wait", "10ms"],
            // What cannot be.
            &["endpoints", "add", &userinfo],
            &["endpoints", "add", "http://exa mple.com/CanaryPath"],
            &["endpoints", "add", &target, "--header", &bad_header],
            &["endpoints", "add", &target, "--header", "CanaryOfTheHeader"],
            &["endpoints", "add", &target, "--name", "x", "--secret-file", &bad_secret],
            &["endpoints", "add", &target, "--name", "x", "--secret-file", &missing],
            &["endpoints", "update", "fine", "--url", &userinfo],
            &["endpoints", "rotate-secret", "nobody", "--secret-file", &secret],
            &["endpoints", "rotate-secret", "fine", "--secret-file", &bad_secret],
            &["endpoints", "rotate-secret", "fine", "--secret-file", &secret, "--overlap", "-1h"],
            &["secrets", "set-tenant", "", "--secret-file", &secret],
            &["doctor", "--probe", &target],
            &["doctor", "--probe", &userinfo],
        ] {
            self.run(url, settings, args, "", None);
        }
        let other = [settings, &[("secrets.master_key", OTHER_KEY)]].concat();
        for args in [&["run"][..], &["doctor"], &["secrets", "rewrap"], &["secrets", "list"]] {
            self.run(url, &other, args, "", None);
        }
        for input in ["whsec_CanaryWrong!!!", "whsk_Canary", " Canary\tCanary ", "Canary\u{1}", ""]
        {
            self.run(
                url,
                settings,
                &["endpoints", "rotate-secret", "fine", "--secret-stdin"],
                input,
                None,
            );
        }
    }

    /// Configurations with mistakes in and beside their secrets.
    pub fn configurations(&mut self, url: &str, folder: &Path) {
        let files = [
            format!("[database]\nurl = \"{url}\"\nurl = 1"),
            format!(
                "[database]\nurl = \"postgres://u:{PASSWORD}/more@host:{PASSWORD}/db?sslmode={PASSWORD}\""
            ),
            format!("[database]\nurl = \"host=h password='{PASSWORD}\""),
            format!("[database]\nurl = \"host=h password={PASSWORD} {PASSWORD}=1\""),
            format!("[database]\nurl = [\"{PASSWORD}\"]"),
            format!("[database]\nurl_file = \"{url}\""),
            format!("[admin]\ntoken_file = \"{ADMIN_TOKEN}\""),
            format!("[secrets]\nmaster_key_file = \"{MASTER_KEY}\""),
            format!("[secrets]\nmaster_key_file = [\"{MASTER_KEY}\"]"),
            format!("[admin]\ntoken = [\"{ADMIN_TOKEN} {ADMIN_TOKEN}\", 1]"),
            format!("[admin]\ntoken = {ADMIN_TOKEN}"),
            format!("[admin]\ntoken = \"{ADMIN_TOKEN}\nlisten = 3"),
            format!("[admin]\ntoken_file = \"/nowhere\"\ntokens = \"{ADMIN_TOKEN}\""),
            format!("[secrets]\nmaster_key = \"{MASTER_KEY}{OTHER_KEY}\""),
            format!("[secrets]\nmaster_key = [\"{MASTER_KEY}\", \"{PASSWORD}\"]"),
            format!("[secrets]\nmasterkey = \"{MASTER_KEY}\""),
            format!(
                "[secrets]\nmaster_key = \"{MASTER_KEY}\"\nstorage = \"plain\"\n[delivery]\ntimeout = \"x\""
            ),
        ];
        for (number, text) in files.iter().enumerate() {
            let path = write(folder, &format!("config-{number}.toml"), text);
            for args in [&["config", "check"][..], &["config", "show"], &["run"]] {
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outboxd"));
                command.env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
                // A host that there is not, should one of them be right.
                command.env("PGHOST", "/nonexistent").args(args).args(["--config", &path]);
                let output = command.output().expect("it runs");
                let said = [output.stdout, output.stderr].concat();
                let code = output.status.code();
                assert!(code.is_some_and(|code| code > 0), "{text}: {code:?}");
                self.add(
                    &format!("{args:?} of {text}"),
                    String::from_utf8_lossy(&said).into_owned(),
                );
            }
        }
        for (key, value) in [
            ("secrets.master_key", "CanaryNoKey"),
            ("admin.token", "Canary Canary"),
            ("admin.token", ""),
            ("database.url", "postgres://u:CanaryOfThePassword@h:port/db"),
            ("database.url", "CanaryOfThePassword"),
            ("database.url", "postgres://u:CanaryOfThePassword@no-such-host.invalid/db"),
            ("database.url", "postgres://u:CanaryOfThePassword@127.0.0.1:1/db"),
        ] {
            for args in
                [&["config", "show"][..], &["config", "check"], &["doctor"], &["events", "list"]]
            {
                self.run(url, &[(key, value)], args, "", None);
            }
        }
    }

    /// Signatures that are wrong, and secrets that are none.
    pub fn verifying(&mut self, url: &str, folder: &Path, receiver: &Receiver) {
        let request = receiver
            .requests()
            .into_iter()
            .find(|request| request.header("webhook-signature").is_some());
        let request = request.expect("a signed request");
        let headers: Vec<String> =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let shown: Vec<&String> = headers.iter().filter(|line| !line.contains(WORD)).collect();
        let lines = shown.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n");
        let headers = write(folder, "headers", &lines);
        let body = folder.join("body");
        std::fs::write(&body, &request.body).expect("written");
        let body = body.display().to_string();
        for secret in [
            BY_SQL,
            ROTATED,
            PRIVATE,
            "whsec_CanaryWrong!!!",
            "whsk_Canary",
            "Canary",
            &format!("{BY_SQL}\n{BY_CLI}"),
        ] {
            let file = write(folder, "verify-secret", secret);
            for profile in ["standard", "stripe", "github", "nobody"] {
                let args = [
                    "verify",
                    "--secret-file",
                    &file,
                    "--profile",
                    profile,
                    "--headers",
                    &headers,
                    "--body",
                    &body,
                ];
                self.run(url, &[], &args, "", None);
                self.run(url, &[], &[&args[..], &["--json", "--no-time-check"]].concat(), "", None);
            }
        }
    }

    /// A receiver of ours that gets what it cannot verify.
    pub async fn listening(&mut self, url: &str, folder: &Path, receiver: &Receiver) {
        let secret = write(folder, "listen-secret", BY_CLI);
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let args =
            ["listen", "--port", &port.to_string(), "--secret-file", &secret, "--count", "1"];
        let listening = Self::start(url, &[], &args, folder);
        let signed =
            receiver.requests().into_iter().find(|it| it.header("webhook-signature").is_some());
        let signed = signed.expect("a signed request");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = loop {
            match tokio::net::TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        let mut request =
            format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", signed.body.len());
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            request += &format!("{name}: {}\r\n", signed.header(name).unwrap_or_default());
        }
        use tokio::io::AsyncWriteExt;
        stream.write_all(format!("{request}\r\n").as_bytes()).await.expect("sent");
        stream.write_all(&signed.body).await.expect("sent");
        self.add("outboxd listen", listening.wait().await);
    }

    /// Nothing of what was said holds a value. An endpoint's own URL is for the admin to see.
    pub fn judge(&self) {
        let mut hits = Vec::new();
        for (by, said) in &self.said {
            for line in said.lines() {
                let line = match by.starts_with("outboxd endpoints ") {
                    true => line.replace(PATH, "").replace(QUERY, "").replace(USERINFO, ""),
                    false => line.to_owned(),
                };
                if let Some(at) = line.find(WORD) {
                    let around = line.split_at(at).1.chars().take(60).collect::<String>();
                    hits.push(format!(
                        "{by}: {around} in {}",
                        line.chars().take(300).collect::<String>()
                    ));
                }
            }
        }
        assert!(self.said.len() > 200, "{} said something", self.said.len());
        assert!(hits.is_empty(), "{} hits:\n{}", hits.len(), hits.join("\n"));
    }
}
