//! Reading the small text files a configuration is made of.

use std::fs::Metadata;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// No file named by a configuration is longer than this.
const MOST_BYTES: u64 = 1024 * 1024;

/// The whole of a text file, which may be a pipe.
///
/// # Errors
/// What the system says, or that the file is too long or no UTF-8 text.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_BYTES) {
        return Err(Error::new(ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8 text"))
}

/// Whether anybody but its owner may do anything with a file.
#[cfg(unix)]
pub(super) fn open_to_others(about: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    about.permissions().mode() & 0o077 != 0
}

/// Whether anybody but its owner may do anything with a file; not known here.
#[cfg(not(unix))]
pub(super) fn open_to_others(_: &Metadata) -> bool {
    false
}
