//! A machine of a test's own: the test runs again as a process in namespaces of its own, where
//! every address leads to itself and names are what the test says.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// One machine at a time: each has a database of its own, and the tests look at the clock.
static ONE: Mutex<()> = Mutex::new(());
/// Set where the test is inside.
const INSIDE: &str = "OUTBOXD_TEST_INSIDE";

/// An address that looks public and is an interface of the machine.
pub const INTERFACE: &str = "93.184.216.34";

/// What makes the machine. Routes of the type `local` bring packets for any address to whoever
/// listens, so that a wrong connection succeeds and is seen; `src` is what makes them no addresses
/// of the machine itself.
const SETUP: &str = "set -e
ip link set lo up
ip address add 93.184.216.34/32 dev lo
ip -6 address add fd00::1/128 dev lo nodad
ip route add local 0.0.0.0/0 dev lo src 127.0.0.1
ip -6 route add local ::/0 dev lo
mount --bind \"$OUTBOXD_TEST_INSIDE\" /etc/resolv.conf
exec \"$0\" \"$@\"";

/// Whether this is the inside, where the test goes on. Outside, it has been run inside when this
/// returns; or it could not be, which is said: it takes root and the right to make namespaces.
pub fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let possible = Command::new("unshare")
        .args(["-m", "-n", "sh", "-c", "ip link set lo up && test -f /etc/resolv.conf"])
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("{test} was not run: it needs root, ip, and the right to make namespaces");
        return false;
    }
    let file = std::env::temp_dir().join(format!("outboxd-resolv-{:016x}", fastrand::u64(..)));
    std::fs::write(&file, "nameserver 127.0.0.1\n").expect("a file");
    let own = std::env::current_exe().expect("a path");
    let ran = Command::new("unshare")
        .args(["-m", "-n", "sh", "-c", SETUP])
        .arg(own)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, &file)
        .output()
        .expect("unshare runs");
    std::fs::remove_file(&file).ok();
    let said = String::from_utf8_lossy(&ran.stdout);
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "inside: {said}\n{error}");
    eprint!("{error}");
    false
}
