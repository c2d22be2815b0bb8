//! A small volume for a database, which can be filled.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use outboxd::throwaway::Cluster;

use crate::harness;

/// A small volume in a cluster's directory.
pub struct Volume(PathBuf);

impl Volume {
    /// `None` where this user may not mount.
    pub fn mount(cluster: &Cluster, size: &str) -> Option<Self> {
        let path = cluster.socket_dir().join("small");
        let owner = fs::metadata(cluster.socket_dir()).expect("the cluster's directory");
        fs::create_dir(&path).expect("a mount point");
        let options = format!("size={size},mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path);
        mount.output().is_ok_and(|done| done.status.success()).then_some(Self(path))
    }

    /// Makes a database named `small` on it; the server's log stays where it is.
    pub async fn hold_database(&self, cluster: &Cluster) {
        let admin = harness::connect(&cluster.url("postgres")).await;
        let space = format!("CREATE TABLESPACE small LOCATION '{}'", self.0.display());
        admin.batch_execute(&space).await.expect("a tablespace");
        let create = "CREATE DATABASE small TABLESPACE small";
        admin.batch_execute(create).await.expect("a database");
        harness::migrate(&cluster.url("small")).await;
    }

    /// Writes until nothing goes in any more.
    pub fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).expect("a file");
        while ballast.write_all(&[1; 4096]).is_ok() {}
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.0.join("ballast")).expect("a file");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The server still has files open there.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}
